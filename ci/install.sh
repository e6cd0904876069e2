#!/usr/bin/env bash
# Installs what the other scripts use and the machine lacks: a C compiler and linker, kubectl for the tests that drive one, xmllint for the JUnit schema.
set -euo pipefail
cd "$(dirname "$0")/.."

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
missing=()
command -v cc > /dev/null || missing+=(gcc libc6-dev)
command -v xmllint > /dev/null || missing+=(libxml2-utils)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get > /dev/null; then
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi

# Two kubectl: Debian's old one and a current one. Tests that need one say which they ran, or that they were skipped for want of it.
mkdir -p target/tools
if [ ! -x target/tools/kubectl-old ] && command -v apt-get > /dev/null; then
    (
        folder=$(mktemp -d)
        trap 'rm -rf "$folder"' EXIT
        cd "$folder"
        apt-get download -qq kubernetes-client > /dev/null 2>&1 && dpkg-deb -x kubernetes-client*.deb .
        cp usr/bin/kubectl "$OLDPWD/target/tools/kubectl-old"
    ) || echo "no old kubectl: kubernetes-client could not be had"
fi
command -v rustfmt > /dev/null || rustup component add rustfmt clippy
