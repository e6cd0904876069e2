#!/usr/bin/env bash
# Removes the clusters of up.sh and what it kept for them. What is gone already is no error.
set -euo pipefail
# shellcheck source=ci/kind/lib.sh
. "$(dirname "$0")/lib.sh"
need docker "the nodes run in it"
need kind "it removes what it made"
for cluster in "${clusters[@]}"; do
    if exists "$cluster"; then kind delete cluster --name "$cluster" --kubeconfig "$KUBECONFIG"; fi
done
rm -f "$state"/kubeconfig "$state"/authority.* "$state/peers.yaml"
if [ -d "$state" ]; then rmdir --ignore-fail-on-non-empty "$state"; fi
