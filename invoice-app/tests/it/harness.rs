//! A whole service for one test: its own database, its own port, and NATS only where the test brings one.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use invoice_app::{
    app::Parts,
    config::{Http, Limits},
    event_feed::Feed,
    http::{self, Api, access::Access},
    payment::OutcomeEffect,
    payment_outcomes::PaymentOutcomes,
    store::Store,
};
use jetstream::connection::{Connection, Settings};
use local_stack::{Keys, TestPostgres, User, eventually};
use payment_contract::{
    InvoiceId, PaymentId,
    messages::{OutcomeStatus, PaymentOutcomeV1},
};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use service::config::Reader;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long anything but a condition may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Keys for all tests of this process.
pub(crate) static KEYS: LazyLock<(tempfile::TempDir, Keys)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::generate(&directory.path().join("keys"), &[]).unwrap();
    (directory, keys)
});

/// The service under test.
pub(crate) struct App {
    pub(crate) base: String,
    pub(crate) client: Client,
    pub(crate) store: Store,
    pub(crate) pool: PgPool,
    pub(crate) connection: Connection,
    pub(crate) outcomes: Arc<PaymentOutcomes>,
    feed: Feed,
    pub(crate) stop: CancellationToken,
    _stop: DropGuard,
}

/// How it differs from usual.
pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    pub(crate) nats: Option<String>,
    pub(crate) database: Option<PgPool>,
    pub(crate) background: bool,
    /// Cancelled once the schema is there.
    pub(crate) open: CancellationToken,
}

impl Default for Options {
    fn default() -> Self {
        let open = CancellationToken::new();
        open.cancel();
        Self {
            open,
            limits: limits(),
            access: Access::Open,
            nats: None,
            database: None,
            background: true,
        }
    }
}

/// Those of `config.default.toml`.
pub(crate) fn limits() -> Limits {
    let defaults = include_str!("../../config.default.toml");
    let mut reader = Reader::with_environment(defaults, None, "", std::iter::empty());
    Http::read(&mut reader).limits
}

/// A pool on a new database.
pub(crate) async fn database() -> PgPool {
    let postgres = TestPostgres::shared().await.unwrap();
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let database = postgres.database(&migrations).await.unwrap();
    PgPoolOptions::new()
        .max_connections(12)
        .acquire_timeout(Duration::from_secs(2))
        .connect_with(
            database
                .url
                .parse::<PgConnectOptions>()
                .unwrap()
                .options(service::database::SESSION),
        )
        .await
        .unwrap()
}

/// A connection to NATS as this user; without a URL one that never comes about.
pub(crate) async fn connect(name: &'static str, user: User, url: Option<&str>) -> Connection {
    local_stack::install_crypto_provider();
    let settings = Settings {
        name,
        url: url.unwrap_or("tls://127.0.0.1:1").to_owned(),
        nkey_seed: KEYS.1.seed(user).unwrap(),
        nkey_seed_file: None,
        ca_file: Some(KEYS.1.ca_file()),
    };
    let connection = Connection::init(settings).await.unwrap();
    if url.is_some() {
        eventually("connected to NATS", async || connection.is_connected())
            .await
            .unwrap();
    }
    connection
}

/// The parts of a replica, with the default time before a request is sent again.
pub(crate) async fn parts(pool: &PgPool, nats: Option<&str>) -> Parts {
    parts_that_resend_after(Duration::from_secs(30), pool, nats).await
}

async fn parts_that_resend_after(resend_after: Duration, pool: &PgPool, nats: Option<&str>) -> Parts {
    let connection = connect("invoice-app", User::InvoiceApp, nats).await;
    Parts::new(
        Store::new(pool.clone()),
        invoice_app::streams::provisioner(connection, 1, &[]),
        resend_after,
    )
}

impl App {
    /// As usual, without NATS.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// One that knows no token and waits for its database: what it answers, it answers to everybody and at any time.
    pub(crate) async fn closed() -> Self {
        Self::with(Options {
            access: Access::Tokens(Arc::default()),
            open: CancellationToken::new(),
            ..Options::default()
        })
        .await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let pool = match options.database {
            Some(pool) => pool,
            None => database().await,
        };
        // Longer than anything is waited for: what should be sent at once is not sent again instead.
        let resend_after = Duration::from_mins(10);
        let parts = parts_that_resend_after(resend_after, &pool, options.nats.as_deref()).await;
        let stop = CancellationToken::new();
        let api = Api::new(
            parts.store.clone(),
            parts.paying.clone(),
            parts.feed.clone(),
            options.access,
            options.limits.clone(),
            stop.clone(),
            options.open,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = http::router(Arc::new(api));
        let allowed = http::server::Connections {
            most: options.limits.max_connections,
            write_stall: options.limits.write_stall,
            finish: LIMIT,
        };
        tokio::spawn(http::server::serve(listener, router, allowed, stop.clone()));
        let app = Self {
            base,
            client: local_stack::http_client(Duration::from_mins(1)).unwrap(),
            store: parts.store.clone(),
            pool,
            connection: parts.connection.clone(),
            outcomes: Arc::clone(&parts.outcomes),
            feed: parts.feed.clone(),
            stop: stop.clone(),
            _stop: stop.clone().drop_guard(),
        };
        if options.background {
            run(parts, &stop);
        }
        app
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    /// A POST without a body that does not wait.
    pub(crate) async fn post_async(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).header("prefer", "respond-async")).await
    }

    /// Pays several, without waiting.
    pub(crate) async fn post_pay(&self, body: Value) -> (StatusCode, Value) {
        let request = self.request(Method::POST, "/invoices/pay");
        answer(request.header("prefer", "respond-async").json(&body)).await
    }

    /// A new invoice's id.
    pub(crate) async fn invoice(&self, number: &str, value: &str) -> String {
        let (status, invoice) = self.post("/invoices", new(number, value)).await;
        assert_eq!(status, StatusCode::CREATED, "{invoice}");
        id(&invoice)
    }

    /// Asks for the payment of an invoice and gives the payment's id.
    pub(crate) async fn pay(&self, invoice: &str) -> String {
        let (status, payment) = self.post_async(&format!("/invoices/{invoice}/pay")).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{payment}");
        id(&payment)
    }

    /// Settles as the consumer would.
    pub(crate) async fn settle(&self, outcomes: &[PaymentOutcomeV1]) -> Vec<OutcomeEffect> {
        self.outcomes.settle_all(outcomes).await.unwrap()
    }

    /// Puts `count` unpaid invoices there, without the API.
    pub(crate) async fn fill(&self, count: i64) {
        sqlx::query(
            "insert into invoices (id, number, amount_minor, currency)
             select uuidv7(), 'N' || n, 100 + n, 'EUR' from generate_series(1, $1) n",
        )
        .bind(count)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// How many follow its events.
    pub(crate) fn listeners(&self) -> usize {
        self.feed.listeners()
    }

    /// One number out of the database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

/// Runs what runs beside the API.
pub(crate) fn run(parts: Parts, stop: &CancellationToken) {
    use jetstream::{delivery, provisioning};
    let settings = delivery::Settings {
        slots: 2000,
        max_batch: 500,
        retry_delay: Duration::from_millis(200),
        drain: Duration::from_secs(2),
    };
    let connection = parts.connection.clone();
    tokio::spawn(parts.sender.run(stop.clone()));
    tokio::spawn(parts.sweep.run(stop.clone()));
    tokio::spawn(provisioning::run(
        parts.incarnation,
        connection.clone(),
        stop.clone(),
    ));
    tokio::spawn(parts.waiters.clone().poll(parts.store.clone(), stop.clone()));
    tokio::spawn(parts.feed.clone().run(parts.store, stop.clone()));
    tokio::spawn(invoice_app::change_events::listen(
        parts.waiters,
        parts.feed,
        connection.clone(),
        stop.clone(),
    ));
    tokio::spawn(delivery::run(
        connection,
        invoice_app::streams::OUTCOMES,
        settings,
        parts.outcomes,
        stop.clone(),
    ));
}

pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    read(request.send().await.unwrap()).await
}

pub(crate) async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub(crate) fn new(number: &str, value: &str) -> Value {
    json!({"number": number, "amount": {"value": value, "currency": "EUR"}})
}

/// The numbers of the invoices on a page.
pub(crate) fn numbers(page: &Value) -> Vec<String> {
    let invoices = page["invoices"].as_array().unwrap();
    invoices
        .iter()
        .map(|invoice| invoice["number"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn id(document: &Value) -> String {
    document["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no id in {document}"))
        .to_owned()
}

pub(crate) fn outcome(payment: &str, invoice: &str, status: OutcomeStatus) -> PaymentOutcomeV1 {
    PaymentOutcomeV1 {
        payment_id: payment.parse::<PaymentId>().unwrap(),
        invoice_id: invoice.parse::<InvoiceId>().unwrap(),
        status,
        reason: (status == OutcomeStatus::Declined).then(|| "insufficient_funds".to_owned()),
        provider_reference: Some("ref-1".to_owned()),
        settled_at: OffsetDateTime::now_utc(),
        provider: None,
    }
}

pub(crate) fn succeeded(payment: &str, invoice: &str) -> PaymentOutcomeV1 {
    outcome(payment, invoice, OutcomeStatus::Succeeded)
}

pub(crate) fn declined(payment: &str, invoice: &str) -> PaymentOutcomeV1 {
    outcome(payment, invoice, OutcomeStatus::Declined)
}
