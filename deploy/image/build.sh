#!/usr/bin/env bash
# Builds the image of what deploy/release/build.sh left in a directory.
#
#   deploy/image/build.sh dist breakwater:0.1.0                    # for this machine, by docker
#   BUILDER=buildah deploy/image/build.sh dist breakwater:0.1.0    # for all platforms, to be pushed
#
# What buildah makes is one image of several platforms, the same bytes at each build;
# "buildah manifest push --all breakwater:0.1.0 docker://…" publishes it. DOCKER and BUILDAH
# say how the engines are called ("docker -H …"); CA_CERTIFICATES which authorities are
# in the image, the system's unless it is set.
set -euo pipefail
dist="$(realpath "${1:?the directory of deploy/release/build.sh}")" tag="${2:?the image, as breakwater:0.1.0}"
cd "$(dirname "$0")"
own="$(mktemp -d)"
trap 'rm -rf "$own"' EXIT
mkdir "$own/state"
cp Dockerfile "$own/"
cp "${CA_CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}" "$own/ca-certificates.crt"
for arch in amd64 arm64; do
  [ -e "$dist/linux-$arch/breakwater" ] || continue
  cp "$dist/linux-$arch/breakwater" "$own/breakwater-$arch"
  cp "$dist"/breakwater_*_linux_"$arch".cdx.json "$own/sbom-$arch.cdx.json"
done
chmod -R u=rwX,go=rX "$own"

build() { # engine and its command, architecture, more arguments
  local engine="$1" arch="$2"
  shift 2
  $engine --platform "linux/$arch" --build-arg TARGETARCH="$arch" --build-arg VERSION="${tag##*:}" --build-arg REVISION="$(git rev-parse HEAD)" "$@" "$own"
}
case "${BUILDER:-docker}" in
docker) build "${DOCKER:-docker} build" "$(go env GOHOSTARCH)" --tag "$tag" ;;
buildah)
  for binary in "$own"/breakwater-*; do
    build "${BUILDAH:-buildah} bud" "${binary##*-}" --timestamp "$(git log -1 --format=%ct)" --manifest "$tag"
  done
  ;;
*) echo "BUILDER is docker or buildah" >&2 && exit 1 ;;
esac
