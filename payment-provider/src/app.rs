//! The process: puts the parts together from the configuration and runs them until it is told to stop.

use std::{convert::Infallible, process::ExitCode, sync::Arc, time::Duration};

use jetstream::{connection::Connection, delivery, provisioning, publish::Publisher};
use service::{
    admin::{self, Readiness},
    database::{self, WarmPool},
    shutdown::Process,
    telemetry::{self, chain},
    traces,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::{Config, Kind},
    gateway::{Bank, Gateway, http::Http, simulated::Simulated},
    metrics,
    outcomes::Outcomes,
    pay_requests::{PayRequests, Policy},
    store::{MIGRATIONS, Store},
    streams::{self, REQUESTS},
};

/// This service's name: to Postgres, and to NATS, where it decides the inbox.
const NAME: &str = "payment-provider";
/// How often the open rows are counted.
const SAMPLE: Duration = Duration::from_secs(10);
/// The first pause after NATS failed a pull; grows.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// What the end keeps back of the time for shutdown, for the other groups and the connection.
const AFTER_DRAIN: Duration = Duration::from_secs(2);

/// Why something could not be set up.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

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
    pub fn try_new(config: &Config) -> Result<Self, Error> {
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
    #[must_use]
    pub fn pay_requests(self, connection: Connection) -> PayRequests {
        PayRequests::new(
            self.store,
            self.bank,
            Outcomes::new(Publisher::new(connection)),
            self.policy,
        )
    }
}

fn bank(config: &Config, books: &WarmPool) -> Result<Bank, Error> {
    let timeout = config.gateway.timeout;
    let gateway: Arc<dyn Gateway> = match &config.gateway.kind {
        Kind::Simulated => Arc::new(Simulated::new(books.clone())),
        // Half of the time: a connection that surely was never made is worth knowing before the call's time is over.
        Kind::Http(url, credentials) => Arc::new(Http::try_new(url, timeout / 2, credentials)?),
    };
    Ok(Bank::new(gateway, timeout, config.gateway.max_concurrent))
}

/// A connection to NATS as this service.
pub async fn connect(config: &Config) -> Result<Connection, Error> {
    config.nats.connect(NAME).await
}

/// `serve`: runs until SIGTERM.
pub async fn serve(config: Config) -> Result<ExitCode, Error> {
    let recorder = telemetry::init_metrics(NAME, env!("CARGO_PKG_VERSION"));
    let traces = traces::init(NAME, env!("CARGO_PKG_VERSION"));
    metrics::describe();
    let mut process = Process::new(config.common.shutdown_grace);
    let [requests, background, admin] = ["requests", "background", "admin"].map(|name| process.group(name));

    let readiness = Readiness::new();
    admin.spawn(
        "admin",
        admin::serve(
            config.common.admin_listen,
            readiness.clone(),
            recorder,
            admin.stop(),
        ),
    );
    let connection = connect(&config).await?;
    let parts = Parts::try_new(&config)?;

    background.spawn(
        "stream_provisioner",
        endless(provisioning::run(
            streams::provisioner(
                connection.clone(),
                config.nats.replicas,
                &config.nats.more_readers,
            ),
            connection.clone(),
            background.stop(),
        )),
    );
    background.spawn(
        "gauges",
        endless(sample_open_rows(parts.store.clone(), background.stop())),
    );

    let taking = take_requests(
        config,
        parts,
        connection.clone(),
        readiness.clone(),
        requests.stop(),
    );
    requests.spawn("pay_requests", taking);

    info!(version = env!("CARGO_PKG_VERSION"), "payment-provider started");
    let exit = process.run(|| readiness.set(false)).await;
    tokio::join!(connection.close(AFTER_DRAIN), traces.close(AFTER_DRAIN));
    Ok(exit)
}

/// Waits for the schema, then takes requests.
async fn take_requests(
    config: Config,
    parts: Parts,
    connection: Connection,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), sqlx::migrate::MigrateError> {
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        prepared = database::prepare_schema(parts.store.pool(), &MIGRATIONS, config.migrate_on_start) => prepared?,
    }
    readiness.set(true);
    let settings = delivery::Settings {
        slots: config.requests.slots,
        max_batch: config.requests.max_batch,
        retry_delay: RETRY_DELAY,
        drain: config.common.shutdown_grace.saturating_sub(AFTER_DRAIN),
    };
    let pool = parts.store.pool().clone();
    let handler = Arc::new(parts.pay_requests(connection.clone()));
    let keeping = database::keep_schema(
        pool,
        &MIGRATIONS,
        config.migrate_on_start,
        readiness,
        stop.clone(),
    );
    let taking = async {
        Box::pin(delivery::run(connection, REQUESTS, settings, handler, stop)).await;
        Ok(())
    };
    tokio::try_join!(keeping, taking)?;
    Ok(())
}

async fn sample_open_rows(store: Store, stop: CancellationToken) {
    let mut failing = false;
    loop {
        metrics::connections(store.warm().connections());
        match store.open_rows().await {
            Ok(rows) => {
                failing = false;
                metrics::open_rows(Some(rows));
            }
            Err(error) => {
                metrics::open_rows(None);
                if !failing {
                    failing = true;
                    warn!(error = chain(&error), "open ledger rows could not be counted");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SAMPLE) => {}
        }
    }
}

/// A task that cannot fail.
async fn endless(task: impl Future<Output = ()>) -> Result<(), Infallible> {
    task.await;
    Ok(())
}

/// `migrate`: brings the schema up to date and ends.
pub async fn migrate(config: &Config) -> Result<ExitCode, Error> {
    let pool = database::pool(&config.database, NAME)?;
    database::migrate(&pool, &MIGRATIONS).await?;
    Ok(ExitCode::SUCCESS)
}

/// Logs what ended the process, once, with its whole chain.
pub fn log_end(error: &Error) {
    error!(error = chain(error.as_ref()), "payment-provider ended");
}
