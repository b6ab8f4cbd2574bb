#!/usr/bin/env bash
# Builds the images of both services and of the probe, and prints the tag that all three got: a hash of what they are made
# from, so that the same sources keep their tag and no tag ever means two things.
#
#   ENGINE    docker or podman; by default the one that works here
#   BINARIES  a directory with the three binaries, static and built elsewhere: only the Dockerfile's last stages are built
#             then, which needs no registry
#   PREFIX    what image names start with, such as registry.example.com/payments/
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"

readonly images=(invoice-app payment-provider probe)
engine=$(container_engine) || die "Neither docker nor podman works here."

hash_files() {
  while IFS= read -r -d '' file; do sha256 "$file"; done | sort | sha256 - | cut -c1-12
}

if [ -n "${BINARIES:-}" ]; then
  tag=$({
    printf 'Dockerfile\0'
    for image in "${images[@]}"; do printf '%s\0' "$BINARIES/$image"; done
  } | hash_files)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/out" "$work/etc/ssl/certs"
  for image in "${images[@]}"; do install -m 0755 "$BINARIES/$image" "$work/out/$image"; done
  cp -L /etc/ssl/certs/ca-certificates.crt "$work/etc/ssl/certs/" 2>/dev/null ||
    : >"$work/etc/ssl/certs/ca-certificates.crt"
  # What the stages copy from a builder is an image of its own here.
  builder=localhost/prebuilt-$part_of:$tag
  printf 'FROM scratch\nCOPY . /\n' >"$work.builder"
  "$engine" build --quiet --tag "$builder" --file "$work.builder" "$work" >/dev/null
  {
    printf 'FROM %s AS builder\n' "$builder"
    sed -n '/^FROM scratch/,$p' Dockerfile
  } >"$work.stages"
  trap 'rm -rf "$work" "$work.builder" "$work.stages"' EXIT
  dockerfile=$work.stages sources=$work
else
  # What .dockerignore lets through, as git sees it; an untracked file counts.
  tag=$(git ls-files -z --cached --others --exclude-standard -- Dockerfile .dockerignore Cargo.toml Cargo.lock acceptance \
    invoice-app k8s/checks k8s/probe local-stack nats/contract payment-provider service | hash_files)
  dockerfile=Dockerfile sources=.
fi

for image in "${images[@]}"; do
  say "building ${PREFIX:-}$image:$tag"
  "$engine" build --file "$dockerfile" --target "$image" --tag "${PREFIX:-}$image:$tag" "$sources" >&2
done
printf '%s\n' "$tag"
