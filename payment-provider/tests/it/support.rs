//! What the tests share: a database, a nats-server, a bank with a door, and somebody who hears every outcome.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt as _;
use jetstream::{
    connection::{Connection, Settings},
    delivery::Decision,
    publish::Publisher,
};
use local_stack::{Keys, NatsOptions, NatsServer, TestPostgres, User, eventually};
use payment_contract::{
    Money, PaymentId,
    messages::{PayRequestV1, PaymentOutcomeV1},
    trace::TraceParent,
};
use payment_provider::{
    app::Parts,
    gateway::Bank,
    ledger::RequestHash,
    order::Order,
    outcomes::Outcomes,
    pay_requests::{DeliveredRequest, PayRequests, Policy},
    store::{Intent, Store},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{task::JoinHandle, time::timeout};
use uuid::Uuid;

use crate::doored_bank::DooredBank;

/// No wait in these tests is longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Outcomes with their traces.
type Heard = Arc<Mutex<Vec<(PaymentOutcomeV1, Option<TraceParent>)>>>;

/// Everything around a provider under test.
pub(crate) struct World {
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    pub(crate) bank: Arc<DooredBank>,
    pub(crate) nats: NatsServer,
    pub(crate) connection: Connection,
    heard: Heard,
    _directory: TempDir,
}

impl World {
    /// With leases of 15 s, as by default.
    pub(crate) async fn start() -> Self {
        Self::with_leases(Duration::from_secs(15)).await
    }

    pub(crate) async fn with_leases(lease: Duration) -> Self {
        let postgres = TestPostgres::shared().await.expect("Postgres starts");
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let database = postgres.database(&migrations).await.expect("the migrations run");
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .connect(&database.url)
            .await
            .unwrap();
        let directory = TempDir::new().unwrap();
        let nats = start_nats(directory.path()).await;
        let connection = connect(&nats, User::PaymentProvider).await;
        payment_provider::streams::provisioner(connection.clone(), 1, &[])
            .ensure()
            .await
            .expect("the stream is made");
        let heard = listen(&nats).await;
        let store = Store::new(pool.clone(), lease);
        Self {
            bank: Arc::new(DooredBank::new(store.warm().clone())),
            store,
            pool,
            nats,
            connection,
            heard,
            _directory: directory,
        }
    }

    /// A provider with a bank timeout of 1 s.
    pub(crate) fn provider(&self) -> PayRequests {
        self.provider_with(|_| {})
    }

    pub(crate) fn provider_with(&self, change: impl FnOnce(&mut Setup)) -> PayRequests {
        let mut setup = Setup::default();
        change(&mut setup);
        let bank = self.guarded(&setup);
        let outcomes = Outcomes::new(Publisher::new(self.connection.clone()));
        PayRequests::new(self.store.clone(), bank, outcomes, setup.policy)
    }

    pub(crate) fn guarded(&self, setup: &Setup) -> Bank {
        Bank::new(self.bank.clone(), setup.timeout, setup.lines)
    }

    /// Has a provider pay, and the bank keep the call until it is opened.
    pub(crate) async fn held_call(
        &self,
        provider: &PayRequests,
        request: &PayRequestV1,
    ) -> JoinHandle<Decision> {
        self.bank.hold(request.payment_id);
        let (provider, message) = (provider.clone(), request.clone());
        let calling = tokio::spawn(async move { decide(&provider, &message).await });
        self.called(request).await;
        calling
    }

    /// Waits until the bank is called for this payment.
    pub(crate) async fn called(&self, request: &PayRequestV1) {
        eventually("the call is under way", async || {
            self.bank.pays(request.payment_id) == 1
        })
        .await
        .unwrap();
    }

    /// Writes the row of a provider that dies right after: its lease lasts.
    pub(crate) async fn crashed_after_intent(&self, request: &PayRequestV1) {
        let intent = Intent {
            payment_id: request.payment_id,
            invoice_id: request.invoice_id,
            request_hash: RequestHash::of(request),
            order: Order::of(request),
            attempt: request.attempt,
            requested_at: request.requested_at,
            trace: None,
            rejected: false,
            held: None,
        };
        let inserted = self
            .store
            .insert_intents(&[intent], Uuid::new_v4())
            .await
            .unwrap();
        assert_eq!(inserted.len(), 1);
    }

    pub(crate) async fn end_lease(&self, payment_id: PaymentId) {
        self.execute(
            "update ledger set lease_until = clock_timestamp() - interval '1 s' where payment_id = $1",
            payment_id,
        )
        .await;
    }

    pub(crate) async fn execute(&self, sql: &'static str, payment_id: PaymentId) {
        let done = sqlx::query(sql)
            .bind(payment_id.as_uuid())
            .execute(&self.pool)
            .await
            .unwrap();
        assert_eq!(done.rows_affected(), 1);
    }

    /// Status and reason of a ledger row.
    pub(crate) async fn row(&self, payment_id: PaymentId) -> Option<(String, Option<String>)> {
        sqlx::query_as("select status, reason from ledger where payment_id = $1")
            .bind(payment_id.as_uuid())
            .fetch_optional(&self.pool)
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self, payment_id: PaymentId) -> String {
        self.row(payment_id).await.expect("there is a row").0
    }

    /// Successful entries in the bank's books for an invoice, under whatever key.
    pub(crate) async fn charges(&self, request: &PayRequestV1) -> i64 {
        sqlx::query_scalar(
            "select count(*) from simulated_charges where invoice = $1 and status = 'succeeded'",
        )
        .bind(&request.invoice_number)
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    pub(crate) fn outcomes(&self, payment_id: PaymentId) -> Vec<PaymentOutcomeV1> {
        let heard = self.heard.lock().unwrap();
        let mine = heard
            .iter()
            .filter(|(outcome, _)| outcome.payment_id == payment_id);
        mine.map(|(outcome, _)| outcome.clone()).collect()
    }

    /// The traces of the outcomes of a payment.
    pub(crate) fn traces(&self, payment_id: PaymentId) -> Vec<Option<TraceParent>> {
        let heard = self.heard.lock().unwrap();
        let mine = heard
            .iter()
            .filter(|(outcome, _)| outcome.payment_id == payment_id);
        mine.map(|(_, trace)| trace.clone()).collect()
    }

    /// Waits for so many outcomes of a payment, and checks that there are not more.
    pub(crate) async fn heard(&self, payment_id: PaymentId, count: usize) -> PaymentOutcomeV1 {
        eventually("the outcomes are heard", async || {
            self.outcomes(payment_id).len() >= count
        })
        .await
        .unwrap();
        let outcomes = self.outcomes(payment_id);
        assert_eq!(outcomes.len(), count, "{outcomes:?}");
        assert!(
            outcomes.windows(2).all(|pair| pair[0] == pair[1]),
            "told the same every time: {outcomes:?}"
        );
        outcomes.last().cloned().expect("at least one")
    }
}

/// What a test changes about a provider.
pub(crate) struct Setup {
    pub(crate) timeout: Duration,
    pub(crate) lines: usize,
    pub(crate) policy: Policy,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            lines: 64,
            policy: Policy {
                key_retention: Duration::from_hours(23),
                lease_margin: Duration::from_millis(200),
                currencies: Vec::new(),
                hold_new_payments: false,
            },
        }
    }
}

/// What commands work with.
pub(crate) fn parts(world: &World) -> Parts {
    let setup = Setup::default();
    Parts {
        store: world.store.clone(),
        bank: world.guarded(&setup),
        policy: setup.policy,
    }
}

/// A request to pay a new invoice.
pub(crate) fn request(value: &str, currency: &str) -> PayRequestV1 {
    let payment_id = PaymentId::generate();
    PayRequestV1 {
        payment_id,
        invoice_id: payment_contract::InvoiceId::generate(),
        invoice_number: format!("I-{payment_id}"),
        amount: Money::parse(value, currency).unwrap(),
        attempt: 1,
        requested_at: OffsetDateTime::now_utc(),
    }
}

/// Hands requests to a provider as one batch; the decisions, by position.
pub(crate) async fn decide_all(provider: &PayRequests, messages: &[PayRequestV1]) -> Vec<Decision> {
    let requests = messages
        .iter()
        .map(|message| DeliveredRequest {
            message: message.clone(),
            trace: None,
            deliveries: 1,
        })
        .collect();
    let decisions = Mutex::new(vec![None; messages.len()]);
    let processed = provider.process(requests, |position, decision| {
        let before = decisions.lock().unwrap()[position].replace(decision);
        assert_eq!(before, None, "decided once");
    });
    timeout(LIMIT, processed).await.expect("decided in time");
    decisions
        .into_inner()
        .unwrap()
        .into_iter()
        .map(|decision| decision.expect("every one is decided"))
        .collect()
}

/// Hands one request to a provider.
pub(crate) async fn decide(provider: &PayRequests, message: &PayRequestV1) -> Decision {
    decide_all(provider, std::slice::from_ref(message))
        .await
        .remove(0)
}

/// Delivers a request again and again, at once instead of after the delay asked for, until it is done.
pub(crate) async fn decide_until_done(provider: &PayRequests, message: &PayRequestV1) -> usize {
    for deliveries in 1..10 {
        match decide(provider, message).await {
            Decision::Done => return deliveries,
            Decision::Retry(_) => {}
            Decision::Reject(reason) => panic!("rejected: {reason}"),
        }
    }
    panic!("not done after nine deliveries")
}

async fn start_nats(directory: &Path) -> NatsServer {
    local_stack::install_crypto_provider();
    let keys = Keys::generate(&directory.join("keys"), &[]).expect("keys are made");
    NatsServer::start(NatsOptions::for_tests(directory, keys))
        .await
        .expect("nats-server starts")
}

/// A connection of one of the services.
pub(crate) async fn connect(nats: &NatsServer, user: User) -> Connection {
    let settings = Settings {
        name: user.as_str(),
        url: nats.url(),
        nkey_seed: nats.keys().seed(user).unwrap(),
        nkey_seed_file: None,
        ca_file: Some(nats.keys().ca_file()),
    };
    let connection = Connection::init(settings).await.unwrap();
    let mut link = connection.link();
    timeout(LIMIT, link.wait_for(|link| link.connected))
        .await
        .expect("connected in time")
        .unwrap();
    connection
}

async fn listen(nats: &NatsServer) -> Heard {
    let client = nats.connect(User::Debug).await.unwrap();
    let mut messages = client.subscribe("pay.v1.outcome.*").await.unwrap();
    client.flush().await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&heard);
    tokio::spawn(async move {
        // The client must live as long as its subscription is read.
        let _client = client;
        while let Some(message) = messages.next().await {
            let outcome = serde_json::from_slice(&message.payload).unwrap();
            let trace = message
                .headers
                .as_ref()
                .and_then(|headers| headers.get("traceparent"));
            let trace = trace.and_then(|trace| TraceParent::parse(trace.as_str()));
            writer.lock().unwrap().push((outcome, trace));
        }
    });
    heard
}
