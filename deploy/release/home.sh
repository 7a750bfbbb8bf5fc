#!/usr/bin/env bash
# Gives the project a home: the module's path, and the address at which its documents are
# read. The module is named in go.mod, the address in cmd/internal/status/finding.go; both
# stand in many files, and all are changed, to be committed as they are.
#
#   deploy/release/home.sh git.example.net/infra/breakwater https://git.example.net/infra/breakwater/blob/main
set -euo pipefail
module="${1:?the path of the module, as git.example.net/infra/breakwater}" pages="${2:?where documents are read, as https://git.example.net/infra/breakwater/blob/main}"
cd "$(dirname "$0")/../.."
was="$(sed -n 's/^module //p' go.mod)"
read_at="$(sed -n 's|^const Runbooks = "\(.*\)/deploy/runbooks/"$|\1|p' cmd/internal/status/finding.go)"
[ -n "$was" ] && [ -n "$read_at" ] || { echo "the present home is not where it should be" >&2; exit 1; }
for name in "$module" "$pages"; do
  [[ "$name" =~ ^(https://)?[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._-]+)+$ ]] || { echo "$name is no home" >&2; exit 1; }
done
literally() { sed 's/[.[\*^$]/\\&/g' <<<"$1"; }
# Another host whose name ends so is another one.
files="$(git grep -lIF -e "$was" -e "$read_at")"
xargs sed -E -i.was \
  -e "s|$(literally "$read_at")/|@PAGES@/|g" \
  -e "s#(^|[^A-Za-z0-9.-])$(literally "$was")(\$|[^A-Za-z0-9-])#\1$module\2#g" \
  -e "s#(^|[^A-Za-z0-9.-])$(literally "$was")(\$|[^A-Za-z0-9-])#\1$module\2#g" \
  -e "s|@PAGES@|$pages|g" <<<"$files"
sed 's/$/.was/' <<<"$files" | xargs rm
gofmt -w $(git ls-files '*.go')
