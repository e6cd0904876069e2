#!/usr/bin/env bash
# Builds the static binaries of a release for this machine: ci/release.sh FOLDER
# MACHINE (amd64 or arm64) and TARGET are of this machine by default; for another one, its linker must be installed.
set -euo pipefail
output=${1:?usage: ci/release.sh FOLDER}
mkdir -p "$output"
output=$(cd "$output" && pwd)
cd "$(dirname "$0")/.."
target=${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
case $target in
    x86_64-*) machine=${MACHINE:-amd64} ;;
    aarch64-*) machine=${MACHINE:-arm64} ;;
    *) machine=${MACHINE:?set MACHINE for target $target} ;;
esac
built=${CARGO_TARGET_DIR:-target}/$target
export RUSTFLAGS="-C target-feature=+crt-static"

# The command with the lab, for people.
cargo build --locked --release --target "$target" -p meshproof
cp "$built/release/meshproof" "$output/meshproof-linux-$machine"
# Without it, for the image that runs as a Job.
cargo build --locked --profile image --target "$target" -p meshproof --no-default-features
cp "$built/image/meshproof" "$output/meshproof-runner-linux-$machine"
cargo build --locked --profile image --target "$target" -p meshproof-agent --bin meshproof-agent
cp "$built/image/meshproof-agent" "$output/meshproof-agent-linux-$machine"
