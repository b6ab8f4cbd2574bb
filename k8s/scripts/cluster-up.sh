#!/usr/bin/env bash
# Makes a local cluster with kind, or with k3d where kind is missing. Both enforce network policies.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"

if command -v kind >/dev/null; then
  if kind get clusters 2>/dev/null | grep -qx "$our_cluster"; then
    say "kind already has the cluster $our_cluster."
  else
    kind create cluster --config k8s/kind.yaml --wait 180s
  fi
  context=kind-$our_cluster
elif command -v k3d >/dev/null; then
  if k3d cluster list --no-headers 2>/dev/null | grep -q "^$our_cluster "; then
    say "k3d already has the cluster $our_cluster."
  else
    # Its own ingress and load balancer would only take ports.
    k3d cluster create "$our_cluster" --agents 2 --port '127.0.0.1:8080:30080@server:0' --wait --timeout 180s \
      --k3s-arg '--disable=traefik@server:*' --k3s-arg '--disable=servicelb@server:*'
  fi
  context=k3d-$our_cluster
else
  die "Neither kind nor k3d is here: https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
fi
say "The cluster is up, and the current context is $context. Next: just deploy"
