#!/usr/bin/env bash
# Removes the cluster that cluster-up made, by its name.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"

if command -v kind >/dev/null && kind get clusters 2>/dev/null | grep -qx "$our_cluster"; then
  kind delete cluster --name "$our_cluster"
elif command -v k3d >/dev/null && k3d cluster list --no-headers 2>/dev/null | grep -q "^$our_cluster "; then
  k3d cluster delete "$our_cluster"
else
  say "There is no cluster $our_cluster."
fi
