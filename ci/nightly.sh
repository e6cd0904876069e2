#!/usr/bin/env bash
# Every profile of the lab as a whole, and the proof that checks can fail under native routing, too. Takes about half an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace --tests --quiet
meshproof=${CARGO_TARGET_DIR:-target}/debug/meshproof
for profile in tunnel native plain kube-proxy next; do
    echo "=== $profile"
    "$meshproof" run --lab --lab-profile "$profile"
done
# DSR with WireGuard breaks NodePorts between clusters, and everything else works (docs: README, "Profiles of the lab").
echo "=== native-dsr"
"$meshproof" run --lab --lab-profile native-dsr --skip service::node_port
status=0
"$meshproof" run --lab --lab-profile native-dsr --exact service::node_port || status=$?
if [ "$status" != 1 ]; then
    echo "service::node_port ended with exit code $status under native-dsr, where 1 is right" >&2
    exit 1
fi
"$meshproof" prove
"$meshproof" prove --profile native
