#!/usr/bin/env bash
# Builds a release of the commit that is checked out, into a directory:
#
#   deploy/release/build.sh dist
#
# For each platform an archive of the binary, manual pages, completions and the files
# that deployments need, with a software bill of materials beside it; checksums of all.
# The same commit and the same Go make the same bytes, wherever and by whom: of the
# versions in the programs' go.mod, whatever workspace the tree is in.
# The version is the commit's tag, else Go's pseudo-version.
set -euo pipefail
out="$(realpath -m "${1:?where to: deploy/release/build.sh DIRECTORY}")"
cd "$(dirname "$0")/../.."
platforms="${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}"
date="$(git log -1 --format=%cI)"
export CGO_ENABLED=0 GOWORK=off LC_ALL=C
mkdir -p "$out"

build() { # os arch file
  GOOS="$1" GOARCH="$2" GOAMD64=v1 GOARM64=v8.0 go build -trimpath -buildvcs=true -ldflags='-s -w' -o "$3" ./cmd/breakwater
}

own="$(mktemp -d)"
trap 'rm -rf "$own"' EXIT
build "$(go env GOHOSTOS)" "$(go env GOHOSTARCH)" "$own/breakwater"
version="$("$own/breakwater" version --json | sed 's/.*"version":"\([^"]*\)".*/\1/')"
echo "breakwater $version"

mkdir -p "$own/share/completions"
"$own/breakwater" man "$own/share/man"
for shell in bash zsh fish; do "$own/breakwater" completion "$shell" >"$own/share/completions/breakwater.$shell"; done
cp -r README.md CHANGELOG.md deploy/systemd deploy/fleet.example.yaml "$own/share/"

for platform in $platforms; do
  os="${platform%/*}" arch="${platform#*/}"
  name="breakwater_${version#v}_${os}_$arch"
  rm -rf "$own/$name" "$out/$os-$arch"
  mkdir -p "$own/$name" "$out/$os-$arch"
  build "$os" "$arch" "$own/$name/breakwater"
  cp -r "$own/share/." "$own/$name/"
  cp "$own/$name/breakwater" "$out/$os-$arch/breakwater" # what the image takes
  tar --sort=name --mtime="$date" --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' -C "$own" -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
  go run -trimpath github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -std -noserial -notimestamp \
    -version "$version" -output "$out/$name.cdx.json" "$out/$os-$arch/breakwater" 2>"$own/sbom.log" || { cat "$own/sbom.log" >&2; exit 1; }
  echo "$name"
done
(cd "$out" && sha256sum breakwater_*.tar.gz breakwater_*.cdx.json >SHA256SUMS)
