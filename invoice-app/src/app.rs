//! The process: puts the parts together from the configuration and runs them until it is told to stop.

use std::{process::ExitCode, sync::Arc, time::Duration};

use jetstream::{
    connection::Connection,
    delivery,
    provisioning::{self, StreamProvisioner},
};
use service::{
    BoxError,
    admin::{self, Readiness},
    database, dead_letters, repeat,
    shutdown::Group,
    startup::{Startup, drain},
    telemetry::chain,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

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
pub const NAME: &str = "invoice-app";
/// Outcomes in hand at once: two full batches being settled, and two being pulled.
const SLOTS: usize = 2000;
/// Outcomes settled by one statement. More would hold rows for longer without being faster.
const BATCH: usize = 500;
/// The first pause after NATS failed a pull; grows.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How often open payments are counted.
const SAMPLE: Duration = Duration::from_secs(10);
/// How often what is no longer needed is deleted.
const PRUNE: Duration = Duration::from_mins(10);
/// How long changes are kept for those who follow them.
const CHANGES_KEPT_DAYS: i32 = 7;

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
pub async fn serve(config: Config) -> Result<ExitCode, BoxError> {
    // No more calls, and then what they started.
    let groups = ["api", "background"];
    let (startup, [api, background]) =
        Startup::begin(NAME, env!("CARGO_PKG_VERSION"), &config.common, groups);
    metrics::describe();
    let connection = config.nats.connect(NAME).await?;
    let store = Store::new(database::pool(&config.database, NAME)?);
    let access = access(&config.auth, &background)?;
    let provisioner = streams::provisioner(
        connection.clone(),
        config.nats.replicas,
        &config.nats.more_readers,
    );
    let parts = Parts::new(store.clone(), provisioner, config.resend_after);
    let (paying, feed) = (parts.paying.clone(), parts.feed.clone());

    let schema = CancellationToken::new();
    spawn_background(parts, &background, &schema, drain(&config.common));
    let (pool, kept_days) = (store.pool().clone(), config.common.keep_resolved_days);
    let pruning = dead_letters::keep_pruned(pool, kept_days, background.stop());
    spawn_after(&schema, &background, "dead_letters", pruning);
    let start = Start {
        schema,
        readiness: startup.readiness.clone(),
    };
    let calls = take_calls(config, store, paying, feed, access, start, api.stop());
    api.spawn("http", calls);
    Ok(startup.run(connection).await)
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
) -> Result<(), BoxError> {
    // Before the wait: a port in use is told at once.
    let listener = admin::bind(config.http.listen, "http.listen")?;
    let limits = config.http.limits.clone();
    let allowed = http::server::Connections {
        most: limits.max_connections,
        write_stall: limits.write_stall,
        finish: drain(&config.common),
    };
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
        Ok::<_, BoxError>(())
    };
    let serving = http::server::serve(listener, http::router(Arc::new(api)), allowed, stop.clone());
    tokio::try_join!(async { serving.await.map_err(BoxError::from) }, async {
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
    let consumer = delivery::run(connection.clone(), OUTCOMES, settings, outcomes, stop());
    let provisioner = provisioning::run(incarnation, connection.clone(), stop());
    let poll = waiters.clone().poll(store.clone(), stop());
    let listen = change_events::listen(waiters, feed.clone(), connection, stop());
    spawn_after(schema, group, "sender", sender.run(stop()));
    spawn_after(schema, group, "sweep", sweep.run(stop()));
    spawn_after(schema, group, "payment_outcomes", Box::pin(consumer));
    spawn_after(schema, group, "stream_provisioner", provisioner);
    spawn_after(schema, group, "waiters", poll);
    spawn_after(schema, group, "change_events", listen);
    spawn_after(schema, group, "event_feed", feed.run(store.clone(), stop()));
    spawn_after(schema, group, "gauges", sample(store.clone(), stop()));
    spawn_after(schema, group, "prune", prune(store, stop()));
}

/// Spawns a task that begins once `begin` is told.
fn spawn_after(
    begin: &CancellationToken,
    group: &Group,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let (begin, stop) = (begin.clone(), group.stop());
    group.spawn_infallible(name, async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = begin.cancelled() => task.await,
        }
    });
}

fn access(auth: &Auth, group: &Group) -> Result<Access, BoxError> {
    match auth {
        Auth::Disabled => {
            warn!("auth.mode is \"disabled\": everybody who reaches the API may create and pay invoices");
            Ok(Access::Open)
        }
        Auth::Token(path) => {
            let file = TokensFile::open(path)?;
            let tokens = file.tokens();
            group.spawn_infallible("tokens", file.run(group.stop()));
            Ok(Access::Tokens(tokens))
        }
    }
}

/// Keeps the gauges fresh.
async fn sample(store: Store, stop: CancellationToken) {
    let sampling = || async {
        store.warm().show_connections(metrics::CONNECTIONS);
        let open = store
            .open()
            .await
            .inspect_err(|error| warn!(error = chain(error), "open payments could not be counted"));
        metrics::open(open.ok());
    };
    repeat::every(SAMPLE, stop, sampling).await;
}

/// Deletes what is no longer needed.
async fn prune(store: Store, stop: CancellationToken) {
    let pruning = || async {
        if let Err(error) = prune_once(&store).await {
            warn!(
                error = chain(&error),
                "old keys, lines and changes could not be deleted"
            );
        }
    };
    repeat::every(PRUNE, stop, pruning).await;
}

async fn prune_once(store: &Store) -> Result<(), sqlx::Error> {
    store.prune_lines().await?;
    while store.prune_keys().await? > 0 {}
    // Boxed, since it is rare and large.
    if Box::pin(store.forget_foreign_changes()).await? {
        warn!("this database was restored into another cluster: its feed of events begins anew");
    }
    while store.prune_changes(CHANGES_KEPT_DAYS).await? > 0 {}
    Ok(())
}
