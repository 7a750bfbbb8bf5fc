#!/usr/bin/env bash
# Gives the project a home: the module's path, the address at which its documents are read,
# and whom packages name as their maintainer. at.sh has where the first two are; they stand in
# many files, and all are changed, to be committed as they are.
#
#   deploy/release/home.sh git.example.net/infra/breakwater https://git.example.net/infra/breakwater/blob/main 'Infra <infra@example.net>'
#
# Without a maintainer it is breakwater at the module's host.
set -euo pipefail
module="${1:?the path of the module, as git.example.net/infra/breakwater}" pages="${2:?where documents are read, as https://git.example.net/infra/breakwater/blob/main}"
maintainer="${3:-the breakwater authors <breakwater@${module%%[:/]*}>}"
cd "$(dirname "$0")/../.."
. deploy/release/at.sh
for name in "$module" "$pages"; do
  [[ "$name" =~ ^(https://)?[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._-]+)+$ ]] || { echo "$name is no home" >&2; exit 1; }
done
[[ "$maintainer" =~ ^[^\|\&\\:\#]+\ \<[^\ \|\&\\@]+@[A-Za-z0-9.-]+\>$ ]] || { echo "$maintainer is no maintainer: write Name <name@example.net>" >&2; exit 1; }
literally() { sed 's/[.[\*^$]/\\&/g' <<<"$1"; }
# Another host whose name ends so is another one.
files="$(git grep -lIF -e "$module_at" -e "$pages_at")"
xargs sed -E -i.was \
  -e "s|$(literally "$pages_at")/|@PAGES@/|g" \
  -e "s#(^|[^A-Za-z0-9.-])$(literally "$module_at")(\$|[^A-Za-z0-9-])#\1$module\2#g" \
  -e "s#(^|[^A-Za-z0-9.-])$(literally "$module_at")(\$|[^A-Za-z0-9-])#\1$module\2#g" \
  -e "s|@PAGES@|$pages|g" <<<"$files"
sed 's/$/.was/' <<<"$files" | xargs rm
sed -i.was "s|^maintainer: .*|maintainer: $maintainer|" deploy/release/package/nfpm.yaml
rm deploy/release/package/nfpm.yaml.was
gofmt -w $(git ls-files '*.go')
