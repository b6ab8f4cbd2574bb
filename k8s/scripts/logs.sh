#!/usr/bin/env bash
# Follows the logs of both services and of NATS, each line with its pod's name.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
need_deployment

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
for workload in invoices/invoice-app payments/payment-provider messaging/nats; do
  # Not by way of `kube`: what is ended later would be a shell, and not its child.
  kubectl --context "$context" logs --namespace "${workload%/*}" --selector "app.kubernetes.io/name=${workload#*/}" --follow --prefix --tail 20 \
    --max-log-requests 20 &
done
wait
