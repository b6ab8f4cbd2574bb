# Everything people do here, one recipe each. `bin/just` installs the tools these recipes need.

set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

export PATH := justfile_directory() / ".tools/bin" + ":" + env("PATH") + ":" + env("CARGO_HOME", env("HOME", "/root") / ".cargo") / "bin"

# Recipes run what they built, so they must know where it is.
export CARGO_TARGET_DIR := justfile_directory() / "target"

# Queries are checked against the committed .sqlx directories, never against a database that happens to run.
export SQLX_OFFLINE := "true"

cargo_deny := "0.20.2"
cargo_fuzz := "0.13.2"

import "k8s/k8s.just"

# List the recipes
[private]
default:
    @just --justfile '{{ justfile() }}' --list --unsorted

# Start everything, import I1 to I3, pay them, show them paid, and stay until Ctrl-C (`--once`: end)
demo *ARGS: _release
    @target/release/local-stack demo "$@"

# Start the same stack, empty and quiet, until Ctrl-C (state in .stack/, kept with KEEP=1; NATS_NODES=3: a cluster)
up: _release
    @target/release/local-stack up

# Show the invoices of the running stack, or of the deployed system
invoices: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    ! k8s/scripts/is-deployment.sh || exec k8s/scripts/call.sh GET '/invoices?limit=1000'
    just --justfile '{{ justfile() }}' _stack _release
    exec target/release/local-stack invoices

# Import a file of invoices (NDJSON, or CSV if its name ends in .csv) into the running stack, or into the deployed system
import FILE: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    case $1 in *.csv) type=text/csv ;; *) type=application/x-ndjson ;; esac
    ! k8s/scripts/is-deployment.sh ||
      exec k8s/scripts/call.sh POST /invoices/import --header "content-type: $type" --data-binary "@$1"
    just --justfile '{{ justfile() }}' _stack _release
    exec target/release/local-stack import "$1"

# Pay every unpaid invoice of the running stack, or of the deployed system
pay: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    ! k8s/scripts/is-deployment.sh || exec k8s/scripts/call.sh POST /invoices/pay
    just --justfile '{{ justfile() }}' _stack _release
    exec target/release/local-stack pay

# Show the messages of the running stack, or of the deployed system, as they pass
nats-sub SUBJECT='pay.>': _tools
    #!/usr/bin/env bash
    set -euo pipefail
    ! k8s/scripts/is-deployment.sh || exec k8s/scripts/nats-sub.sh "$1"
    just --justfile '{{ justfile() }}' _stack _release
    if command -v nats >/dev/null; then
      # shellcheck source=/dev/null
      . "${STACK_DIR:-.stack}/env"
      exec nats sub "$1" --server "$NATS_URL" --nkey "$NATS_NKEY_DEBUG" --tlsca "$NATS_CA"
    fi
    exec target/release/local-stack nats-sub "$1"

# Follow the logs of the running stack, or of the deployed system
logs: _tools
    @! k8s/scripts/is-deployment.sh || exec k8s/scripts/logs.sh; exec tail -n 50 -F "${STACK_DIR:-.stack}"/logs/*.log

# Open invoice-app's database in the running stack
psql-invoices:
    @. "${STACK_DIR:-.stack}/env" && exec psql "$INVOICE_DATABASE_URL"

# Open payment-provider's database in the running stack
psql-payments:
    @. "${STACK_DIR:-.stack}/env" && exec psql "$PAYMENT_DATABASE_URL"

# Run all tests but those that take long; arguments go to `cargo test` (TEST_THREADS, default 2, run at once)
test *ARGS: (_tools "kubernetes" "http")
    cargo build --workspace --bins
    @.ci/cargo-test "$@"

# Run the tests that take too long for every change: an hour or so
test-ignored *ARGS: (_tools "kubernetes" "lint" "http")
    cargo build --workspace --bins
    @.ci/cargo-test "$@" -- --ignored

# Look for input that breaks a promise: `money`, `messages`, `csv`, `cursors`, `event_ids`; then what libFuzzer takes (`-max_total_time=60`)
fuzz TARGET *ARGS: _tools (_cargo-tool "cargo-fuzz" cargo_fuzz)
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p "fuzz/corpus/$1"
    # The sanitizers need a nightly compiler, and look for what safe Rust does not do.
    CARGO_TARGET_DIR=fuzz/target exec cargo fuzz run --sanitizer none "$1" "fuzz/corpus/$1" "fuzz/seeds/$1" -- "${@:2}"

# Measure the system, the original and the limits of its parts: a table, target/bench.json and .svg (`--peers`: also what others would pick; `--draw`: only the picture; `--help` for more)
bench *ARGS: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    case " $* " in
      *' --draw '*) cargo build --release --package bench ;;
      *) cargo build --release --package invoice-app --package payment-provider --package local-stack --package bench --package bank-simulator ;;
    esac
    peers=tools/bench/peers
    case " $* " in
      *peers*)
        if ! command -v npm >/dev/null; then
          echo "There is no npm here: graphile-worker is left out." >&2
        elif ! [ "$peers/node_modules/.package-lock.json" -nt "$peers/package-lock.json" ]; then
          npm ci --prefix "$peers" --ignore-scripts --no-audit --no-fund >&2
        fi
        cargo build --release --locked --manifest-path "$peers/graphile_worker/Cargo.toml" --target-dir target/peers ||
          echo "graphile_worker for Rust cannot be built here: it is left out, or as it was built last." >&2
        ;;
    esac
    exec target/release/bench "$@"

# Crash each service at each of its steps under a small load (`--pairs`: both, at every two steps, which takes long)
crash-matrix *ARGS: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    case "$*" in
      '') which=single crashes=() ;;
      --pairs) which=pair crashes=(--ignored) ;;
      *) echo "usage: crash-matrix [--pairs]" >&2; exit 64 ;;
    esac
    cargo build --workspace --bins
    cargo test --package acceptance --test it -- ${crashes[@]+"${crashes[@]}"} "fail_points::every_$which"

# Let everything fail under load, then check every payment, and draw it: target/chaos.svg (`--minutes N`, `--seed S`; `--cluster`, `--pairs`: those instead)
chaos *ARGS: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    case "$*" in
      --pairs) exec just --justfile '{{ justfile() }}' crash-matrix --pairs ;;
      --cluster)
        cargo build --workspace --bins
        exec cargo test --package acceptance --test it -- --include-ignored --test-threads 1 cluster::
        ;;
    esac
    just --justfile '{{ justfile() }}' _release
    cargo build --release --package chaos --package bank-simulator
    exec target/release/chaos "$@"

# Compare invoices, payments, ledger and bank, payment by payment, where the system runs (or `--invoices URL --payments URL`)
reconcile *ARGS: _tools
    #!/usr/bin/env bash
    set -euo pipefail
    [ "$#" != 0 ] || ! k8s/scripts/is-deployment.sh || exec k8s/scripts/operate.sh reconcile
    cargo build --quiet --release --package reconcile
    exec target/release/reconcile "$@"

# Look at invoice-app's payments (`list --open`; `show ID`)
payments *ARGS: _tools
    @just --justfile '{{ justfile() }}' _operate invoice-app payments "$@"

# Look at payment-provider's ledger, and end payments that only an operator can end (`list --open`; `--help` for more)
ledger *ARGS: _tools
    @just --justfile '{{ justfile() }}' _operate payment-provider ledger "$@"

# Look at messages that a service could not handle, and replay or discard them (`payment-provider list`; `--help` for more)
dead-letters SERVICE *ARGS: _tools
    @service=$1; shift; just --justfile '{{ justfile() }}' _operate "$service" dead-letters "$@"

# An operator's command, where the service runs: in the running stack, or as a Job in the cluster.
_operate SERVICE *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    ! k8s/scripts/is-deployment.sh || exec k8s/scripts/operate.sh "$@"
    just --justfile '{{ justfile() }}' _stack _release
    # shellcheck source=/dev/null
    . "${STACK_DIR:-.stack}/env"
    case $1 in
      invoice-app)
        export INVOICE_APP__AUTH__MODE=disabled INVOICE_APP__DATABASE__URL=$INVOICE_DATABASE_URL
        export INVOICE_APP__NATS__URL=$NATS_URL INVOICE_APP__NATS__CA_FILE=$NATS_CA
        export INVOICE_APP__NATS__NKEY_SEED_FILE=$NATS_NKEY_INVOICE_APP
        ;;
      payment-provider)
        export PAYMENT_PROVIDER__DATABASE__URL=$PAYMENT_DATABASE_URL
        export PAYMENT_PROVIDER__NATS__URL=$NATS_URL PAYMENT_PROVIDER__NATS__CA_FILE=$NATS_CA
        export PAYMENT_PROVIDER__NATS__NKEY_SEED_FILE=$NATS_NKEY_PAYMENT_PROVIDER
        ;;
      *) echo "There is no service $1; there are invoice-app and payment-provider." >&2; exit 64 ;;
    esac
    exec "target/release/$1" "${@:2}"

# Check formatting, code, licences and sources of dependencies, manifests, shell and YAML files
lint: (_tools "kubernetes" "lint") (_cargo-tool "cargo-deny" cargo_deny) && lint-manifests
    cargo fmt --all --check
    cargo fmt --check --manifest-path tools/bench/peers/graphile_worker/Cargo.toml
    cargo clippy --workspace --all-targets -- -D warnings
    cargo deny --all-features --log-level error check licenses bans sources
    nats/check-config

# Look the dependencies up among known weaknesses, which needs the network
advisories: _tools (_cargo-tool "cargo-deny" cargo_deny)
    cargo deny --all-features --log-level error check advisories
    cargo deny --manifest-path tools/bench/peers/graphile_worker/Cargo.toml --log-level error check advisories

# Write down anew what the tools' wheels have to be, after changing a pin in bin/requirements/
lock-tools:
    #!/usr/bin/env bash
    set -euo pipefail
    # Not the pin of this very moment: that has to be locked first.
    [ -x .tools/bin/uv ] || bin/install-tools locking
    for set in bin/requirements/*.txt; do
      # Of these only their programs are used, not what their Python modules depend on.
      case $set in */lint.txt | */http.txt) dependencies=() ;; *) dependencies=(--no-deps) ;; esac
      for pin in $(grep == "$set"); do
        echo "$pin" | .tools/bin/uv pip compile --quiet --universal --python-version 3.11.0 --only-binary :all: \
          --generate-hashes --no-annotate --custom-compile-command 'bin/just lock-tools' \
          ${dependencies[@]+"${dependencies[@]}"} --output-file "bin/requirements/locked/${pin%%==*}.txt" -
      done
    done

# Format the code
fmt: _tools
    cargo fmt --all
    cargo fmt --manifest-path tools/bench/peers/graphile_worker/Cargo.toml
    @just --justfile '{{ justfile() }}' --fmt --unstable

# Make NKEYs, a CA and a server certificate for a stack (`--dns NAME` for each further name of the server)
keys DIR *ARGS:
    @cargo run --quiet --package local-stack -- keys "$@"

# Check the queries against migrated databases and write the .sqlx directories anew, after changing SQL
sqlx-prepare: _tools
    cargo build --package local-stack
    target/debug/local-stack dev-postgres -- just --justfile '{{ justfile() }}' _sqlx-prepare-in-databases

# Run a throw-away Postgres with both databases migrated, until Ctrl-C
dev-postgres PORT='15432': _tools
    @cargo run --quiet --package local-stack -- dev-postgres --port "$1"

# `service` first: compiled as a dependency of the others, its queries would be written among theirs. The table they
# are about is the same in both databases.
_sqlx-prepare-in-databases:
    @just --justfile '{{ justfile() }}' _sqlx-prepare service "$INVOICE_DATABASE_URL"
    @just --justfile '{{ justfile() }}' _sqlx-prepare invoice-app "$INVOICE_DATABASE_URL"
    @just --justfile '{{ justfile() }}' _sqlx-prepare payment-provider "$PAYMENT_DATABASE_URL"

_sqlx-prepare CRATE URL:
    #!/usr/bin/env bash
    set -euo pipefail
    # Gathered elsewhere first, so that a query that does not compile costs nothing that is committed.
    mkdir -p target && fresh=$(mktemp -d "$PWD/target/sqlx-XXXXXX") && trap 'rm -rf "$fresh"' EXIT
    touch "$1"/src/*.rs
    SQLX_OFFLINE=false DATABASE_URL=$2 SQLX_OFFLINE_DIR=$fresh cargo check --package "$1" --all-targets
    mkdir -p "$1/.sqlx" && rm -f "$1"/.sqlx/query-*.json
    find "$fresh" -name 'query-*.json' -exec mv {} "$1/.sqlx/" \;
    echo "$1/.sqlx: $(find "$1/.sqlx" -name 'query-*.json' | wc -l) queries"

# Before anything is built for a stack that is not there.
[no-exit-message]
_stack:
    @[ -f "${STACK_DIR:-.stack}/env" ] || { echo "No stack runs here; 'just up' starts one." >&2; exit 1; }

_release: _tools
    cargo build --release --package invoice-app --package payment-provider --package local-stack
    @! grep -l FAIL_POINTS target/release/invoice-app target/release/payment-provider

# What a recipe needs beyond bin/requirements/run.txt it names here.
_tools *SETS:
    @bin/install-tools run "$@"

# Unoptimised: such a tool runs for a second, and optimising it would take minutes.
_cargo-tool NAME VERSION:
    #!/usr/bin/env bash
    set -euo pipefail
    [ "$(".tools/bin/$1" --version 2>/dev/null)" = "$1 $2" ] && exit
    echo "installing $1 $2 into .tools/, which takes a minute or two ..." >&2
    cargo install "$1" --version "$2" --locked --debug --root .tools --quiet
