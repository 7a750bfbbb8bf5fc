# Sourced in the root of the tree: where the project is at home. go.mod names the module, and
# cmd/internal/status/finding.go the address at which documents are read. home.sh moves both.
module_at="$(sed -n 's/^module //p' go.mod)"
pages_at="$(sed -n 's|^const Runbooks = "\(.*\)/deploy/runbooks/"$|\1|p' cmd/internal/status/finding.go)"
[ -n "$module_at" ] && [ -n "$pages_at" ] || { echo "go.mod or finding.go does not say where the project is at home" >&2; exit 1; }
