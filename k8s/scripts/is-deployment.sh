#!/usr/bin/env bash
# Succeeds when a recipe that can show either means the system on a cluster: KUBE_CONTEXT names one, or no stack runs here and
# the current context is a local cluster that has the system.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"

[ -z "${KUBE_CONTEXT:-}" ] || exec bin/install-tools kubernetes
[ ! -f "${STACK_DIR:-.stack}/env" ] || exit 1
context=$(kubectl config current-context 2>/dev/null) || exit 1
is_local_context "$context" && is_ours invoices
