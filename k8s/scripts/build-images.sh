#!/usr/bin/env bash
# build-images.sh [IMAGE…]: builds all images, or these, and prints the tag that all got: a hash of what they are made
# from, so that the same sources keep their tag, no tag ever means two things, and what is there already is not built again.
#
#   ENGINE    docker or podman; by default the one that works here
#   BINARIES  a directory with their binaries, built elsewhere: only the Dockerfile's last stages are built then, which
#             needs no registry. Best static; libraries that they need come along as a base. Where the compiler's image can
#             not be had, the machine's own compiler makes them.
#   PREFIX    what image names start with (localhost/), such as registry.example.com/payments
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"

images=("$@")
[ $# != 0 ] || images=("${all_images[@]}")

engine=$(container_engine) || die "Neither docker nor podman works here, so no image can be built: start one, or give TAG for images that exist." "$(engine_words)"

hash_files() {
  while IFS= read -r -d '' file; do sha256 "$file"; done | sort | sha256 - | cut -c1-12
}

# What .dockerignore lets through, as git sees it, where an untracked file counts; or all of it in an unpacked archive.
sources() {
  local paths=(Dockerfile .dockerignore Cargo.toml Cargo.lock acceptance invoice-app k8s/checks tools
    nats/contract nats/jetstream nats/reloader payment-provider service)
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard -- "${paths[@]}"
  else
    find "${paths[@]}" -type f -print0
  fi
}

all_present() {
  for image in "${images[@]}"; do
    "$engine" image inspect "$prefix$image:$1" >/dev/null 2>&1 || return 1
  done
}

# Whether the engine has the image that the first stage starts from, or can pull it.
compiler_is_to_be_had() {
  local compiler
  compiler=$(sed -n 's/^FROM \(.*\) AS chef$/\1/p' Dockerfile)
  "$engine" image inspect "$compiler" >/dev/null 2>&1 || "$engine" pull --quiet "$compiler" >/dev/null
}

if [ -z "${BINARIES:-}" ]; then
  tag=$(sources | hash_files)
  if all_present "$tag"; then
    printf '%s\n' "$tag"
    exit
  fi
  if [ "$(uname -s)" = Linux ] && ! compiler_is_to_be_had; then
    say "The compiler's image cannot be had, so this machine's compiler is used."
    cargo build --release --locked "${images[@]/#/--package=}" >&2
    BINARIES=${CARGO_TARGET_DIR:-target}/release
  fi
fi

if [ -n "${BINARIES:-}" ]; then
  tag=$({
    printf 'Dockerfile\0'
    for image in "${images[@]}"; do printf '%s\0' "$BINARIES/$image"; done
  } | hash_files)
  if all_present "$tag"; then
    printf '%s\n' "$tag"
    exit
  fi
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
    # The stages of these images and no others: docker without buildx makes all that stand before the one it is asked for.
    awk -v base="$base" -v images=" ${images[*]} " '
      /^FROM scratch AS runtime/ { $2 = base; wanted = 1 }
      /^FROM runtime AS / { wanted = index(images, " " $4 " ") }
      wanted' Dockerfile
  } >"$work/stages"
  dockerfile=$work/stages context=$work/base
else
  dockerfile=Dockerfile context=.
  arguments=(--build-arg "GIT_REVISION=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)")
fi

for image in "${images[@]}"; do
  say "building $prefix$image:$tag"
  "$engine" build --file "$dockerfile" --target "$image" --tag "$prefix$image:$tag" ${arguments[@]+"${arguments[@]}"} \
    "$context" >&2
done
printf '%s\n' "$tag"
