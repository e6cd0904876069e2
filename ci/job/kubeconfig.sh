#!/usr/bin/env bash
# Prints a kubeconfig of the account that ci/job/peer made: ci/job/kubeconfig.sh CONTEXT [NAME]
# NAME is the context's name in it [default: apps]. Pipe it into the Secret that the Job reads:
#   ci/job/kubeconfig.sh admin@apps | kubectl --context admin@infra -n meshproof-runner \
#       create secret generic meshproof-peers --from-file=kubeconfig=/dev/stdin
set -euo pipefail
context=${1:?usage: ci/job/kubeconfig.sh CONTEXT [NAME]}
name=${2:-apps}
command -v kubectl > /dev/null || { echo "kubectl is missing" >&2 && exit 2; }
server=$(kubectl config view --raw --minify --context "$context" -o 'jsonpath={.clusters[0].cluster.server}')
case $server in
    *//127.* | *//localhost* | *//\[::1\]*)
        echo "$context leads to $server, which pods of another cluster cannot reach: set the server by hand" >&2 ;;
esac
secret() {
    kubectl --context "$context" -n meshproof-runner get secret meshproof-token -o "jsonpath={.data.$1}"
}
authority=$(secret 'ca\.crt')
token=$(secret token | base64 -d)
[ -n "$token" ] || { echo "Secret meshproof-token of $context holds no token: apply ci/job/peer first" >&2 && exit 1; }
cat << END
apiVersion: v1
kind: Config
clusters:
  - name: $name
    cluster: {server: "$server", certificate-authority-data: $authority}
users:
  - name: meshproof
    user: {token: $token}
contexts:
  - name: $name
    context: {cluster: $name, user: meshproof}
current-context: $name
END
