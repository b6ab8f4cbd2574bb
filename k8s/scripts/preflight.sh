# shellcheck shell=bash disable=SC2154  # lib.sh sets what is used here
# What can be known in a second is asked before anything is built or changed. Sourced by deploy.sh, which has chosen the context.

# The oldest Kubernetes that has everything in use: admission policies and the pause before stopping.
readonly oldest_minor=30

check_settings() {
  case ${STORAGE:-claims} in claims | ephemeral) ;; *) die "STORAGE is claims or ephemeral, not $STORAGE." ;; esac
  case ${POSTGRES_TLS:-on} in on | off) ;; *) die "POSTGRES_TLS is on or off, not $POSTGRES_TLS." ;; esac
  case ${TIMEOUT:-600} in *[!0-9s]* | s*) die "TIMEOUT is a number of seconds, not $TIMEOUT." ;; esac
  case ${TAG:-none} in *[!A-Za-z0-9_.-]*) die "TAG is a tag alone, such as 0.1.0; what stands before it is PREFIX: $TAG" ;; esac
  [ -n "${LOCAL_STACK:-}" ] || command -v cargo >/dev/null || die "cargo is missing, which builds what makes the secrets: install Rust, or give LOCAL_STACK."
  [ -z "${LOCAL_STACK:-}" ] || [ -x "$LOCAL_STACK" ] || die "LOCAL_STACK is no program: $LOCAL_STACK"
}

# Renders the overlay once, as it is, into target/deploy/overlay.yaml.
check_overlay() {
  local words
  [ -f "$overlay/kustomization.yaml" ] || die "There is no overlay $overlay: OVERLAY is a directory with a kustomization.yaml, from the repository's top."
  mkdir -p target/deploy
  words=$(kubectl kustomize "$overlay" 2>&1 >target/deploy/overlay.yaml) || die "The overlay $overlay cannot be rendered; kubectl said:" "$words"
}

check_cluster() {
  local minor kind group served missing=() words
  minor=$(kube version -o json | sed -n '/"serverVersion"/,$s/.*"minor": *"\([0-9]*\).*/\1/p' | head -n 1)
  [ "${minor:-$oldest_minor}" -ge "$oldest_minor" ] || die "Kubernetes 1.$oldest_minor or newer is needed, and $context runs 1.$minor."
  served=$(kube api-versions 2>&1) || die "What $context can do cannot be told; kubectl said:" "$served"
  while read -r group; do
    grep -qx "$group" <<<"$served" || missing+=("$group")
  done < <(sed -n 's/^apiVersion: //p' target/deploy/overlay.yaml | sort -u)
  [ "${#missing[@]}" = 0 ] || die "$overlay needs what $context does not know: ${missing[*]}. Install its operator first (docs/kubernetes.md, What is where), or use another overlay."
  for kind in namespaces clusterroles.rbac.authorization.k8s.io validatingadmissionpolicies.admissionregistration.k8s.io priorityclasses.scheduling.k8s.io; do
    words=$(kube auth can-i create "$kind" 2>&1) || die "You may not create $kind in $context: deploying is for whoever runs the cluster. kubectl said:" "$words"
  done
}

# Those that exist and are somebody else's.
check_namespaces() {
  local namespace
  for namespace in "${namespaces[@]}"; do
    if exists "$namespace"; then
      is_ours "$namespace" || die "The cluster has a namespace $namespace that is not of this system; nothing was changed."
    fi
  done
}

# Volumes of a StatefulSet that exists can never be changed; the API server would say so in the middle of everything.
check_storage() {
  local deployed
  deployed=$(deployed_storage)
  case $deployed in
    '' | "${STORAGE:-$deployed}") ;;
    *) die "NATS and Postgres are deployed with STORAGE=$deployed, which cannot be changed: leave it so, or begin anew after 'just undeploy', which removes all invoices." ;;
  esac
}

# As what is deployed has it; nothing where nothing is.
deployed_storage() {
  local claims
  claims=$(kube get statefulset nats --namespace messaging -o 'jsonpath={.spec.volumeClaimTemplates[*].metadata.name}' 2>/dev/null) || return 0
  [ -n "$claims" ] && printf claims || printf ephemeral
}

# Secrets that pods of the overlay mount and that neither are there nor are made here. A pod would wait for one without a word.
check_secrets() {
  local secret missing=()
  while read -r secret; do
    case $secret in
      messaging/nats-tls | */nats-user | invoices/api-tokens) continue ;;
      */database | */databases | data/*) ! renders namespace data || continue ;;
    esac
    kube get secret "${secret#*/}" --namespace "${secret%/*}" >/dev/null 2>&1 || missing+=("$secret")
  done < <(mounted_secrets)
  [ "${#missing[@]}" = 0 ] || die "$overlay mounts secrets that $context does not have: ${missing[*]}. Make them first (docs/kubernetes.md, Secrets)."
}

# renders KIND NAME: whether the overlay has that object.
renders() { grep -A 20 -ix "kind: $1" target/deploy/overlay.yaml | grep -x "  name: $2" >/dev/null; }

# The secrets in volumes of the overlay that a pod cannot do without, as NAMESPACE/NAME.
mounted_secrets() {
  awk '
    function tell() { if (name != "" && !optional) print namespace "/" name; name = ""; optional = 0 }
    /^---/ { tell(); namespace = "" }
    /^  namespace: / { namespace = $2 }
    /^ +(- )?(name|configMap|secret):/ { tell() }
    /^ +secretName: / { name = $2 }
    /^ +optional: true$/ { optional = 1 }
    END { tell() }
  ' target/deploy/overlay.yaml | sort -u
}

# image_name PROGRAM: by what name the overlay runs its image, which a copy may have changed; without tag and digest.
image_name() {
  sed -n 's/^ *\(- \)\{0,1\}image: *"\{0,1\}\([^"@]*\).*/\2/p' target/deploy/overlay.yaml | sed 's/:[^/:]*$//' |
    awk -v last="$1" '{ parts = split($0, part, "/") } part[parts] == last { found = $0 } END { print found }'
}

# Whether images can be built, and brought there.
check_images() {
  local program
  [ -z "$(image_name nats-reloader)" ] || deployed_images+=(nats-reloader)
  images=("${deployed_images[@]}" probe)
  for program in "${deployed_images[@]}"; do
    [ -n "$(image_name "$program")" ] || die "$overlay runs no image $program, so what is built here would not run there: deploy it with kubectl."
  done
  [ -z "${TAG:-}" ] || return 0
  container_engine >/dev/null || die "Neither docker nor podman works here, so no image can be built: start one, or give TAG for images that exist." "$(engine_words)"
  if [ -n "${BINARIES:-}" ]; then
    for program in "${images[@]}"; do
      [ -x "$BINARIES/$program" ] || die "BINARIES has no program $program: $BINARIES"
    done
  fi
  [ -n "${PREFIX:-}" ] || choose_loading
}
