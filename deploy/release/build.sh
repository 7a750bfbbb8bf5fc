#!/usr/bin/env bash
# Builds a release of the commit that is checked out, into a directory:
#
#   deploy/release/build.sh dist
#
# For each platform an archive of the binary, manual pages, completions and the files
# that deployments need, and one of the lab, each with a software bill of materials beside
# it; for Linux .deb and .rpm; the charts; a Homebrew formula; where all of it comes from
# (SLSA provenance), and checksums. README.md says what each is; sign.sh signs them.
# The same commit and the same Go make the same bytes, wherever and by whom: of the
# versions in the programs' go.mod, whatever workspace the tree is in.
# The version is the commit's tag, else Go's pseudo-version.
set -euo pipefail
out="$(realpath -m "${1:?where to: deploy/release/build.sh DIRECTORY}")"
cd "$(dirname "$0")/../.."
platforms="${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}"
date="$(git log -1 --format=%cI)"
export CGO_ENABLED=0 GOWORK=off LC_ALL=C TZ=UTC
export SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)"
umask 022
. deploy/release/at.sh
home="https://$module_at"
if [ -n "$(ls -A "$out" 2>/dev/null)" ] && [ ! -e "$out/SHA256SUMS" ]; then
  echo "$out has something else than a release in it" >&2
  exit 1
fi
rm -rf "$out"
mkdir -p "$out"
own="$(mktemp -d)"
trap 'rm -rf "$own"' EXIT

build() { # program os arch file
  GOOS="$2" GOARCH="$3" GOAMD64=v1 GOARM64=v8.0 go build -trimpath -buildvcs=true -ldflags='-s -w' -o "$4" "./cmd/$1"
}

archive() { # name, a directory of that name below $own
  tar --sort=name --mtime="$date" --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' -C "$own" -cf - "$1" | gzip -9n
}

sbom() { # binary name
  go run -trimpath github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -std -noserial -notimestamp \
    -version "$version" -output "$out/$2.cdx.json" "$1" 2>"$own/sbom.log" || { cat "$own/sbom.log" >&2; exit 1; }
}

package() { # arch: .deb and .rpm
  for kind in deb rpm; do
    ARCH="$1" VERSION="${version#v}" FILES="$own/share" BINARY="$out/linux-$1/breakwater" HOMEPAGE="$home" \
      go run -trimpath github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2 package --config deploy/release/package/nfpm.yaml --packager "$kind" --target "$out/" >"$own/nfpm.log" 2>&1 ||
      { cat "$own/nfpm.log" >&2; exit 1; }
  done
}

build breakwater "$(go env GOHOSTOS)" "$(go env GOHOSTARCH)" "$own/breakwater"
version="$("$own/breakwater" version --json | sed 's/.*"version":"\([^"]*\)".*/\1/')"
echo "breakwater $version"

mkdir -p "$own/share/completions"
"$own/breakwater" man "$own/share/man"
for shell in bash zsh fish; do "$own/breakwater" completion "$shell" >"$own/share/completions/breakwater.$shell"; done
cp -r README.md CHANGELOG.md LICENSE deploy/systemd deploy/fleet.example.yaml "$own/share/"

for platform in $platforms; do
  os="${platform%/*}" arch="${platform#*/}"
  name="breakwater_${version#v}_${os}_$arch" lab="breakwater-lab_${version#v}_${os}_$arch"
  mkdir -p "$own/$name" "$own/$lab" "$out/$os-$arch"
  build breakwater "$os" "$arch" "$out/$os-$arch/breakwater" # what the image takes, too
  cp -r "$own/share/." "$out/$os-$arch/breakwater" "$own/$name/"
  archive "$name" >"$out/$name.tar.gz"
  sbom "$out/$os-$arch/breakwater" "$name"
  # The lab has the program beside it, which the lines that it prints call.
  build lab "$os" "$arch" "$own/$lab/breakwater-lab"
  cp "$out/$os-$arch/breakwater" LICENSE "$own/$lab/"
  archive "$lab" >"$out/$lab.tar.gz"
  sbom "$own/$lab/breakwater-lab" "$lab"
  [ "$os" != linux ] || package "$arch"
  echo "$name"
done

# What helm package makes, but for the time of day.
for chart in breakwater harbor-autoscaling; do
  mkdir "$own/charts"
  cp -rL "deploy/helm/$chart" "$own/charts/" # rules and dashboards are links to where all have them
  sed -i.was "s/^version: .*/version: ${version#v}/; s/^appVersion: .*/appVersion: ${version#v}/" "$own/charts/$chart/Chart.yaml"
  rm "$own/charts/$chart/Chart.yaml.was"
  (own="$own/charts" && archive "$chart") >"$out/$chart-${version#v}.tgz"
  rm -rf "$own/charts"
done

(cd "$out" && HOMEPAGE="$home" VERSION="$version" "$OLDPWD/deploy/release/formula.sh" >breakwater.rb)
sums() { (cd "$out" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%f\n' | sort | xargs sha256sum); }
sums | VERSION="$version" PLATFORMS="$platforms" deploy/release/provenance.sh >"$own/provenance"
mv "$own/provenance" "$out/breakwater_${version#v}.intoto.jsonl"
sums >"$own/sums"
mv "$own/sums" "$out/SHA256SUMS"
