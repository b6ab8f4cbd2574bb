#!/usr/bin/env bash
# Removes what `deploy` brought, with all invoices, and nothing else.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
choose_context

timeout=${TIMEOUT:-600}
ours=()
for namespace in "${namespaces[@]}"; do
  if is_ours "$namespace"; then ours+=("$namespace"); fi
done
[ "${#ours[@]}" = 0 ] || kube delete namespace "${ours[@]}" --wait --timeout "${timeout%s}s"
kube delete validatingadmissionpolicybindings,validatingadmissionpolicies,priorityclasses \
  --selector "app.kubernetes.io/part-of=$part_of" --ignore-not-found
