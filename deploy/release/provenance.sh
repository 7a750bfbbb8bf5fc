#!/usr/bin/env bash
# Prints where a release comes from: an in-toto statement (v1) with SLSA's provenance (v1) of
# the files whose checksums, as sha256sum prints them, are on standard input. It has no time
# and no number of a run: two builds of a commit say the same. BUILT_BY is who built it, as a
# URL; whoever builds a public release sets it to what names his workflow.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/release/at.sh
subjects="$(sed -E 's/^([0-9a-f]{64}) [ *](.*)$/{"name":"\2","digest":{"sha256":"\1"}}/' | paste -sd, -)"
source="git+https://$module_at"
commit="$(git rev-parse HEAD)"
cat <<END | tr -d '\n'
{"_type":"https://in-toto.io/Statement/v1","subject":[$subjects],
"predicateType":"https://slsa.dev/provenance/v1","predicate":{"buildDefinition":{
"buildType":"$pages_at/deploy/release/README.md#build-type",
"externalParameters":{"source":"$source","version":"$VERSION","platforms":"$PLATFORMS"},
"internalParameters":{"go":"$(go env GOVERSION)"},
"resolvedDependencies":[{"uri":"$source","digest":{"gitCommit":"$commit"}}]},
"runDetails":{"builder":{"id":"${BUILT_BY:-$pages_at/deploy/release/build.sh}"}}}}
END
echo
