#!/usr/bin/env bash
# Formatting, lints as errors, documentation without warnings.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
# Without the lab, as on other systems than Linux; all other crates are those of the line above.
cargo clippy --workspace --exclude meshproof-lab --no-default-features --all-targets --quiet -- -D warnings
# With the examples, since dependencies have the features of tests then, as in the line above, and are not compiled once more.
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --lib --bins --examples --no-deps --document-private-items --quiet
if command -v shellcheck > /dev/null; then shellcheck -x ci/*.sh ci/*/*.sh .ci/run; fi
if command -v yamllint > /dev/null; then yamllint --strict .github/workflows ci; fi
if command -v cargo-deny > /dev/null; then cargo deny --all-features check; fi
