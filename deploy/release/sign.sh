#!/usr/bin/env bash
# Signs what build.sh left in a directory: a bundle beside each file, NAME.sigstore.json, and
# the provenance as an attestation (a DSSE envelope) in …intoto.sigstore.json.
#
#   COSIGN_PASSWORD=… deploy/release/sign.sh dist cosign.key     # by a key; says nothing to anybody
#   deploy/release/sign.sh dist                                  # keyless: by who one is logged in as, in the public log
#
# Bundles by a key are the same bytes but for the signature, whose nonce is random.
set -euo pipefail
cd "${1:?where: deploy/release/sign.sh DIRECTORY [KEY]}"
how=(--yes)
[ -z "${2:-}" ] || how+=(--key "$(cd "$OLDPWD" && realpath "$2")" --use-signing-config=false --tlog-upload=false)
rm -f ./*.sigstore.json
sha256sum --quiet -c SHA256SUMS
for file in SHA256SUMS $(cut -c67- SHA256SUMS); do
  cosign sign-blob "${how[@]}" --bundle "$file.sigstore.json" "$file" >/dev/null
done
statement="$(echo breakwater_*.intoto.jsonl)"
cosign attest-blob "${how[@]}" --statement "$statement" --bundle "${statement%.jsonl}.sigstore.json" >/dev/null
