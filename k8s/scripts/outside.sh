#!/usr/bin/env bash
# Prints where the outside reaches the deployed API, and keeps that open until its standard input ends.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
choose_context
need invoices service/invoice-app

find_url
printf '%s\n' "$url"
cat >/dev/null
