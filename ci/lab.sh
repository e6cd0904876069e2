#!/usr/bin/env bash
# The README's main job, and the proof that its checks can fail.
set -euo pipefail
cd "$(dirname "$0")/.."
# Built as `cargo test` builds it: `cargo run` would compile half of the dependencies once more, without the features of tests.
cargo build --workspace --tests --quiet
meshproof=${CARGO_TARGET_DIR:-target}/debug/meshproof
"$meshproof" run --lab
test -s reports/latest/junit.xml
test -s reports/latest/report.json
test -s reports/latest/events.ndjson
if command -v xmllint > /dev/null; then xmllint --noout reports/latest/junit.xml; fi
# Another profile, its quick part; ci/nightly.sh runs all of them whole.
"$meshproof" run --lab --lab-profile native --lab-nodes 2 --suite connectivity --suite dns --suite encryption --suite service
# The same places each time: what fails here must be the change. ci/nightly.sh takes those of the day, and lets whole suites meet each fault.
"$meshproof" prove --seed 1 --named --labs 3
