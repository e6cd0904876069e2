#!/usr/bin/env bash
# Two kind clusters, infra and apps, joined by Cilium's cluster mesh. Repeat it to change the version or the routing, or
# to mend what is missing.
set -euo pipefail
# shellcheck source=ci/kind/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
    cat << END
usage: ci/kind/up.sh [--cilium VERSION] [--routing tunnel|native] [--image ARCHIVE]

  --cilium VERSION   version of Cilium's chart, or a minor version such as 1.19 [default: $CILIUM_VERSION]
  --routing MODE     tunnel (VXLAN) or native [default: tunnel]
  --image ARCHIVE    load this probe image into every node; ci/image.sh writes it

ci/kind/versions.env pins everything that is installed. CILIUM_CHART and GATEWAY_API_CRDS name local copies of the
chart and of the CRDs, for machines without internet access.
END
}

cilium=$CILIUM_VERSION routing=tunnel image=
while [ $# -gt 0 ]; do
    case $1 in
        --cilium) cilium=${2:?--cilium needs a version} ;;
        --routing) routing=${2:?--routing needs a mode} ;;
        --image) image=${2:?--image needs a file} ;;
        -h | --help) usage && exit ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift 2
done
case $cilium in
    1.17 | 1.18 | 1.19) minor=${cilium/./_} pin=CILIUM_$minor && cilium=${!pin} ;;
    1.17.* | 1.18.* | 1.19.*) minor=${cilium%.*} && minor=${minor/./_} ;;
    *) fail "version $cilium of Cilium is not supported: expected 1.17, 1.18 or 1.19, or a patch version of these" 2 ;;
esac
case $routing in tunnel | native) ;; *) fail "invalid routing $routing: expected tunnel or native" 2 ;; esac
[ -z "$image" ] || [ -f "$image" ] || fail "found no image archive $image: write it with ci/image.sh $image" 2

need docker "kind runs its nodes in Docker, see https://docs.docker.com/engine/install"
need kind "install $KIND_VERSION, see https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
need kubectl "install one that fits the clusters, see https://kubernetes.io/docs/tasks/tools"
need helm "Cilium is installed by its chart: install $HELM_VERSION, see https://helm.sh/docs/intro/install"
need openssl "the clusters share a certificate authority, which openssl makes"
cgroups=$(docker info --format '{{.CgroupVersion}}') ||
    fail "docker does not answer: start it, and check that you may use it"
# With version 1 the nodes share one cgroup, and Cilium's socket load balancing of one node translates for the others.
[ "$cgroups" = 2 ] || fail "Docker uses cgroup version $cgroups, but nodes without kube-proxy need version 2"

mkdir -p "$state"
chmod 700 "$state"
for cluster in "${clusters[@]}"; do
    if exists "$cluster"; then
        step "cluster $cluster exists"
        kind export kubeconfig --name "$cluster" --kubeconfig "$KUBECONFIG"
    else
        step "create cluster $cluster"
        kind create cluster --config "$here/$cluster.yaml" --image "$NODE_IMAGE" --kubeconfig "$KUBECONFIG"
    fi
done

# Agents trust the other cluster's clustermesh-apiserver, since one authority signs the certificates of both.
if [ ! -s "$state/authority.yaml" ]; then
    step "make the certificate authority"
    (
        umask 077
        openssl req -x509 -newkey rsa:2048 -sha256 -days 365 -nodes -subj "/CN=Cilium CA" \
            -addext "keyUsage=critical,keyCertSign,cRLSign,digitalSignature,keyEncipherment" \
            -keyout "$state/authority.key" -out "$state/authority.crt" 2> /dev/null
        printf 'tls:\n  ca:\n    cert: %s\n    key: %s\n' \
            "$(openssl base64 -A -in "$state/authority.crt")" "$(openssl base64 -A -in "$state/authority.key")" \
            > "$state/authority.new"
        mv "$state/authority.new" "$state/authority.yaml"
    )
fi

# Addresses of nodes change when Docker restarts, so they are read each time.
peers=
for cluster in "${clusters[@]}"; do
    path='{range .items[*]}{.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}'
    addresses=$(on "$cluster" get nodes -o "jsonpath=$path" | tr ' ' '\n' | grep -F . | paste -sd, -) ||
        fail "nodes of $cluster have no addresses"
    peers+="      - {name: $cluster, port: 32379, ips: [$addresses]}"$'\n'
done
printf 'clustermesh:\n  config:\n    enabled: true\n    clusters:\n%s' "$peers" > "$state/peers.yaml"

gateway=GATEWAY_API_$minor
crds=https://github.com/kubernetes-sigs/gateway-api/releases/download/${!gateway}/experimental-install.yaml
crds=${GATEWAY_API_CRDS:-$crds}
chart=(cilium --repo "$CILIUM_REPOSITORY" --version "$cilium")
[ -z "${CILIUM_CHART:-}" ] || chart=("$CILIUM_CHART")
for cluster in "${clusters[@]}"; do
    step "install Cilium $cilium with $routing routing in $cluster"
    # Before Cilium: its operator looks for them once, at its start. Applied by the server, since they exceed what the
    # annotation of `kubectl apply` holds.
    on "$cluster" apply --server-side --force-conflicts -f "$crds" > /dev/null
    helm upgrade --install cilium "${chart[@]}" --kube-context "kind-$cluster" --namespace kube-system \
        --reset-values --values "$here/values/common.yaml" --values "$here/values/$routing.yaml" \
        --values "$here/values/$cluster.yaml" \
        --values "$state/authority.yaml" --values "$state/peers.yaml" > /dev/null
done
for cluster in "${clusters[@]}"; do
    step "wait for Cilium in $cluster"
    for workload in daemonset/cilium deployment/{cilium-operator,clustermesh-apiserver,hubble-relay,coredns}; do
        on "$cluster" -n kube-system rollout status "$workload" --timeout 5m > /dev/null ||
            fail "$workload is not ready: kubectl --context kind-$cluster -n kube-system describe $workload"
    done
done

deadline=$((SECONDS + 180))
for cluster in "${clusters[@]}"; do
    step "wait until $cluster sees its peer"
    agent=(-n kube-system exec daemonset/cilium -c cilium-agent -- cilium-dbg)
    until on "$cluster" "${agent[@]}" status 2> /dev/null | grep 'ClusterMesh: *1/1 remote clusters ready' > /dev/null
    do
        [ "$SECONDS" -lt "$deadline" ] ||
            fail "$cluster does not see its peer: kubectl --context kind-$cluster ${agent[*]} troubleshoot clustermesh"
        sleep 2
    done
done

if [ -n "$image" ]; then
    for cluster in "${clusters[@]}"; do
        step "load $image into $cluster"
        kind load image-archive "$image" --name "$cluster"
    done
fi

values=()
for cluster in "${clusters[@]}"; do
    for file in common "$routing" "$cluster"; do values+=("--values $cluster=ci/kind/values/$file.yaml"); done
done
cat << END
export KUBECONFIG=$KUBECONFIG
meshproof run --infra-context kind-infra --apps-context kind-apps --pull-policy Never \\
    ${values[*]}
END
