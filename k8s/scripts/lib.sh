# shellcheck shell=bash disable=SC2034  # set here, used by those who source it
# What the scripts beside it share: where to deploy to, how to say things, how to reach what is deployed. Sourced, never run.

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cd -- "$root" || exit 1
# TOOLS: another directory of tools than the pinned ones, where kubectl is looked for first.
PATH=${TOOLS:-$root/.tools/bin}:$PATH

# Every object of ours carries it, so that nobody else's is touched.
readonly part_of=invoice-payments
readonly namespaces=(invoices payments reconciliation messaging data)
readonly our_cluster=invoice-payments
# What every overlay runs; preflight adds what this one has besides.
deployed_images=(invoice-app payment-provider reconcile)
# What the Dockerfile makes, a target each.
readonly all_images=("${deployed_images[@]}" nats-reloader probe)
overlay=${OVERLAY:-k8s/overlays/local}

say() { printf '%s\n' "$@" >&2; }
# die SENTENCE [DETAILS…]: first what failed, why, and what to do; then, a line each, what a tool said about it.
die() {
  printf '%s\n' "$@" >&2
  exit 1
}

# What the manifests pin, unless the environment says otherwise.
pinned_image() { sed -n "s|^ *image: \(docker.io/library/$1:.*\)|\1|p" "$2"; }
nats_image=${NATS_IMAGE:-$(pinned_image nats nats/statefulset.yaml)}
postgres_image=${POSTGRES_IMAGE:-$(pinned_image postgres k8s/base/postgres/statefulset.yaml)}

# What our images' names start with. Without a registry of one's own it is a name that no kubelet looks up elsewhere, and
# that docker and podman write alike. Its slash is often forgotten.
prefix=${PREFIX-localhost/}
prefix=${prefix:+${prefix%/}/}

# Clusters on this machine, by the names that their tools give to contexts.
is_local_context() {
  case $1 in
    kind-* | k3d-* | minikube | minikube-* | docker-desktop | docker-for-desktop | rancher-desktop | orbstack | colima | colima-*) ;;
    *) return 1 ;;
  esac
}

# Decides where to: KUBE_CONTEXT, or the current context when it is a local cluster. Never changes the current context.
choose_context() {
  if [ -n "${KUBE_CONTEXT:-}" ]; then
    context=$KUBE_CONTEXT
  else
    context=$(kubectl config current-context 2>/dev/null) ||
      die "There is no cluster: make one with 'just cluster-up', or name one with KUBE_CONTEXT."
    is_local_context "$context" ||
      die "The current context, $context, is not a local cluster's. To use it all the same: KUBE_CONTEXT=$context"
  fi
  readonly context
  local words
  words=$(kube version --request-timeout=10s 2>&1 >/dev/null) ||
    die "The cluster of context $context does not answer. 'kubectl config get-contexts' lists the names there are; kubectl said:" "$words"
}

kube() { kubectl --context "$context" "$@"; }

# need NAMESPACE OBJECT: for what needs that part of the deployed system, and would otherwise fail somewhere in its middle. Teams
# read their own namespace alone, so each script asks for what it uses, and for nothing else.
need() {
  local words
  words=$(kube get "$2" --namespace "$1" 2>&1 >/dev/null) && return
  case $words in
    *NotFound*) die "The system is not deployed to $context; 'just deploy' does that." ;;
    *) die "Whether the system is deployed to $context cannot be told; kubectl said:" "$words" ;;
  esac
}

# docker or podman, whichever works here.
container_engine() {
  local engine
  for engine in ${ENGINE:-docker podman}; do
    if "$engine" info >/dev/null 2>&1; then
      printf '%s' "$engine"
      return
    fi
  done
  return 1
}

is_ours() { [ "$(kube get namespace "$1" -o "jsonpath={.metadata.labels.app\.kubernetes\.io/part-of}" 2>/dev/null)" = "$part_of" ]; }
exists() { kube get namespace "$1" >/dev/null 2>&1; }

# unmounted NAMESPACE POD: what a pod waits for that is not there. Its status says ContainerCreating and no more; events tell.
unmounted() {
  kube get events --namespace "$1" --field-selector "involvedObject.name=$2,reason=FailedMount" \
    -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}' 2>/dev/null | grep 'not found' | tail -n 1
}

# The token of the recipes, as `just deploy` made it.
api_token() {
  local token words
  words=$(mktemp)
  token=$(kube get secret api-token-recipes --namespace invoices -o 'jsonpath={.data.token}' 2>"$words") || {
    say "There is no token for the API to be had: 'just deploy' keeps one in the secret invoices/api-token-recipes. kubectl said:"
    cat "$words" >&2
    rm -f "$words"
    return 1
  }
  rm -f "$words"
  base64 --decode <<<"$token"
}

# Where the API answers. Prints nothing when no address is known.
guess_url() {
  if [ -n "${INVOICE_APP_URL:-}" ]; then
    printf '%s' "${INVOICE_APP_URL%/}"
    return
  fi
  local port address
  port=$(kube get service invoice-app --namespace invoices -o 'jsonpath={.spec.ports[0].nodePort}')
  case $context in
    # The port that kind.yaml and cluster-up.sh map.
    "kind-$our_cluster" | "k3d-$our_cluster") printf 'http://localhost:8080' ;;
    docker-desktop | docker-for-desktop | rancher-desktop | orbstack | colima*) printf 'http://localhost:%s' "$port" ;;
    *)
      # Teams may not look at nodes.
      address=$(kube get nodes -o 'jsonpath={.items[*].status.addresses[?(@.type=="InternalIP")].address}' 2>/dev/null) || address=
      [ -z "$port" ] || [ -z "$address" ] || printf 'http://%s:%s' "${address%% *}" "$port"
      ;;
  esac
}

# The program that makes keys and listens in: LOCAL_STACK, or the one built here.
local_stack() {
  if [ -z "${LOCAL_STACK:-}" ]; then
    LOCAL_STACK=${CARGO_TARGET_DIR:-target}/debug/local-stack
    [ -x "$LOCAL_STACK" ] || say "building local-stack, which takes a minute or two the first time ..."
    cargo build --quiet --package local-stack >&2
  fi
  printf '%s' "$LOCAL_STACK"
}

# As `sha256sum`, which macOS knows by another name.
sha256() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

# Decides how images get into the cluster, and whether that can work here at all: sets `loading`, and `engine`, which is empty
# where there is none.
choose_loading() {
  engine=$(container_engine) || engine=
  local tool
  if [ -n "${IMAGE_LOAD_CMD:-}" ]; then
    loading=command tool=${IMAGE_LOAD_CMD%%[[:space:]]*}
    case $tool in
      *[!A-Za-z0-9_./+-]*) tool=bash ;;
    esac
    command -v "$tool" >/dev/null || die "IMAGE_LOAD_CMD cannot be run: there is no $tool here."
    tool=$(bash -n -c "$IMAGE_LOAD_CMD" 2>&1) || die "IMAGE_LOAD_CMD cannot be run; bash said:" "$tool"
    return
  fi
  [ -n "$engine" ] || die "Neither docker nor podman works here, so no image can be loaded: start one, or give IMAGE_LOAD_CMD." "$(engine_words)"
  case $context in
    kind-*) loading=kind ;;
    k3d-*) loading=k3d ;;
    minikube*) loading=minikube ;;
    docker-desktop | docker-for-desktop | orbstack) loading=shared ;;
    rancher-desktop | colima*) loading=nerdctl ;;
    *) die "How to load images into $context is not known here: give IMAGE_LOAD_CMD, or push them and give PREFIX." ;;
  esac
  case $loading in
    kind | k3d | minikube) command -v "$loading" >/dev/null || die "Images get into $context by way of $loading, which is not here." ;;
  esac
}

# Why there is no engine.
engine_words() {
  local engine
  for engine in ${ENGINE:-docker podman}; do
    command -v "$engine" >/dev/null || continue
    printf '%s: ' "$engine"
    "$engine" info 2>&1 >/dev/null | tail -n 1
  done
}

# The machine's libraries that programs are linked with; none for static ones.
libraries_of() {
  { ldd "$@" 2>/dev/null || true; } |
    awk '$2 == "=>" && $3 ~ "^/(usr/)?lib" { print $3 } $1 ~ "^/(usr/)?lib" && $2 ~ "^[(]" { print $1 }' | sort -u
}

# Any HTTP answer will do: it asks for a token. No proxy stands between this machine and a cluster's node.
answers() { [ -n "$1" ] && curl --noproxy '*' --silent --output /dev/null --max-time 3 "$1/invoices"; }

# Sets `url`: the outside address, or, where this machine cannot reach it, a port-forward that ends with the script.
find_url() {
  url=$(guess_url)
  # A node learns of new pods behind a port a moment after they are ready. An address that was given is known to be right.
  local tries limit=3
  [ -z "${INVOICE_APP_URL:-}" ] || limit=60
  for tries in $(seq "$limit"); do
    ! answers "$url" || return 0
    sleep 1
  done
  [ -z "${INVOICE_APP_URL:-}" ] || die "Nothing answers at INVOICE_APP_URL=$url after $tries tries."
  forward invoices service/invoice-app 80
  url=http://127.0.0.1:$forwarded
  say "The cluster's own address cannot be reached from here; going through a port-forward."
}

# forward NAMESPACE TARGET PORT: sets `forwarded`, the local port, once it works.
forward() {
  local log
  log=$(mktemp)
  # Not by way of `kube`: what is ended later would be a shell, and not its child.
  kubectl --context "$context" port-forward --namespace "$1" --address 127.0.0.1 "$2" ":$3" >"$log" 2>&1 &
  forwarder=$!
  # shellcheck disable=SC2064  # this very value
  trap "kill $forwarder 2>/dev/null || true" EXIT
  local tries
  for tries in $(seq 300); do
    forwarded=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$log")
    if [ -n "$forwarded" ]; then
      rm -f "$log"
      return
    fi
    kill -0 "$forwarder" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log" >&2
  rm -f "$log"
  die "No port-forward to $2 after $tries tries."
}

# call METHOD PATH [CURL ARGUMENTS]: the API's answer, with the recipes' token, which no list of processes shows.
call() {
  local method=$1 path=$2 token
  shift 2
  token=$(api_token) || return
  curl --noproxy '*' --silent --show-error --max-time 60 --request "$method" "$url$path" \
    --header @<(printf 'authorization: Bearer %s' "$token") "$@"
}
