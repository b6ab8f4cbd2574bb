//! The process: puts the parts together from the configuration and runs them until it is told to stop.

use std::{process::ExitCode, sync::Arc, time::Duration};

use jetstream::{connection::Connection, delivery, provisioning, publish::Publisher};
use service::{
    BoxError,
    admin::Readiness,
    database::{self, WarmPool},
    dead_letters, repeat,
    shutdown::Group,
    startup::{Startup, drain},
    telemetry::chain,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::{Config, Kind},
    gateway::{Bank, Gateway, http::Http, simulated::Simulated},
    metrics,
    outcomes::Outcomes,
    pay_requests::{PayRequests, Policy},
    store::{MIGRATOR, Store},
    streams::{self, REQUESTS},
};

/// This service's name: to Postgres, and to NATS, where it decides the inbox.
pub const NAME: &str = "payment-provider";
/// How often the open rows are counted.
const SAMPLE: Duration = Duration::from_secs(10);
/// The first pause after NATS failed a pull; grows.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The parts that both `serve` and the commands need.
#[derive(Clone)]
pub struct Parts {
    pub store: Store,
    pub bank: Bank,
    /// What an operator may want to change.
    pub policy: Policy,
}

impl Parts {
    /// Puts them together; nothing is connected yet.
    pub fn try_new(config: &Config) -> Result<Self, BoxError> {
        let store = Store::new(database::pool(&config.database, NAME)?, config.ledger.lease);
        let bank = bank(config, store.warm())?;
        let policy = Policy {
            key_retention: config.gateway.key_retention,
            lease_margin: config.ledger.lease_margin,
            currencies: config.gateway.currencies.clone(),
            hold_new_payments: config.ledger.hold_new_payments,
        };
        Ok(Self { store, bank, policy })
    }

    /// The consumer of pay requests, answering over `connection`.
    pub fn pay_requests(self, connection: Connection) -> PayRequests {
        PayRequests::new(
            self.store,
            self.bank,
            Outcomes::new(Publisher::new(connection)),
            self.policy,
        )
    }
}

fn bank(config: &Config, books: &WarmPool) -> Result<Bank, BoxError> {
    let timeout = config.gateway.timeout;
    let gateway: Arc<dyn Gateway> = match &config.gateway.kind {
        Kind::Simulated => Arc::new(Simulated::new(books.clone())),
        // Half of the time: a connection that surely was never made is worth knowing before the call's time is over.
        Kind::Http(url, credentials) => Arc::new(Http::try_new(url, timeout / 2, credentials)?),
    };
    Ok(Bank::new(gateway, timeout, config.gateway.max_concurrent))
}

/// A connection to NATS as this service.
pub async fn connect(config: &Config) -> Result<Connection, BoxError> {
    config.nats.connect(NAME).await
}

/// `serve`: runs until SIGTERM.
pub async fn serve(config: Config) -> Result<ExitCode, BoxError> {
    let groups = ["requests", "background"];
    let (startup, [requests, background]) =
        Startup::begin(NAME, env!("CARGO_PKG_VERSION"), &config.common, groups);
    metrics::describe();
    let connection = connect(&config).await?;
    let parts = Parts::try_new(&config)?;

    let provisioner = streams::provisioner(
        connection.clone(),
        config.nats.replicas,
        &config.nats.more_readers,
    );
    background.spawn_infallible(
        "stream_provisioner",
        provisioning::run(provisioner, connection.clone(), background.stop()),
    );
    background.spawn_infallible("gauges", sample_open_rows(parts.store.clone(), background.stop()));
    let taking = take_requests(
        config,
        parts,
        connection.clone(),
        startup.readiness.clone(),
        requests.clone(),
    );
    requests.spawn("schema", taking);
    Ok(startup.run(connection).await)
}

/// Waits for the schema, then takes requests, in tasks of the group: whichever ends takes the process down.
pub async fn take_requests(
    config: Config,
    parts: Parts,
    connection: Connection,
    readiness: Readiness,
    group: Group,
) -> Result<(), sqlx::migrate::MigrateError> {
    let stop = group.stop();
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        prepared = database::prepare_schema(parts.store.pool(), &MIGRATOR, config.migrate_on_start) => prepared?,
    }
    readiness.set(true);
    let settings = delivery::Settings {
        slots: config.requests.slots,
        max_batch: config.requests.max_batch,
        retry_delay: RETRY_DELAY,
        drain: drain(&config.common),
    };
    let pool = parts.store.pool().clone();
    let handler = Arc::new(parts.pay_requests(connection.clone()));
    let consumer = delivery::run(connection, REQUESTS, settings, Arc::clone(&handler), stop.clone());
    group.spawn_infallible("pay_requests", Box::pin(consumer));
    let looking_stops = stop.clone();
    let looking = async move { handler.look_after_unasked(looking_stops).await };
    let pruning = dead_letters::keep_pruned(pool.clone(), config.common.keep_resolved_days, stop.clone());
    group.spawn_infallible("unasked", looking);
    group.spawn_infallible("dead_letters", pruning);
    database::keep_schema(pool, &MIGRATOR, config.migrate_on_start, readiness, stop).await
}

async fn sample_open_rows(store: Store, stop: CancellationToken) {
    let sampling = || async {
        store.warm().show_connections(metrics::CONNECTIONS);
        let open = store
            .open_rows()
            .await
            .inspect_err(|error| warn!(error = chain(error), "open ledger rows could not be counted"));
        metrics::open_rows(open.ok());
    };
    repeat::every(SAMPLE, stop, sampling).await;
}
