#!/usr/bin/env bash
# Brings images from this machine into the cluster, the way that cluster needs it: load-images.sh IMAGE…
#
#   IMAGE_LOAD_CMD  a command of the shell that does it instead; it is run with the names of the images as its arguments
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"
choose_context

choose_loading

# Images that neither are on this machine nor can be pulled to it are left for the cluster to pull.
present=()
for image in "$@"; do
  if [ -n "$engine" ] &&
    { "$engine" image inspect "$image" >/dev/null 2>&1 || "$engine" pull --quiet "$image" >/dev/null 2>&1; }; then
    present+=("$image")
  fi
done

if [ "$loading" = command ]; then
  status=0
  # A pipeline says by itself where its arguments go.
  case $IMAGE_LOAD_CMD in
    *\$@* | *\$\** | *\$1*) bash -c "$IMAGE_LOAD_CMD" image-load "$@" || status=$? ;;
    *) bash -c "$IMAGE_LOAD_CMD \"\$@\"" image-load "$@" || status=$? ;;
  esac
  [ "$status" = 0 ] || die "Loading the images failed: IMAGE_LOAD_CMD ended with $status. It was run with their names: $*" "$IMAGE_LOAD_CMD"
  exit 0
fi
[ "${#present[@]}" != 0 ] || exit 0

as_archive() {
  archive=$(mktemp -d)
  trap 'rm -rf "$archive"' EXIT
  "$engine" save --output "$archive/images.tar" "${present[@]}"
}

case $loading in
  kind)
    if [ "$engine" = docker ]; then
      kind load docker-image --name "${context#kind-}" "${present[@]}"
    else
      as_archive
      kind load image-archive --name "${context#kind-}" "$archive/images.tar"
    fi
    ;;
  k3d)
    as_archive
    k3d image import --cluster "${context#k3d-}" "$archive/images.tar"
    ;;
  minikube)
    as_archive
    minikube --profile "$context" image load "$archive/images.tar"
    ;;
  # These run their cluster on the same images that the engine has.
  shared) ;;
  nerdctl)
    if command -v nerdctl >/dev/null && [ "$engine" != docker ]; then
      as_archive
      nerdctl --namespace k8s.io load --input "$archive/images.tar"
    fi
    ;;
esac
