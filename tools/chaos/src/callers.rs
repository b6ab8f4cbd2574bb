//! The load: callers who create and pay invoices one by one and in bulk, and repeat a call with its key until it is
//! answered. What they were promised is kept, to be held against the databases afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use acceptance::SeededRng;
use acceptance::{
    Answer, Client, Error, Result,
    client::{count, import_lines},
};

/// Between two things that a caller does, at most: a steady load that a busy machine can carry.
const PAUSE: Duration = Duration::from_millis(120);
/// Before a call is repeated.
const AGAIN: Duration = Duration::from_millis(150);
/// A call is repeated this often, which is longer than any fault lasts.
const TRIES: u32 = 200;
/// Invoices of one import, at most.
const LARGEST_IMPORT: u64 = 120;
/// A pay call for some of its own names this many, at most.
const SOME: usize = 20;

/// What callers were promised, and what they should never have been answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises(Arc<Mutex<Promised>>);

/// See [`Promises`].
#[derive(Debug, Default)]
pub(super) struct Promised {
    /// Invoices answered with 201, and when.
    pub(super) invoices: BTreeMap<Uuid, SystemTime>,
    /// Payments answered with 200 or 202, and when last.
    pub(super) payments: BTreeMap<Uuid, SystemTime>,
    /// How many payments each batch was said to have made, and when first.
    pub(super) batches: BTreeMap<Uuid, (u64, SystemTime)>,
    /// Invoices that were said not to exist.
    pub(super) unknown: BTreeSet<Uuid>,
    /// How many calls were answered with each status.
    pub(super) answers: BTreeMap<u16, usize>,
    /// How many calls got no answer.
    pub(super) unanswered: usize,
    /// What no fault excuses.
    pub(super) complaints: Vec<String>,
}

impl Promises {
    pub(super) fn lock(&self) -> MutexGuard<'_, Promised> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller.
pub(super) struct Caller {
    pub(super) number: usize,
    pub(super) clients: [Client; 2],
    pub(super) chaos: SeededRng,
    pub(super) promises: Promises,
    pub(super) stop: Arc<AtomicBool>,
}

impl Caller {
    /// Calls until told to stop; then what is under way is still brought to its end.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut mine: Vec<String> = Vec::new();
        let mut turn = 0_u64;
        while !self.stop.load(Ordering::SeqCst) {
            turn += 1;
            match self.chaos.below(20) {
                0..=10 => mine.push(self.create_and_pay(turn).await?),
                11..=13 => mine.push(self.two_clicks(turn).await?),
                14 => self.create_and_void(turn).await?,
                15..=16 => self.pay_some(turn, &mine).await?,
                17 => self.pay_all(turn).await?,
                _ => self.import_and_pay_all(turn).await?,
            }
            tokio::time::sleep(self.chaos.moment(PAUSE)).await;
        }
        Ok(())
    }

    async fn create_and_pay(&mut self, turn: u64) -> Result<String> {
        let id = self.create(turn).await?;
        let path = format!("/invoices/{id}/pay");
        let answer = self.insist(&path, &format!("pay-{turn}"), None).await?;
        self.note_payment(&answer);
        Ok(id)
    }

    /// The same invoice, at the same time, from both replicas, by people who know nothing of each other.
    async fn two_clicks(&mut self, turn: u64) -> Result<String> {
        let id = self.create(turn).await?;
        let path = format!("/invoices/{id}/pay");
        let click = |client: &Client| {
            let (client, path) = (client.clone(), path.clone());
            async move { client.post_empty(&path, &[("prefer", "respond-async")]).await }
        };
        let [one, other] = &self.clients;
        let (one, other) = tokio::join!(click(one), click(other));
        for answer in [one, other] {
            match answer {
                Ok(answer) => {
                    self.note_answer(&path, &answer);
                    self.note_payment(&answer);
                }
                Err(_) => self.promises.lock().unanswered += 1,
            }
        }
        Ok(id)
    }

    async fn create_and_void(&mut self, turn: u64) -> Result<()> {
        let id = self.create(turn).await?;
        let path = format!("/invoices/{id}/void");
        // Without a key: a repeat may find it void, or paid by a call that pays everything.
        let [client, _] = &self.clients;
        match client.post_empty(&path, &[]).await {
            Ok(answer) => self.note_answer(&path, &answer),
            Err(_) => self.promises.lock().unanswered += 1,
        }
        Ok(())
    }

    async fn pay_some(&mut self, turn: u64, mine: &[String]) -> Result<()> {
        let some: Vec<&String> = mine.iter().rev().take(SOME).collect();
        let body = json!({"ids": some});
        let answer = self
            .insist("/invoices/pay", &format!("some-{turn}"), Some(&body))
            .await?;
        self.note_batch(&answer);
        Ok(())
    }

    async fn pay_all(&mut self, turn: u64) -> Result<()> {
        let answer = self.insist("/invoices/pay", &format!("all-{turn}"), None).await?;
        self.note_batch(&answer);
        Ok(())
    }

    async fn import_and_pay_all(&mut self, turn: u64) -> Result<()> {
        let invoices = u32::try_from(1 + self.chaos.below(LARGEST_IMPORT))?;
        let lines = import_lines(&format!("{}-{turn}-", self.number), invoices, 0);
        let key = self.key(&format!("import-{turn}"));
        let headers = [
            ("content-type", "application/x-ndjson"),
            ("idempotency-key", &key),
        ];
        for attempt in 0..TRIES {
            let client = self.client(attempt);
            let answer = client.call(Method::POST, "/invoices/import", &headers, |request| {
                request.body(lines.clone())
            });
            if self.is_answered("/invoices/import", answer.await)?.is_some() {
                return self.pay_all(turn).await;
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(Error::new("an import was never answered"))
    }

    /// Creates an invoice in one of three currencies, with another count of decimals each.
    async fn create(&mut self, turn: u64) -> Result<String> {
        let minor = 1 + self.chaos.below(900_000);
        let (value, currency) = match self.chaos.below(5) {
            0 => (minor.to_string(), "JPY"),
            1 => (format!("{}.{:03}", minor / 1000, minor % 1000), "KWD"),
            _ => (format!("{}.{:02}", minor / 100, minor % 100), "EUR"),
        };
        let number = format!("{}-{turn}", self.number);
        let body = json!({"number": number, "amount": {"value": value, "currency": currency}});
        let answer = self
            .insist("/invoices", &format!("create-{turn}"), Some(&body))
            .await?;
        let id = answer.text("/id").to_owned();
        let Ok(invoice) = id.parse() else {
            return Err(Error::new(format!(
                "an invoice was not created: {}: {}",
                answer.status, answer.body
            )));
        };
        self.promises.lock().invoices.insert(invoice, SystemTime::now());
        Ok(id)
    }

    /// Makes a call, again and again with its key and by turns at both replicas, until it is answered for good.
    async fn insist(&self, path: &str, key: &str, body: Option<&Value>) -> Result<Answer> {
        let key = self.key(key);
        let headers = [("prefer", "respond-async"), ("idempotency-key", &key)];
        for attempt in 0..TRIES {
            let client = self.client(attempt);
            let answer = match body {
                Some(body) => client.post(path, &headers, body).await,
                None => client.post_empty(path, &headers).await,
            };
            if let Some(answer) = self.is_answered(path, answer)? {
                return Ok(answer);
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(Error::new(format!("{path} with key {key} was never answered")))
    }

    /// An answer for good; `None` when the call is to be repeated.
    fn is_answered(&self, path: &str, answer: Result<Answer>) -> Result<Option<Answer>> {
        let Ok(answer) = answer else {
            self.promises.lock().unanswered += 1;
            return Ok(None);
        };
        self.note_answer(path, &answer);
        match answer.status {
            429 | 503 => Ok(None),
            409 if answer.text("/type").ends_with("idempotency-key-in-use") => Ok(None),
            200 | 201 | 202 | 404 | 409 => Ok(Some(answer)),
            // It stays among the complaints; repeating would only add to them.
            other => Err(Error::new(format!(
                "{path} was answered {other}: {}",
                answer.body
            ))),
        }
    }

    fn note_answer(&self, path: &str, answer: &Answer) {
        let mut promises = self.promises.lock();
        *promises.answers.entry(answer.status).or_default() += 1;
        let named = path.split('/').nth(2).and_then(|id| id.parse().ok());
        if let (404, Some(id)) = (answer.status, named) {
            promises.unknown.insert(id);
        } else if !matches!(answer.status, 200 | 201 | 202 | 409 | 429 | 503) {
            let complaint = format!("{path} was answered {}: {}", answer.status, answer.body);
            promises.complaints.push(complaint);
        }
    }

    fn note_payment(&self, answer: &Answer) {
        if let (200 | 202, Ok(payment)) = (answer.status, answer.text("/id").parse()) {
            self.promises.lock().payments.insert(payment, SystemTime::now());
        }
    }

    fn note_batch(&self, answer: &Answer) {
        if let (200 | 202, Ok(batch)) = (answer.status, answer.text("/batch_id").parse()) {
            let requested = count(&answer.body, "/requested");
            let now = SystemTime::now();
            self.promises
                .lock()
                .batches
                .entry(batch)
                .or_insert((requested, now));
        }
    }

    fn key(&self, call: &str) -> String {
        format!("caller-{}-{call}", self.number)
    }

    fn client(&self, attempt: u32) -> &Client {
        let [first, second] = &self.clients;
        if self.number.is_multiple_of(2) == attempt.is_multiple_of(2) {
            first
        } else {
            second
        }
    }
}
