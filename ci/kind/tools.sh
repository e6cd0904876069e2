#!/usr/bin/env bash
# Installs the pinned kind and helm into a folder, checked against the checksums that their makers publish beside them:
# ci/kind/tools.sh FOLDER
set -euo pipefail
# shellcheck source=ci/kind/lib.sh
. "$(dirname "$0")/lib.sh"
folder=${1:?usage: ci/kind/tools.sh FOLDER}
need curl "it downloads the tools"
need sha256sum "it checks what was downloaded"
case $(uname -m) in
    x86_64) machine=amd64 ;;
    aarch64 | arm64) machine=arm64 ;;
    *) fail "no tools for machine $(uname -m)" ;;
esac
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fetch URL FILE CHECKSUM_URL: the checksum is the first word of what the last one holds.
fetch() {
    curl --fail --silent --show-error --location --retry 3 --output "$scratch/$2" "$1"
    local sum
    sum=$(curl --fail --silent --show-error --location --retry 3 "$3" | cut -d ' ' -f 1)
    echo "$sum  $scratch/$2" | sha256sum --check --quiet || fail "$1 is not what its checksum says"
}

mkdir -p "$folder"
kind=https://kind.sigs.k8s.io/dl/$KIND_VERSION/kind-linux-$machine
fetch "$kind" kind "$kind.sha256sum"
install -m 755 "$scratch/kind" "$folder/kind"
helm=helm-$HELM_VERSION-linux-$machine.tar.gz
fetch "https://get.helm.sh/$helm" "$helm" "https://get.helm.sh/$helm.sha256sum"
tar -xzf "$scratch/$helm" -C "$scratch" "linux-$machine/helm"
install -m 755 "$scratch/linux-$machine/helm" "$folder/helm"
