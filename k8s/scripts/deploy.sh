#!/usr/bin/env bash
# Builds the images, brings them and everything else to the cluster, waits until it runs, and pays an invoice to prove it.
# Run twice, it changes nothing. Settings are environment variables:
#
#   KUBE_CONTEXT     where to; without it the current context, if that is a local cluster
#   OVERLAY          what to apply (k8s/overlays/local)
#   TAG              of images that exist already; without it they are built and loaded
#   PREFIX           what our images' names start with; given, they are pushed instead of loaded
#   STORAGE          `claims` for volumes that outlive pods, `ephemeral` for a cluster that makes none; without it whatever
#                    is deployed already, and else what the cluster offers
#   POSTGRES_TLS     `on`, or `off` for an image whose Postgres cannot do it; without it the image is asked, if it is here
#   NATS_IMAGE, POSTGRES_IMAGE, IMAGE_LOAD_CMD, ENGINE, BINARIES
#   INVOICE_APP_URL  where the outside reaches the API, if that cannot be guessed
#   TIMEOUT          how many seconds each rollout may take (600)
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=k8s/scripts/preflight.sh
. k8s/scripts/preflight.sh
# shellcheck source=k8s/scripts/rollout.sh
. k8s/scripts/rollout.sh

check_settings
check_overlay
choose_context
check_cluster
check_namespaces
check_secrets
check_storage
check_images
say "deploying $overlay to $context"

# Images of others are the overlay's to choose, as from a mirror, unless one is given.
others=()
nats_name=$(image_name nats) postgres_name=$(image_name postgres)
if [ -z "${NATS_IMAGE:-}" ] && [ "$nats_name" != docker.io/library/nats ]; then nats_name=''; fi
if [ -z "${POSTGRES_IMAGE:-}" ] && [ "$postgres_name" != docker.io/library/postgres ]; then postgres_name=''; fi
[ -z "$nats_name" ] || others+=("$nats_image")
[ -z "$postgres_name" ] || others+=("$postgres_image")

tag=${TAG:-}
if [ -z "$tag" ]; then
  tag=$(k8s/scripts/build-images.sh "${images[@]}")
  if [ -n "${PREFIX:-}" ]; then
    engine=$(container_engine)
    for image in "${images[@]}"; do "$engine" push "$prefix$image:$tag" >&2; done
  else
    ours=("${images[@]/#/$prefix}")
    k8s/scripts/load-images.sh "${ours[@]/%/:$tag}" ${others[@]+"${others[@]}"}
  fi
fi

# image NAME REFERENCE: an entry of `images:` that puts the reference, by tag or by digest, in the place of the name.
image() {
  local name=${2%%@*} last=${2##*/}
  case $2 in
    *@*) printf '  - {name: "%s", newName: "%s", digest: "%s"}\n' "$1" "${name%:"${name##*[:/]}"}" "${2#*@}" ;;
    *) case $last in
      *:*) printf '  - {name: "%s", newName: "%s", newTag: "%s"}\n' "$1" "${2%:*}" "${2##*:}" ;;
      *) printf '  - {name: "%s", newName: "%s", newTag: latest}\n' "$1" "$2" ;;
    esac ;;
  esac
}

# Whether a StatefulSet of NATS or Postgres may ask for volumes.
storage() {
  local deployed
  deployed=${STORAGE:-$(deployed_storage)}
  if [ -n "$deployed" ]; then
    printf '%s' "$deployed"
  elif [ "$overlay" != k8s/overlays/local ] ||
    kube get storageclasses -o 'jsonpath={range .items[*]}{.metadata.annotations}{"\n"}{end}' |
    grep -Eq 'storageclass(\.beta)?\.kubernetes\.io/is-default-class":"true"'; then
    printf claims
  else
    printf ephemeral
  fi
}

# Whether the image of Postgres can do TLS, by its own word; one that is not on this machine is taken to be the official one.
postgres_tls() {
  local engine library
  if [ -n "${POSTGRES_TLS:-}" ]; then
    printf '%s' "$POSTGRES_TLS"
  elif engine=$(container_engine) && "$engine" image inspect "$postgres_image" >/dev/null 2>&1 &&
    library=$("$engine" run --rm --network none --user 65532:65532 --entrypoint postgres "$postgres_image" \
      -C ssl_library -D /tmp -c config_file=/dev/null 2>/dev/null) && [ -z "$library" ]; then
    printf off
  else
    printf on
  fi
}

components=()
storage=$(storage)
if [ "$storage" = ephemeral ]; then
  components+=(../../k8s/components/ephemeral-storage)
  say "Invoices will live as long as the pod of Postgres, which gets no volume of its own here."
fi
if [ "$overlay" = k8s/overlays/local ] && [ "$(postgres_tls)" = off ]; then
  components+=(../../k8s/components/postgres-without-tls)
  say "Postgres will be used without TLS: $postgres_image cannot do it."
fi

# Whatever the overlay calls them, it is to run what was built.
replacements() {
  local program name
  for program in "${deployed_images[@]}"; do
    name=$(image_name "$program")
    image "$name" "$prefix$program:$tag"
    [ "$name" = "$program" ] || say "In the place of $overlay's $name runs $prefix$program:$tag."
  done
  [ -z "$nats_name" ] || image "$nats_name" "$nats_image"
  [ -z "$postgres_name" ] || image "$postgres_name" "$postgres_image"
}

# The overlay with the images of this deployment, kept for whoever wants to see what was applied.
mkdir -p target/deploy
cat >target/deploy/kustomization.yaml <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../$overlay
components: [$(IFS=, && printf '%s' "${components[*]-}")]
images:
$(replacements)
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
# An earlier version had Postgres without an address of its own, and none can be given to a Service that is there.
if exists data && [ "$(kube get service postgres --namespace data --ignore-not-found -o 'jsonpath={.spec.clusterIP}')" = None ]; then
  kube delete service postgres --namespace data >&2
fi
# What went well is of no interest, unlike warnings and whatever makes it fail.
kube apply --server-side --force-conflicts --field-manager "$part_of" --filename target/deploy/rendered.yaml >/dev/null

for workload in data/statefulset/postgres messaging/statefulset/nats invoices/deployment/invoice-app \
  payments/deployment/payment-provider; do
  namespace=${workload%%/*} object=${workload#*/}
  ! exists "$namespace" || roll_out "$namespace" "$object"
done

find_url
say "paying an invoice"
# Pods that are ready may still be looking for a Postgres or a NATS that was rolled out, too: what fails is tried again, and the
# key makes it one invoice.
invoice='' id=''
key=deploy-$(date +%s)-$$
for _ in $(seq 60); do
  if [ -z "$id" ]; then
    invoice=$(call POST /invoices --header 'content-type: application/json' --header "idempotency-key: $key" \
      --data '{"amount": {"value": "12.15", "currency": "EUR"}}') || true
    id=$(sed -n 's/.*"id":"\([0-9a-f-]*\)","number".*/\1/p' <<<"$invoice")
  else
    invoice=$(call GET "/invoices/$id") || true
  fi
  case $invoice in
    *'"paid_at":"'*) break ;;
    *'"status":"unpaid"'*) call POST "/invoices/$id/pay" --header 'prefer: wait=30' >/dev/null || true ;;
    *) sleep 2 ;;
  esac
done
case $invoice in
  *'"paid_at":"'*) say "paid invoice $id" ;;
  *)
    {
      for workload in messaging/nats invoices/invoice-app payments/payment-provider; do
        kube logs --namespace "${workload%/*}" --selector "app.kubernetes.io/name=${workload#*/}" --prefix --tail 100
      done
    } >"$details" 2>&1 || true
    die "The deployment runs, and the invoice that was to prove it was not paid. The API's last answer:" "$invoice" \
      "The logs of both services and of NATS: $details"
    ;;
esac
say "invoice-app is at $url; 'just deployed-token' prints a token"
