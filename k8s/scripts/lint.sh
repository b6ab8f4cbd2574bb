#!/usr/bin/env bash
# Checks the Dockerfile, all scripts, workflows and YAML, and every rendered overlay with the tools that others trust. Before a
# tool is believed, it has to find what is wrong with something broken on purpose.
set -euo pipefail
cd -- "$(dirname -- "$0")/../.."
PATH=$PWD/.tools/bin:$PATH

# The oldest Kubernetes that the manifests are for, the newest that the tool knows, and some between.
versions=(1.30 1.32 1.34 1.36 1.37)
# Kinds of other projects, whose schemas come with their operators and not with Kubernetes.
foreign_kinds='(HTTPRoute|PodMonitor|PrometheusRule|ScaledObject)'

overlays=(k8s/overlays/local k8s/overlays/production k8s/checks/overlays/lag-scaling k8s/checks/overlays/node-local-dns
  k8s/checks/overlays/bare)
rendered=target/manifests
mkdir -p "$rendered"

say() { printf 'manifests: %s\n' "$*"; }
die() {
  say "$@" >&2
  exit 1
}

# has TOOL: on some kinds of machine a tool cannot be had, and the rest is worth checking there all the same.
has() {
  ! command -v "$1" >/dev/null || return 0
  [ -z "${CI:-}" ] || die "$1 is missing"
  say "$1 is missing on this machine, so this is skipped"
  return 1
}

# render DIRECTORY: prints the file it was rendered into.
render() {
  local file
  file=$rendered/$(basename "$1").yaml
  kubectl kustomize "$1" >"$file"
  printf '%s' "$file"
}

# must_find NAME COMMAND…: the command has to fail, and with a finding, not because it could not run.
must_find() {
  local name=$1 output status=0
  shift
  output=$("$@" 2>&1) || status=$?
  [ "$status" = 1 ] || die "$name finds nothing wrong with what is broken on purpose (exit $status): $output"
}

# A kind it does not know is only a warning to it, and would then go unchecked.
validate() {
  local output version
  for version in "${versions[@]}"; do
    output=$(kubernetes-validate --strict --quiet --kubernetes-version "$version" "$1" 2>&1) || {
      printf '%s\n' "$output"
      return 1
    }
    if grep -E '^(WARN|ERROR)' <<<"$output" | grep -vE "Couldn't find schema for kind $foreign_kinds "; then
      return 1
    fi
  done
}

# How bad it is, is what its exit status says, from 11 to 14.
audit() {
  local status=0
  zizmor --offline --no-progress --quiet "$1" || status=$?
  case $status in
    1[1-4]) return 1 ;;
    *) return "$status" ;;
  esac
}

scan() { checkov --skip-download --config-file k8s/checks/checkov.yaml --file "$1"; }

say "Dockerfile"
if has hadolint; then
  must_find hadolint hadolint k8s/checks/fixtures/tool-hadolint/Dockerfile
  hadolint Dockerfile
fi

say "scripts"
if has shellcheck; then
  must_find shellcheck shellcheck k8s/checks/fixtures/tool-shellcheck/broken.sh
  shellcheck bin/just bin/install-tools .ci/run .ci/docker .ci/cargo-test k8s/scripts/*.sh k8s/base/postgres/start.sh
fi

say "workflows"
if has zizmor; then
  must_find zizmor audit k8s/checks/fixtures/tool-zizmor/workflow.yml
  audit .github/workflows
fi

say "yaml"
if has yamllint; then
  must_find yamllint yamllint --strict --config-file .yamllint.yaml k8s/checks/fixtures/tool-yamllint/yaml.txt
  yamllint --strict .
fi

say "schemas"
for fixture in unknown-field removed-version; do
  file=$(render "k8s/checks/fixtures/tool-validate-$fixture")
  must_find validate validate "$file"
done
for overlay in "${overlays[@]}"; do
  say "$overlay: schemas of ${versions[*]}"
  file=$(render "$overlay")
  validate "$file" || die "$overlay is not valid"
done

file=$(render k8s/checks/fixtures/tool-checkov)
must_find checkov scan "$file"
for overlay in "${overlays[@]}"; do
  say "$overlay: checkov"
  scan "$rendered/$(basename "$overlay").yaml" || die "$overlay has findings"
done

say "network policies"
cargo test --quiet --package k8s-checks --test connectivity -- --include-ignored
