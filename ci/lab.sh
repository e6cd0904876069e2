#!/usr/bin/env bash
# The README's main command, and the proof that its checks can fail.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet -- run --lab
test -s reports/latest/junit.xml
test -s reports/latest/report.json
test -s reports/latest/events.ndjson
if command -v xmllint > /dev/null; then xmllint --noout reports/latest/junit.xml; fi
cargo run --quiet -- prove
