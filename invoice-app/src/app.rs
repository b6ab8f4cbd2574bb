//! The process: puts the parts together from the configuration and runs them until it is told to stop.

use std::{convert::Infallible, process::ExitCode, sync::Arc, time::Duration};

use jetstream::{
    connection::Connection,
    delivery,
    provisioning::{self, StreamProvisioner},
};
use service::{
    admin::{self, Readiness},
    database,
    shutdown::{Group, Process},
    telemetry::{self, chain},
    traces,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    change_events,
    config::{Auth, Config},
    event_feed::Feed,
    http::{self, Api, access::Access},
    metrics,
    nats_incarnation::NatsIncarnation,
    paying::Paying,
    payment_outcomes::PaymentOutcomes,
    sender::{self, Sender},
    store::{MIGRATOR, Store},
    streams::{self, OUTCOMES},
    sweep::Sweep,
    tokens::TokensFile,
    waiters::Waiters,
};

/// This service's name: to Postgres, and to NATS, where it decides the inbox.
pub(crate) const NAME: &str = "invoice-app";
/// Outcomes in hand at once: two full batches being settled, and two being pulled.
const SLOTS: usize = 2000;
/// Outcomes settled by one statement. More would hold rows for longer without being faster.
const BATCH: usize = 500;
/// The first pause after NATS failed a pull; grows.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// What the end keeps back of the time for shutdown, for the other groups and the connection.
const AFTER_DRAIN: Duration = Duration::from_secs(2);
/// How often open payments are counted.
const SAMPLE: Duration = Duration::from_secs(10);
/// How often what is no longer needed is deleted.
const PRUNE: Duration = Duration::from_mins(10);
/// How long changes are kept for those who follow them.
const CHANGES_KEPT_DAYS: i32 = 7;

/// Why something could not be set up.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Everything that works on payments, ready to run or to be driven step by step.
pub struct Parts {
    pub store: Store,
    pub connection: Connection,
    /// Calls that wait.
    pub waiters: Waiters,
    /// What the API pays with.
    pub paying: Paying,
    /// Where the API hears of changes.
    pub feed: Feed,
    /// Sends what was just asked for.
    pub sender: Sender,
    /// Sends what was not, or not heard of.
    pub sweep: Sweep,
    /// Settles.
    pub outcomes: Arc<PaymentOutcomes>,
    /// Keeps our stream in NATS, and notices when NATS has forgotten.
    pub incarnation: NatsIncarnation,
}

impl Parts {
    /// Puts them together. `resend_after`: how long a request without an outcome waits before it is sent again, at first.
    #[must_use]
    pub fn new(store: Store, provisioner: StreamProvisioner, resend_after: Duration) -> Self {
        let connection = provisioner.connection.clone();
        let wake = Arc::new(Notify::new());
        let (waiters, feed) = (Waiters::default(), Feed::default());
        let (handle, sender) = sender::channel(store.clone(), connection.clone(), Arc::clone(&wake));
        Self {
            paying: Paying::new(store.clone(), handle, waiters.clone(), resend_after),
            feed: feed.clone(),
            sender,
            sweep: Sweep::new(store.clone(), connection.clone(), resend_after, Arc::clone(&wake)),
            outcomes: Arc::new(PaymentOutcomes::new(
                store.clone(),
                waiters.clone(),
                feed,
                Some(connection.clone()),
            )),
            incarnation: NatsIncarnation::new(store.clone(), provisioner, wake),
            store,
            connection,
            waiters,
        }
    }
}

/// `serve`: runs until SIGTERM.
pub async fn serve(config: Config) -> Result<ExitCode, Error> {
    let recorder = telemetry::init_metrics(NAME, env!("CARGO_PKG_VERSION"));
    let traces = traces::init(NAME, env!("CARGO_PKG_VERSION"));
    metrics::describe();
    let mut process = Process::new(config.common.shutdown_grace);
    // Stopped in this order: no more calls, then what they started, then the port that tells about it.
    let [api, background, admin] = ["api", "background", "admin"].map(|name| process.group(name));

    let readiness = Readiness::new();
    let listen = config.common.admin_listen;
    admin.spawn(
        "admin",
        admin::serve(listen, readiness.clone(), recorder, admin.stop()),
    );
    let connection = config.nats.connect(NAME).await?;
    let store = Store::new(database::pool(&config.database, NAME)?);
    let access = access(&config.auth, &background)?;
    let parts = Parts::new(
        store.clone(),
        streams::provisioner(
            connection.clone(),
            config.nats.replicas,
            &config.nats.more_readers,
        ),
        config.resend_after,
    );
    let (paying, feed) = (parts.paying.clone(), parts.feed.clone());

    let schema = CancellationToken::new();
    let drain = config.common.shutdown_grace.saturating_sub(AFTER_DRAIN);
    spawn_background(parts, &background, &schema, drain);
    let calls = take_calls(
        config,
        store,
        paying,
        feed,
        access,
        Start {
            schema,
            readiness: readiness.clone(),
        },
        api.stop(),
    );
    api.spawn("http", calls);

    info!(version = env!("CARGO_PKG_VERSION"), "invoice-app started");
    let exit = process.run(|| readiness.set(false)).await;
    tokio::join!(connection.close(AFTER_DRAIN), traces.close(AFTER_DRAIN));
    Ok(exit)
}

/// What is told when the schema is there.
struct Start {
    schema: CancellationToken,
    readiness: Readiness,
}

/// Serves the API, which answers 503 until the schema is there.
async fn take_calls(
    config: Config,
    store: Store,
    paying: Paying,
    feed: Feed,
    access: Access,
    start: Start,
    stop: CancellationToken,
) -> Result<(), Error> {
    // Before the wait: a port in use is told at once.
    let listener = admin::bind(config.http.listen, "http.listen").await?;
    let limits = config.http.limits.clone();
    let max_connections = limits.max_connections;
    let api = Api::new(
        store.clone(),
        paying,
        feed,
        access,
        limits,
        stop.clone(),
        start.schema.clone(),
    );
    let migrate = config.migrate_on_start;
    let opening = async {
        database::prepare_schema(store.pool(), &MIGRATOR, migrate).await?;
        start.schema.cancel();
        start.readiness.set(true);
        info!(listen = %config.http.listen, "the API is open");
        let pool = store.pool().clone();
        database::keep_schema(pool, &MIGRATOR, migrate, start.readiness, stop.clone()).await?;
        Ok::<_, Error>(())
    };
    let serving = http::server::serve(
        listener,
        http::router(Arc::new(api)),
        max_connections,
        stop.clone(),
    );
    tokio::try_join!(async { serving.await.map_err(Error::from) }, async {
        stop.run_until_cancelled(Box::pin(opening)).await.transpose()
    },)?;
    Ok(())
}

/// Everything but the API. It begins when the schema is there.
fn spawn_background(parts: Parts, group: &Group, schema: &CancellationToken, drain: Duration) {
    let Parts {
        store,
        connection,
        waiters,
        feed,
        sender,
        sweep,
        outcomes,
        incarnation,
        ..
    } = parts;
    let settings = delivery::Settings {
        slots: SLOTS,
        max_batch: BATCH,
        retry_delay: RETRY_DELAY,
        drain,
    };
    let stop = || group.stop();
    let consumer = Box::pin(delivery::run(
        connection.clone(),
        OUTCOMES,
        settings,
        outcomes,
        stop(),
    ));
    group.spawn("sender", after(schema.clone(), stop(), sender.run(stop())));
    group.spawn("sweep", after(schema.clone(), stop(), sweep.run(stop())));
    group.spawn("payment_outcomes", after(schema.clone(), stop(), consumer));
    group.spawn(
        "stream_provisioner",
        after(
            schema.clone(),
            stop(),
            provisioning::run(incarnation, connection.clone(), stop()),
        ),
    );
    group.spawn(
        "waiters",
        after(
            schema.clone(),
            stop(),
            waiters.clone().poll(store.clone(), stop()),
        ),
    );
    group.spawn(
        "change_events",
        after(
            schema.clone(),
            stop(),
            change_events::listen(waiters, feed.clone(), connection.clone(), stop()),
        ),
    );
    group.spawn(
        "event_feed",
        after(schema.clone(), stop(), feed.run(store.clone(), stop())),
    );
    group.spawn(
        "gauges",
        after(schema.clone(), stop(), sample(store.clone(), stop())),
    );
    group.spawn("prune", after(schema.clone(), stop(), prune(store, stop())));
}

/// A task that cannot fail and begins once `begin` is told.
async fn after(
    begin: CancellationToken,
    stop: CancellationToken,
    task: impl Future<Output = ()>,
) -> Result<(), Infallible> {
    tokio::select! {
        () = stop.cancelled() => {}
        () = begin.cancelled() => task.await,
    }
    Ok(())
}

fn access(auth: &Auth, group: &Group) -> Result<Access, Error> {
    match auth {
        Auth::Disabled => {
            warn!("auth.mode is \"disabled\": everybody who reaches the API may create and pay invoices");
            Ok(Access::Open)
        }
        Auth::Token(path) => {
            let file = TokensFile::open(path)?;
            let tokens = file.tokens();
            let stop = group.stop();
            group.spawn("tokens", async move {
                file.run(stop).await;
                Ok::<_, Infallible>(())
            });
            Ok(Access::Tokens(tokens))
        }
    }
}

/// Keeps the gauges fresh.
async fn sample(store: Store, stop: CancellationToken) {
    loop {
        metrics::connections(store.warm().connections());
        match store.open().await {
            Ok(open) => metrics::open(Some(open)),
            Err(error) => {
                metrics::open(None);
                warn!(error = chain(&error), "open payments could not be counted");
            }
        }
        if stop
            .run_until_cancelled(tokio::time::sleep(SAMPLE))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Deletes what is no longer needed.
async fn prune(store: Store, stop: CancellationToken) {
    loop {
        let pruned = async {
            store.prune_lines().await?;
            while store.prune_keys().await? > 0 {}
            if store.forget_foreign_changes().await? {
                warn!("this database was restored into another cluster: its feed of events begins anew");
            }
            while store.prune_changes(CHANGES_KEPT_DAYS).await? > 0 {}
            Ok::<_, sqlx::Error>(())
        };
        if let Some(Err(error)) = stop.run_until_cancelled(pruned).await {
            warn!(
                error = chain(&error),
                "old keys, lines and changes could not be deleted"
            );
        }
        if stop
            .run_until_cancelled(tokio::time::sleep(PRUNE))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// `migrate`: brings the schema up to date and ends.
pub async fn migrate(config: &Config) -> Result<ExitCode, Error> {
    let pool = database::pool(&config.database, NAME)?;
    database::migrate(&pool, &MIGRATOR).await?;
    Ok(ExitCode::SUCCESS)
}

/// Logs what ended the process, once, with its whole chain.
pub fn log_end(error: &Error) {
    error!(error = chain(error.as_ref()), "invoice-app ended");
}
