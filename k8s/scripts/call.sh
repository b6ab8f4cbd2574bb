#!/usr/bin/env bash
# Calls the deployed API with the recipes' token: call.sh METHOD PATH [CURL ARGUMENTS], or call.sh token.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
choose_context
need invoices service/invoice-app

if [ "${1-}" = token ]; then
  api_token
  exit
fi
find_url
call "$@"
echo
