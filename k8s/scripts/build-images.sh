#!/usr/bin/env bash
# Builds the images of both services and of the probe, and prints the tag that all three got: a hash of what they are made
# from, so that the same sources keep their tag and no tag ever means two things.
#
#   ENGINE    docker or podman; by default the one that works here
#   BINARIES  a directory with the three binaries, built elsewhere: only the Dockerfile's last stages are built then, which
#             needs no registry. Best static; libraries that they need come along as a base.
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
  umask 022
  # What the last stages copy from the builder, as an image of its own.
  mkdir -p "$work/builder/out" "$work/builder/etc/ssl/certs" "$work/base"
  for image in "${images[@]}"; do install -m 0755 "$BINARIES/$image" "$work/builder/out/$image"; done
  if ! cp -L /etc/ssl/certs/ca-certificates.crt "$work/builder/etc/ssl/certs/" 2>/dev/null; then
    : >"$work/builder/etc/ssl/certs/ca-certificates.crt"
  fi
  builder=localhost/$part_of-builder:$tag base=scratch
  printf 'FROM scratch\nCOPY . /\n' >"$work/copy"
  "$engine" build --quiet --tag "$builder" --file "$work/copy" "$work/builder" >/dev/null
  libraries=$(libraries_of "$work"/builder/out/*)
  if [ -n "$libraries" ]; then
    while read -r library; do install -D -m 0755 "$library" "$work/base$library"; done <<<"$libraries"
    base=localhost/$part_of-libraries:$tag
    "$engine" build --quiet --tag "$base" --file "$work/copy" "$work/base" >/dev/null
  fi
  {
    printf 'FROM %s AS builder\n' "$builder"
    sed -n '/^FROM scratch AS runtime/,$p' Dockerfile | sed "s|^FROM scratch AS runtime|FROM $base AS runtime|"
  } >"$work/stages"
  dockerfile=$work/stages sources=$work/base
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
