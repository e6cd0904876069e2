#!/bin/sh
# Builds a static agent and writes the probe image to an archive: ci/image.sh probe.tar [REFERENCE]
# TARGET chooses another architecture, for example aarch64-unknown-linux-gnu, if its linker is installed.
set -eu
output=${1:?usage: ci/image.sh OUTPUT [REFERENCE]}
case $output in /*) ;; *) output=$PWD/$output ;; esac
cd "$(dirname "$0")/.."
# Naming the target keeps the flags away from procedural macros, which have to be linked dynamically.
target=${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
RUSTFLAGS="-C target-feature=+crt-static" \
	cargo build -p meshproof-agent --bin meshproof-agent --profile image --target "$target"
agent=${CARGO_TARGET_DIR:-target}/$target/image/meshproof-agent
shift
cargo run -q -p meshproof-image --example archive -- "$agent" "$output" "$@"
# Small enough to copy to every node of a cluster.
[ "$(wc -c < "$output")" -le 4194304 ] || { echo "$output exceeds 4 MiB" >&2; exit 1; }
