#!/usr/bin/env bash
# Makes the secrets that are missing, and keeps those that are there: the cluster is the only place where they are kept.
#
# What belongs together is made together: a seed without its public key in NATS's list would be of no use. Production gets
# its secrets from elsewhere, under the same names; docs/kubernetes.md lists them.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
choose_context

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

has() { kube get --namespace "$2" "$1" "$3" >/dev/null 2>&1; }
# put KIND NAMESPACE NAME ARGUMENTS…
put() {
  local kind=$1 namespace=$2 name=$3
  shift 3
  local type=()
  [ "$kind" = configmap ] || type=(generic)
  kubectl create "$kind" ${type[@]+"${type[@]}"} "$name" --namespace "$namespace" --dry-run=client --output yaml "$@" |
    kubectl label --local --filename - --dry-run=client --output yaml "app.kubernetes.io/part-of=$part_of" |
    kube apply --server-side --force-conflicts --field-manager "$part_of" --filename - >/dev/null
  say "made $kind $namespace/$name"
}
keys() { "$(local_stack)" keys "$@" >/dev/null; }
# restart NAMESPACE/WORKLOAD…: those that are there already took what has been replaced.
restart() {
  local workload
  for workload in "$@"; do
    if kube get "${workload#*/}" --namespace "${workload%%/*}" >/dev/null 2>&1; then
      kube rollout restart "${workload#*/}" --namespace "${workload%%/*}" >&2
    fi
  done
}
services=(invoices/deployment/invoice-app payments/deployment/payment-provider)
random_text() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
# in_secret NAMESPACE NAME KEY: its value, to standard output.
in_secret() { kube get secret "$2" --namespace "$1" -o "jsonpath={.data.$3}" | base64 --decode; }

# Who may connect to NATS, and what its server shows.
if ! { has secret messaging nats-tls && has configmap messaging nats-public-keys && has secret messaging nats-debug &&
  has secret messaging nats-sys && has secret invoices nats-user && has secret payments nats-user; }; then
  # The last name is for servers of a cluster, which find each other by it.
  keys "$work/nats" --dns nats.messaging.svc --dns nats.messaging.svc.cluster.local --dns '*.nats-headless.messaging.svc'
  put secret messaging nats-tls --from-file tls.crt="$work/nats/server.crt" --from-file tls.key="$work/nats/server.key" \
    --from-file ca.crt="$work/nats/ca.crt"
  put configmap messaging nats-public-keys --from-env-file "$work/nats/public-keys.env"
  put secret invoices nats-user --from-file nkey.seed="$work/nats/invoice-app.seed" --from-file ca.crt="$work/nats/ca.crt"
  put secret payments nats-user --from-file nkey.seed="$work/nats/payment-provider.seed" \
    --from-file ca.crt="$work/nats/ca.crt"
  put secret messaging nats-debug --from-file nkey.seed="$work/nats/debug.seed" --from-file ca.crt="$work/nats/ca.crt"
  put secret messaging nats-sys --from-file nkey.seed="$work/nats/sys.seed" --from-file ca.crt="$work/nats/ca.crt"
  restart messaging/statefulset/nats "${services[@]}"
fi

# The databases' roles, whose passwords Postgres takes from its own Secret at every start, and what its server shows.
if exists data; then
  if ! has secret data postgres-roles; then
    random_text >"$work/invoice_app"
    random_text >"$work/payment_provider"
    random_text >"$work/reconcile"
    put secret data postgres-roles --from-file "$work/invoice_app" --from-file "$work/payment_provider" \
      --from-file "$work/reconcile"
    passwords=new
  elif [ -z "$(in_secret data postgres-roles reconcile)" ]; then
    # Made by a version that had two roles, whose passwords stay.
    in_secret data postgres-roles invoice_app >"$work/invoice_app"
    in_secret data postgres-roles payment_provider >"$work/payment_provider"
    random_text >"$work/reconcile"
    put secret data postgres-roles --from-file "$work/invoice_app" --from-file "$work/payment_provider" \
      --from-file "$work/reconcile"
    passwords=new
  fi
  if [ -n "${passwords:-}" ] ||
    ! { has secret data postgres-tls && has secret invoices database && has secret payments database &&
      has secret reconciliation databases; }; then
    keys "$work/postgres" --dns postgres.data.svc --dns postgres.data.svc.cluster.local
    put secret data postgres-tls --from-file tls.crt="$work/postgres/server.crt" \
      --from-file tls.key="$work/postgres/server.key"
    in_secret data postgres-roles invoice_app >"$work/invoice_app"
    in_secret data postgres-roles payment_provider >"$work/payment_provider"
    put secret invoices database --from-file password="$work/invoice_app" --from-file ca.crt="$work/postgres/ca.crt"
    put secret payments database --from-file password="$work/payment_provider" --from-file ca.crt="$work/postgres/ca.crt"
    in_secret data postgres-roles reconcile >"$work/reconcile"
    put secret reconciliation databases --from-file invoices-password="$work/reconcile" \
      --from-file payments-password="$work/reconcile" --from-file ca.crt="$work/postgres/ca.crt"
    restart data/statefulset/postgres "${services[@]}"
  fi
fi

# One token of the API, for the recipes. invoice-app only ever sees its hash.
if ! { has secret invoices api-tokens && has secret invoices api-token-recipes; }; then
  random_text >"$work/token"
  cat >"$work/tokens.toml" <<TOML
[[tokens]]
name = "recipes"
sha256 = "$(sha256 "$work/token" | cut -d' ' -f1)"
scopes = ["invoices:read", "invoices:write", "invoices:pay"]
TOML
  put secret invoices api-token-recipes --from-file "$work/token"
  put secret invoices api-tokens --from-file "$work/tokens.toml"
fi
