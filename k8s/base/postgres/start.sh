#!/bin/sh
# Starts Postgres in a container: makes the cluster at the first start, brings roles and databases in line with the
# mounted passwords at every start, and only then listens to the network.
set -eu

roles=/etc/postgres-roles
set -- -c config_file=/etc/postgres/postgresql.conf

# As process 1 of its container the shell would ignore this one, and the pod would be killed in the end.
trap 'exit 1' TERM

if [ ! -d "$PGDATA" ]; then
  # Made elsewhere and moved, so that an interrupted initdb is never taken for a database.
  rm -rf "$PGDATA.new"
  initdb --pgdata "$PGDATA.new" --username postgres --auth peer --encoding UTF8 --locale C --data-checksums --no-instructions
  mv "$PGDATA.new" "$PGDATA"
fi

# A build without TLS would not start with it. Who may do without it is pg_hba.conf's to say.
[ -z "$(postgres -C ssl_library -D "$PGDATA" 2>/dev/null)" ] || set -- "$@" -c ssl=on

pg_ctl start --silent --wait --pgdata "$PGDATA" --log "$PGDATA/start.log" \
  --options "$* -c listen_addresses=''" || {
  cat "$PGDATA/start.log" >&2
  exit 1
}

# As standard input, so that no password appears among the arguments that `ps` shows.
make_role() {
  psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --host /run/postgresql --username postgres --dbname postgres <<SQL
\\set role $1
\\set database $2
\\set password \`cat $roles/$1\`
SELECT format('CREATE ROLE %I LOGIN', :'role')
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \\gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \\gexec
ALTER ROLE :"role" PASSWORD :'password';
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
}
make_role invoice_app invoices
make_role payment_provider payments

# Reads everything, to compare the books, and writes nothing.
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --host /run/postgresql --username postgres --dbname postgres <<SQL
\\set password \`cat $roles/reconcile\`
SELECT 'CREATE ROLE reconcile LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconcile') \\gexec
ALTER ROLE reconcile PASSWORD :'password';
ALTER ROLE reconcile SET default_transaction_read_only = on;
GRANT pg_read_all_data TO reconcile;
GRANT CONNECT ON DATABASE invoices, payments TO reconcile;
SQL

pg_ctl stop --silent --wait --mode fast --pgdata "$PGDATA"
exec postgres -D "$PGDATA" "$@"
