//! A handler that does what a test tells it to, and remembers everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::consumer::PullConsumer;
use jetstream::{
    delivery::{DeadLetter, Decision, Decisions, Handler, Received, Settings, run},
    publish::Publisher,
};
use local_stack::eventually;
use payment_contract::{messages::PayRequestV1, subjects};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::fixture::{PAYMENT_PROVIDER, Pair, outgoing, pay_request};

pub(crate) const SETTINGS: Settings = Settings {
    slots: 64,
    max_batch: 32,
    retry_delay: Duration::from_millis(100),
    drain: Duration::from_secs(10),
};

/// What to do with a message on its nth delivery.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Decide(Decision),
    /// Wait for the test to let go, then it is done.
    Hold,
    /// Take this long, then it is done.
    Take(Duration),
    /// Say nothing about it.
    Ignore,
    Panic,
}

type Rule = dyn Fn(&PayRequestV1, i64) -> Action + Send + Sync;

pub(crate) struct Recorder {
    rule: Box<Rule>,
    pub(crate) gate: Arc<Semaphore>,
    /// Deliveries of each number.
    seen: Mutex<BTreeMap<String, i64>>,
    done: Mutex<BTreeSet<String>>,
    pub(crate) batches: Mutex<Vec<usize>>,
    pub(crate) letters: Mutex<Vec<DeadLetter>>,
    pub(crate) dead_letters_to_fail: AtomicUsize,
    in_flight: AtomicUsize,
    pub(crate) most_in_flight: AtomicUsize,
}

impl Recorder {
    pub(crate) fn new(rule: impl Fn(&PayRequestV1, i64) -> Action + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            rule: Box::new(rule),
            gate: Arc::new(Semaphore::new(0)),
            seen: Mutex::default(),
            done: Mutex::default(),
            batches: Mutex::default(),
            letters: Mutex::default(),
            dead_letters_to_fail: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        })
    }

    pub(crate) fn done_at_once() -> Arc<Self> {
        Self::new(|_, _| Action::Decide(Decision::Done))
    }

    pub(crate) fn deliveries(&self, number: &str) -> i64 {
        self.seen.lock().unwrap().get(number).copied().unwrap_or_default()
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn done(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    pub(crate) async fn until_done(&self, count: usize) {
        eventually(&format!("{count} are done"), async || self.done() == count)
            .await
            .unwrap();
    }

    pub(crate) async fn until_dead_lettered(&self, count: usize) {
        eventually(&format!("{count} are dead letters"), async || {
            self.letters.lock().unwrap().len() == count
        })
        .await
        .unwrap();
    }

    async fn act(&self, received: &Received<PayRequestV1>, deliveries: i64) -> Option<Decision> {
        match (self.rule)(&received.message, deliveries) {
            Action::Decide(decision) => return Some(decision),
            Action::Hold => self.gate.acquire().await.unwrap().forget(),
            Action::Take(time) => tokio::time::sleep(time).await,
            Action::Ignore => return None,
            Action::Panic => panic!("told to"),
        }
        Some(Decision::Done)
    }
}

impl Handler for Recorder {
    type Message = PayRequestV1;

    const TEMPLATE: &'static str = subjects::PAY_REQUEST_TEMPLATE;

    async fn handle(&self, batch: Vec<Received<PayRequestV1>>, decisions: Decisions) {
        self.batches.lock().unwrap().push(batch.len());
        let now = self.in_flight.fetch_add(batch.len(), Ordering::SeqCst) + batch.len();
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let handling = batch.iter().map(|received| async {
            let number = received.message.invoice_number.clone();
            let deliveries = {
                let mut seen = self.seen.lock().unwrap();
                let count = seen.entry(number.clone()).or_default();
                *count += 1;
                *count
            };
            let decision = self.act(received, deliveries).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            if let Some(decision) = decision {
                if decision == Decision::Done {
                    self.done.lock().unwrap().insert(number);
                }
                decisions.decide(received.token, decision);
            }
        });
        futures_util::future::join_all(handling).await;
    }

    async fn dead_letter(
        &self,
        letters: Vec<DeadLetter>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let failing = |left: usize| left.checked_sub(1);
        if self
            .dead_letters_to_fail
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, failing)
            .is_ok()
        {
            return Err("told to fail".into());
        }
        self.letters.lock().unwrap().extend(letters);
        Ok(())
    }
}

/// A running loop over pay requests.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn start(pair: &Pair, settings: Settings, handler: &Arc<Recorder>) -> Running {
    let stop = CancellationToken::new();
    let running = run(
        pair.payment_provider.clone(),
        PAYMENT_PROVIDER,
        settings,
        Arc::clone(handler),
        stop.clone(),
    );
    Running {
        stop,
        task: tokio::spawn(running),
    }
}

/// Publishes requests numbered from `first`, confirmed.
pub(crate) async fn publish(pair: &Pair, numbers: std::ops::Range<usize>) {
    let messages = numbers.map(|number| outgoing(&pay_request(number), 1)).collect();
    let results = Publisher::new(pair.invoice_app.clone())
        .send_confirmed(messages)
        .await;
    for result in results {
        result.unwrap();
    }
}

pub(crate) struct Pending {
    pub(crate) unacked: usize,
    pub(crate) undelivered: u64,
}

/// What the server says is left to do.
/// The consumer as the server sees it now.
pub(crate) async fn durable(pair: &Pair) -> PullConsumer {
    let admin = pair.server.admin("PAY_REQUESTS").await;
    admin
        .get_consumer_from_stream("payment-provider", "PAY_REQUESTS")
        .await
        .unwrap()
}

pub(crate) async fn pending(pair: &Pair) -> Pending {
    let durable = durable(pair).await;
    let info = durable.cached_info();
    Pending {
        unacked: info.num_ack_pending,
        undelivered: info.num_pending,
    }
}

pub(crate) async fn until_nothing_is_left(pair: &Pair) {
    eventually("everything is acknowledged", async || {
        let left = pending(pair).await;
        left.unacked == 0 && left.undelivered == 0
    })
    .await
    .unwrap();
}
