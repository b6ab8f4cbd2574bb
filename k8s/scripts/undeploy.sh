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
# One policy stays, and says nothing without the namespaces: an API server that has lost sight of what a policy is bound to never
# finds it again (kubernetes/kubernetes#133827), and would refuse every Job of the next deployment.
kube delete validatingadmissionpolicybindings,validatingadmissionpolicies,priorityclasses \
  --selector "app.kubernetes.io/part-of=$part_of" --field-selector metadata.name!=operators-run-commands --ignore-not-found
