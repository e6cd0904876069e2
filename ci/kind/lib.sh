# Sourced by the scripts beside it: names, versions, and errors that say what to do.
# shellcheck shell=bash disable=SC2034
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=ci/kind/versions.env
. "$here/versions.env"
clusters=(infra apps)
# Kubeconfig, certificate authority and the values of the peers; your own kubeconfig stays as it is.
state=${MESHPROOF_KIND_STATE:-$here/../../target/kind}
export KUBECONFIG=$state/kubeconfig

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit "${2:-1}"
}

# need TOOL HINT: ends the script where the tool is missing.
need() {
    command -v "$1" > /dev/null || fail "$1 is missing: $2" 2
}

step() {
    printf '=== %s\n' "$*" >&2
}

# Whether kind has a cluster of that name.
exists() {
    kind get clusters 2> /dev/null | grep -qx "$1"
}

on() {
    local cluster=$1
    shift
    kubectl --context "kind-$cluster" "$@"
}
