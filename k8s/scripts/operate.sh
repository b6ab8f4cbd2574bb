#!/usr/bin/env bash
# Runs a command of an operator inside the cluster, as a Job made of the service's template, and prints what it prints:
# operate.sh SERVICE COMMAND [ARGUMENTS…], such as operate.sh payment-provider ledger list --open. Ends as the command ends.
# A decision about a payment is recorded under the name by which the cluster knows you, unless --by says another.
#
#   TIMEOUT  how many seconds it may take (900)
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"

service=${1-}
case $service in
  invoice-app) namespace=invoices ;;
  payment-provider) namespace=payments ;;
  reconcile) namespace=reconciliation ;;
  *) die "usage: operate.sh invoice-app|payment-provider COMMAND [ARGUMENTS…], or operate.sh reconcile" ;;
esac
shift
# The check of the books has one command, which its template says.
template=$service-operator
if [ "$service" = reconcile ]; then
  template=reconcile
  [ "$#" = 0 ] || die "In a cluster the books are checked as its overlay says, without arguments: $*"
elif [ "$#" = 0 ]; then
  die "usage: operate.sh $service COMMAND [ARGUMENTS…]"
fi
choose_context
need "$namespace" "cronjob/$template"

# A Job knows nobody's name, so who decides is said here.
case " $* " in
  *" --by"*) ;;
  " ledger resolve "* | " ledger release "* | " ledger declare-lost "*)
    name=$(kube auth whoami -o 'jsonpath={.status.userInfo.username}' 2>/dev/null) || name=
    [ -z "$name" ] || set -- "$@" --by "$name"
    ;;
esac

# A list in JSON of the arguments.
json_list() {
  local argument separator=''
  printf '['
  for argument in "$@"; do
    case $argument in
      *[[:cntrl:]]*) die "An argument has a character that cannot be passed on: ${argument@Q}" ;;
    esac
    argument=${argument//\\/\\\\}
    printf '%s"%s"' "$separator" "${argument//\"/\\\"}"
    separator=,
  done
  printf ']'
}

code=''
job=operator-$(date +%s)-$RANDOM
patch='[]'
[ "$#" = 0 ] || patch="[{\"op\": \"add\", \"path\": \"/spec/template/spec/containers/0/args\", \"value\": $(json_list "$@")}]"
words=$({
  kube create job "$job" --namespace "$namespace" --from "cronjob/$template" --dry-run=client --output json |
    kubectl patch --local --filename - --type json --output json --patch "$patch" |
    kube create --filename -
} 2>&1 >/dev/null) || die "The command was not started; kubectl said:" "$words"
# A check of the books that has ended stays, for its CronJob to count: that takes a moment, and the alerts go by when it last
# succeeded. The CronJob removes it in time.
trap '[ "$service" = reconcile ] && [ -n "$code" ] ||
  kube delete job "$job" --namespace "$namespace" --wait=false >/dev/null 2>&1 || true' EXIT

# field PATH: of the Job's pod.
field() { kube get pods --namespace "$namespace" --selector "batch.kubernetes.io/job-name=$job" -o "jsonpath={.items[0]$1}" 2>/dev/null || true; }

limit=${TIMEOUT:-900}
end=$((SECONDS + ${limit%s}))
while [ -z "$code" ] && [ "$SECONDS" -lt "$end" ]; do
  sleep "${PATIENCE:-1}"
  code=$(field '.status.containerStatuses[0].state.terminated.exitCode')
  case $(field '.status.containerStatuses[0].state.waiting.reason') in
    ContainerCreating)
      ! words=$(unmounted "$namespace" "$(field .metadata.name)") ||
        die "The command cannot start in $namespace; its pod lacks something it mounts:" "$words"
      ;;
    ErrImagePull | ImagePullBackOff | ErrImageNeverPull | CreateContainerConfigError)
      die "The command cannot start in $namespace; its pod says:" "$(field '.status.containerStatuses[0].state.waiting.message')"
      ;;
  esac
done
if [ -z "$code" ]; then
  die "The command did not end within ${limit%s} s, and was stopped. The cluster says of it:" \
    "$(kube get events --namespace "$namespace" -o "jsonpath={range .items[?(@.involvedObject.name==\"$job\")]}{.message}{\"\n\"}{end}")"
fi
kube logs "job/$job" --namespace "$namespace"
exit "$code"
