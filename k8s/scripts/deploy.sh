#!/usr/bin/env bash
# Builds the images, brings them and everything else to the cluster, waits until it runs, and pays an invoice to prove it.
# Run twice, it changes nothing. Settings are environment variables:
#
#   KUBE_CONTEXT     where to; without it the current context, if that is a local cluster
#   OVERLAY          what to apply (k8s/overlays/local)
#   TAG              of images that exist already; without it they are built and loaded
#   PREFIX           what our images' names start with; given, they are pushed instead of loaded
#   NATS_IMAGE, POSTGRES_IMAGE, IMAGE_LOAD_CMD, ENGINE, BINARIES
#   INVOICE_APP_URL  where the outside reaches the API, if that cannot be guessed
#   TIMEOUT          how long a rollout may take (300s)
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
choose_context
say "deploying $overlay to $context"

for namespace in "${namespaces[@]}"; do
  if exists "$namespace"; then
    is_ours "$namespace" || die "The cluster has a namespace $namespace that is not of this system; nothing was changed."
  fi
done

tag=${TAG:-}
if [ -z "$tag" ]; then
  tag=$(k8s/scripts/build-images.sh)
  if [ -n "${PREFIX:-}" ]; then
    engine=$(container_engine)
    for image in invoice-app payment-provider probe; do "$engine" push "$PREFIX$image:$tag"; done
  else
    k8s/scripts/load-images.sh "invoice-app:$tag" "payment-provider:$tag" "probe:$tag" "$nats_image" "$postgres_image"
  fi
fi

# The overlay with the images of this deployment, kept for whoever wants to see what was applied.
mkdir -p target/deploy
cat >target/deploy/kustomization.yaml <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../$overlay
images:
  - {name: invoice-app, newName: ${PREFIX:-}invoice-app, newTag: "$tag"}
  - {name: payment-provider, newName: ${PREFIX:-}payment-provider, newTag: "$tag"}
  - {name: docker.io/library/nats, newName: ${nats_image%:*}, newTag: "${nats_image##*:}"}
  - {name: docker.io/library/postgres, newName: ${postgres_image%:*}, newTag: "${postgres_image##*:}"}
YAML
kubectl kustomize target/deploy >target/deploy/rendered.yaml

# Namespaces first, since secrets need them, and pods need the secrets.
for namespace in "${namespaces[@]}"; do
  grep -qx "  name: $namespace" target/deploy/rendered.yaml || continue
  exists "$namespace" || kubectl create namespace "$namespace" --dry-run=client --output yaml |
    kubectl label --local --filename - --dry-run=client --output yaml "app.kubernetes.io/part-of=$part_of" |
    kube create --filename -
done
k8s/scripts/secrets.sh
kube apply --server-side --force-conflicts --field-manager "$part_of" --filename target/deploy/rendered.yaml |
  grep -v ' serverside-applied$' || true

diagnose() {
  say "" "--- $2 in $1 did not become ready ---"
  kube get pods --namespace "$1" --output wide >&2
  kube get events --namespace "$1" --sort-by .lastTimestamp 2>/dev/null | tail -n 20 >&2
  kube describe "$2" --namespace "$1" | tail -n 30 >&2
  local pod
  for pod in $(kube get pods --namespace "$1" --selector "app.kubernetes.io/name=${2#*/}" --output name); do
    say "--- $pod ---"
    kube describe "$pod" --namespace "$1" | sed -n '/^Conditions:/,$p' | tail -n 30 >&2
    kube logs "$pod" --namespace "$1" --all-containers --tail 20 >&2 || true
    kube logs "$pod" --namespace "$1" --previous --tail 20 >&2 2>/dev/null || true
  done
}

for workload in data/statefulset/postgres messaging/statefulset/nats invoices/deployment/invoice-app \
  payments/deployment/payment-provider; do
  namespace=${workload%%/*} object=${workload#*/}
  exists "$namespace" || continue
  if ! kube rollout status "$object" --namespace "$namespace" --timeout "${TIMEOUT:-300s}" >&2; then
    diagnose "$namespace" "$object"
    exit 1
  fi
done

find_url
say "paying an invoice"
invoice=$(call POST /invoices --header 'content-type: application/json' \
  --data '{"amount": {"value": "12.15", "currency": "EUR"}}')
id=$(sed -n 's/.*"id":"\([0-9a-f-]*\)","number".*/\1/p' <<<"$invoice")
[ -n "$id" ] || die "No invoice was made: $invoice"
payment=$(call POST "/invoices/$id/pay" --header 'prefer: wait=30')
case $payment in
  *'"status":"succeeded"'*) ;;
  *) die "The invoice was not paid: $payment" ;;
esac
say "paid invoice $id"
say "invoice-app is at $url; 'just deployed-token' prints a token"
