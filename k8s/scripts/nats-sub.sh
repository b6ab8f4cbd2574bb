#!/usr/bin/env bash
# Shows the messages of the deployed system as they pass: nats-sub.sh [SUBJECT]. Goes through a port-forward, which needs the
# right to make one, and logs in with the key of the user who may say nothing.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
choose_context
need messaging statefulset/nats

command=nats
command -v nats >/dev/null || command=$(local_stack)
work=$(mktemp -d)
forward messaging statefulset/nats 4222
# The subscriber runs beside this shell, which could not end it otherwise when it is told to end itself.
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 0' INT TERM
umask 077
for key in nkey.seed ca.crt; do
  kube get secret nats-debug --namespace messaging -o "jsonpath={.data.${key/./\\.}}" | base64 --decode >"$work/$key"
done
if [ "$command" = nats ]; then
  nats sub "${1:-pay.>}" --server "tls://127.0.0.1:$forwarded" --nkey "$work/nkey.seed" --tlsca "$work/ca.crt" &
else
  # The subscriber of our own takes its address from a stack's directory.
  cat >"$work/env" <<ENV
NATS_URL=tls://127.0.0.1:$forwarded
NATS_CA=$work/ca.crt
NATS_NKEY_DEBUG=$work/nkey.seed
ENV
  STACK_DIR=$work "$command" nats-sub "${1:-pay.>}" &
fi
wait "$!"
