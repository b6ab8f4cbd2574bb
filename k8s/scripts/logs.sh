#!/usr/bin/env bash
# Follows the logs of both services and of NATS, of those that you may read, each line with its pod's name.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
choose_context

readable=()
for workload in invoices/deployment/invoice-app payments/deployment/payment-provider messaging/statefulset/nats; do
  namespace=${workload%%/*} object=${workload#*/}
  kube auth can-i --quiet get pods --subresource log --namespace "$namespace" || continue
  need "$namespace" "$object"
  readable+=("$namespace/${object#*/}")
done
[ "${#readable[@]}" != 0 ] || die "You may read no logs of the system in $context."

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
for workload in "${readable[@]}"; do
  # Not by way of `kube`: what is ended later would be a shell, and not its child.
  kubectl --context "$context" logs --namespace "${workload%/*}" --selector "app.kubernetes.io/name=${workload#*/}" --follow --prefix --tail 20 \
    --max-log-requests 20 &
done
wait
