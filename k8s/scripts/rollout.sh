# shellcheck shell=bash disable=SC2154  # lib.sh sets what is used here
# Waits for what was applied, and says why it does not come: one sentence first, the details behind it. Sourced by deploy.sh.

# Where the details are kept, since they are long.
readonly details=target/deploy/details.txt

# images_of NAMESPACE WORKLOAD: what its pods are to run, a space around each.
images_of() {
  local pod='.spec.template.spec'
  kube get "$2" --namespace "$1" -o "jsonpath= {$pod.containers[0].image} {$pod.initContainers[0].image} "
}

# pods_of NAMESPACE WORKLOAD: a line for each pod: its name, image, why it waits, how it ended last, why no node takes it, and
# what is said about that. Pods of the workload have one container, and a sidecar at most, which comes first: the other waits for it.
pods_of() {
  local containers container status scheduled='.status.conditions[?(@.type=="PodScheduled")]'
  for containers in initContainer container; do
    container=".spec.${containers}s[0]" status=".status.${containers}Statuses[0]"
    kube get pods --namespace "$1" --selector "app.kubernetes.io/name=${2#*/}" -o "jsonpath={range .items[*]}{.metadata.name}|{$container.image}|{$status.state.waiting.reason}|{$status.lastState.terminated.exitCode}|{$scheduled.reason}|{$status.state.waiting.message}{$scheduled.message}{\"\n\"}{end}"
  done
}

# hopeless NAMESPACE WORKLOAD: prints the sentence if a new pod waits for an image that no waiting brings. Pods of an earlier
# try may still be around, with another image.
hopeless() {
  local wanted pod image reason message
  wanted=$(images_of "$1" "$2") || return 1
  while IFS='|' read -r pod image reason _ _ message; do
    [ -n "$image" ] && [[ $wanted = *" $image "* ]] || continue
    case $reason:$message in
      ErrImageNeverPull:* | InvalidImageName:*) ;;
      ErrImagePull:* | ImagePullBackOff:*)
        grep -Eqi 'not ?found|not exist|manifest unknown|name unknown|denied|unauthorized|authorization failed' <<<"$message" || continue
        ;;
      *) continue ;;
    esac
    printf '%s' "$pod in $1 cannot run: its image $image is not to be had ($reason). $(how_to_get "$image")"
    return
  done < <(pods_of "$1" "$2")
  return 1
}

how_to_get() {
  case $1 in
    "$nats_image") printf 'Give NATS_IMAGE: one that the cluster can pull, or that is on this machine.' ;;
    "$postgres_image") printf 'Give POSTGRES_IMAGE: one that the cluster can pull, or that is on this machine.' ;;
    localhost/*) printf 'It has to be loaded into the cluster: see IMAGE_LOAD_CMD; or give PREFIX, a registry that the cluster reaches.' ;;
    *) printf 'Push it, or give TAG for images that are there; a registry that asks who you are needs imagePullSecrets.' ;;
  esac
}

# why NAMESPACE WORKLOAD: the sentence for one that did not become ready.
why() {
  local wanted pod image reason code unscheduled message seen=''
  ! hopeless "$1" "$2" || return 0
  wanted=$(images_of "$1" "$2") || return 0
  while IFS='|' read -r pod image reason code unscheduled message; do
    [ -n "$image" ] && [[ $wanted = *" $image "* ]] || continue
    seen=yes
    if [ "$unscheduled" = Unschedulable ]; then
      printf '%s' "no node has room for $pod in $1: $message Make room, or use a larger cluster."
    elif [ "$reason" = ContainerCreating ] && message=$(unmounted "$1" "$pod"); then
      printf '%s' "$pod in $1 lacks something it mounts: $message. docs/kubernetes.md lists the secrets there have to be."
    elif [ "$reason" = CreateContainerConfigError ]; then
      printf '%s' "$pod in $1 lacks something its variables come from: $message."
    elif [ "$code" = 64 ]; then
      printf '%s' "$pod in $1 does not accept its configuration; its last words, below, say which key."
    elif [ -n "$code" ]; then
      printf '%s' "$pod in $1 ended with exit code $code; its last words, below, say why."
    elif [ -n "$reason" ]; then
      printf '%s' "$pod in $1 waits: $reason. $message"
    else
      continue
    fi
    return
  done < <(pods_of "$1" "$2")
  if [ -z "$seen" ]; then
    message=$(kube get events --namespace "$1" -o 'jsonpath={range .items[?(@.reason=="FailedCreate")]}{.message}{"\n"}{end}' | tail -n 1)
    printf '%s' "the cluster makes no pod for $2 in $1${message:+: $message}"
  else
    printf '%s' "pods of $2 in $1 run and do not become ready; their last words, below, say what they wait for."
  fi
}

# fail_rollout NAMESPACE WORKLOAD SENTENCE
fail_rollout() {
  local pod
  {
    kube get pods --namespace "$1" --output wide
    kube get events --namespace "$1" --sort-by .lastTimestamp | tail -n 40
    kube describe "$2" --namespace "$1"
    for pod in $(kube get pods --namespace "$1" --selector "app.kubernetes.io/name=${2#*/}" --output name); do
      printf '\n--- %s ---\n' "$pod"
      kube describe "$pod" --namespace "$1"
      kube logs "$pod" --namespace "$1" --previous --tail 50
      kube logs "$pod" --namespace "$1" --tail 50
    done
  } >"$details" 2>&1 || true
  say "$3" "" "--- the last words of its pods ---"
  kube logs --namespace "$1" --selector "app.kubernetes.io/name=${2#*/}" --prefix --tail 5 2>&1 | tail -n 15 >&2 || true
  die "" "Pods, events and logs of it: $details"
}

# roll_out NAMESPACE WORKLOAD: waits until it runs what was applied, as long as there is hope.
roll_out() {
  local limit=${TIMEOUT:-600} end sentence said='' status
  end=$((SECONDS + ${limit%s}))
  while [ "$SECONDS" -lt "$end" ]; do
    # It gives up at once on a Deployment that exceeded its deadline yesterday and may be recovering now.
    status=$(kube rollout status "$2" --namespace "$1" --watch=false 2>&1) || true
    if [ "$status" != "$said" ]; then
      say "$2: $status"
      said=$status
    fi
    case $status in
      *"successfully rolled out"* | *"rolling update complete"* | *"roll out complete"*) return ;;
    esac
    # Looked at twice: what was pushed this very moment may not be found once.
    if hopeless "$1" "$2" >/dev/null && sleep "${PATIENCE:-5}" && sentence=$(hopeless "$1" "$2"); then
      fail_rollout "$1" "$2" "The deployment failed: $sentence"
    fi
    sleep 2
  done
  fail_rollout "$1" "$2" "The deployment failed: after ${limit%s} s, $(why "$1" "$2")"
}
