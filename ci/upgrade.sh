#!/usr/bin/env bash
# The steps around an upgrade of Cilium, Kubernetes or Talos, with a decision at the end: see docs/upgrade-gate.md.
set -euo pipefail

usage() {
    cat << 'END'
usage: ci/upgrade.sh preflight [RUN ARGUMENTS]     check the repository and the clusters; change nothing
       ci/upgrade.sh baseline [RUN ARGUMENTS]      a run before the upgrade
       ci/upgrade.sh watch [WATCH ARGUMENTS]       streams during it, until Ctrl-C or what --for, --until-rollout say
       ci/upgrade.sh verify [RUN ARGUMENTS]        a run after it (repeat it after each cluster)
       ci/upgrade.sh gate                          compare the last verify run with the baseline

Exit codes of gate: 0 GO, 1 NO-GO, 3 CANNOT TELL. Of the others: 0 go on, 1 stop, 2 usage, others as `meshproof run`.

WATCH ARGUMENTS are those of `meshproof watch`, such as --until-rollout daemonset/cilium.
RUN ARGUMENTS are those of `meshproof run`, such as --infra-context and --apps-context: give all steps the same.

Environment:
  MESHPROOF         the command [default: meshproof]
  UPGRADE_DIR       where the runs of this upgrade are kept [default: reports/upgrade]
  GITOPS            folder of the repository with the new values and pins [default: none, its check is left out]
  MINIMUM_KERNEL    oldest kernel that the new version supports [default: 5.10]
  UPGRADING_FROM    minor version of Cilium that runs now, such as 1.17 [default: none, its check is left out]
END
}

meshproof=${MESHPROOF:-meshproof}
folder=${UPGRADE_DIR:-reports/upgrade}
step=${1:-}
[ $# -gt 0 ] && shift

fail() {
    printf 'upgrade.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

# The contexts among the arguments of `meshproof run`.
contexts() {
    while [ $# -gt 0 ]; do
        case $1 in
            --infra-context=* | --apps-context=*) printf '%s\n' "${1#*=}" ;;
            --context=*) printf '%s\n' "${1#*=*=}" ;;
            --infra-context | --apps-context) printf '%s\n' "${2:-}" && shift ;;
            --context) printf '%s\n' "${2#*=}" && shift ;;
        esac
        shift
    done
}

# older VERSION MINIMUM: whether the first is the lower one.
older() {
    [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# The values of upgradeCompatibility in the folder's files, each once.
compatibility() {
    { grep -rhoE "upgradeCompatibility: *['\"]?[0-9.]+" "$1" || true; } | sed 's/.*[^0-9.]//' | sort -u | paste -sd' ' -
}

preflight() {
    local bad=0 context nodes node kernel path crds name versions value
    if [ -n "${GITOPS:-}" ]; then
        echo "=== what the repository claims"
        "$meshproof" claims check --gitops "$GITOPS" || bad=1
        if [ -n "${UPGRADING_FROM:-}" ]; then
            value=$(compatibility "$GITOPS")
            if [ "$value" = "$UPGRADING_FROM" ]; then
                echo "upgradeCompatibility is $value"
            else
                echo "upgradeCompatibility is ${value:-not set}: set it to \"$UPGRADING_FROM\" for the upgrade"
                bad=1
            fi
        fi
    fi
    command -v kubectl > /dev/null || fail "kubectl is missing: the nodes' kernels cannot be read" 2
    [ -n "$(contexts "$@")" ] || fail "no cluster given: name them with --infra-context and --apps-context" 2
    while read -r context; do
        echo "=== $context"
        nodes=0
        while read -r node kernel; do
            nodes=$((nodes + 1))
            if older "${kernel%%[!0-9.]*}" "${MINIMUM_KERNEL:-5.10}"; then
                echo "node $node has kernel $kernel, older than ${MINIMUM_KERNEL:-5.10}" && bad=1
            fi
        done < <(kubectl --context "$context" get nodes --no-headers \
            -o custom-columns=NAME:.metadata.name,KERNEL:.status.nodeInfo.kernelVersion)
        [ "$nodes" -gt 0 ] || { echo "no node can be read" && bad=1; }
        # A version that is stored and no longer served would lock the objects up; the new chart would not be installed.
        path='{range .items[?(@.spec.group=="cilium.io")]}{.metadata.name} {.status.storedVersions[*]}{"\n"}{end}'
        crds=$(kubectl --context "$context" get customresourcedefinitions -o "jsonpath=$path") ||
            { echo "custom resources cannot be read" && bad=1; }
        while read -r name versions; do
            case $versions in
                *\ *) echo "$name is stored as $versions: rewrite its objects, then drop the old one from its status" ;;
            esac
        done <<< "$crds"
        kubectl --context "$context" -n kube-system rollout status daemonset/cilium --timeout 10s || bad=1
    done < <(contexts "$@")
    [ "$bad" = 0 ] || fail "pre-flight found something: see above"
    echo "=== pre-flight found nothing"
}

# run NAME: a run whose folder becomes UPGRADE_DIR/NAME/latest. A red run is kept, too: the gate judges.
run() {
    local name=$1 status=0 git=()
    shift
    # Before the upgrade the repository is ahead of what runs.
    if [ "$name" = verify ] && [ -n "${GITOPS:-}" ]; then git=(--gitops "$GITOPS"); fi
    mkdir -p "$folder/$name"
    "$meshproof" run --report-dir "$folder/$name" ${git[@]+"${git[@]}"} "$@" || status=$?
    case $status in
        0) ;;
        1 | 3 | 4) echo "=== the $name run ended with exit code $status; the gate compares it" ;;
        *) exit "$status" ;;
    esac
    if [ "$name" = baseline ] && [ "$status" != 0 ]; then
        fail "the mesh is not healthy before the upgrade: mend it, or waive what is known and accepted" "$status"
    fi
}

case $step in
    preflight) preflight "$@" ;;
    baseline | verify) run "$step" "$@" ;;
    watch) "$meshproof" watch --report-dir "$folder/watch" "$@" ;;
    gate)
        for name in baseline verify; do
            [ -s "$folder/$name/latest/report.json" ] || fail "there is no $name run in $folder: run that step first" 2
        done
        "$meshproof" gate --baseline "$folder/baseline/latest" --current "$folder/verify/latest"
        ;;
    -h | --help) usage ;;
    *) usage >&2 && exit 2 ;;
esac
