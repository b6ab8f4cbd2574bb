//! Callers who create invoices and pay them without a pause, and remember every answer: none may fail while the system is
//! restarted, upgraded or losing servers.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::{Client, Error, Result, client::Headers, client::text, eventually};

/// Callers at work. Dropping them ends them.
#[derive(Debug)]
pub struct Callers {
    rotation: watch::Sender<Vec<Client>>,
    stop: watch::Sender<bool>,
    tallies: watch::Receiver<Tally>,
    tasks: JoinSet<()>,
}

/// What came of the calls so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers by call and status.
    pub answers: BTreeMap<(&'static str, u16), u64>,
    /// Calls without an answer, or refused without a problem document.
    pub unanswered: Vec<String>,
    /// Invoices whose pay call was answered 200 or 202.
    pub accepted: Vec<String>,
    /// The longest that any call took.
    pub slowest: Duration,
}

/// Thousands would hide the first.
const SHOWN: usize = 20;
/// Between two invoices of one caller: enough to leave the processes some of a small machine.
const PAUSE: Duration = Duration::from_millis(2);

impl Callers {
    /// So many callers of these replicas, which they take in turn. `prefer` is the pay calls' header.
    pub fn start(count: usize, replicas: Vec<Client>, prefer: Headers<'static>) -> Self {
        let (rotation, _) = watch::channel(replicas);
        let (stop, _) = watch::channel(false);
        let (tally, tallies) = watch::channel(Tally::default());
        let tally = Arc::new(tally);
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let caller = Caller {
                rotation: rotation.subscribe(),
                tally: Arc::clone(&tally),
                prefer,
                turn: number,
            };
            tasks.spawn(caller.run(stop.subscribe()));
        }
        Self {
            rotation,
            stop,
            tallies,
            tasks,
        }
    }

    /// From now on calls go to these; those under way end where they began.
    pub fn call_only(&self, replicas: Vec<Client>) {
        self.rotation.send_replace(replicas);
    }

    /// What came of the calls so far.
    pub fn tally(&self) -> Tally {
        self.tallies.borrow().clone()
    }

    /// Waits until `n` further invoices were accepted for payment.
    pub async fn accepted(&self, n: usize) -> Result<()> {
        let before = self.tallies.borrow().accepted.len();
        eventually(&format!("{n} more pay calls are accepted"), || async {
            Ok(self.tallies.borrow().accepted.len() >= before + n)
        })
        .await
    }

    /// Lets each finish its call; what came of all.
    pub async fn stop(mut self) -> Result<Tally> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| Error::new(format!("a caller failed: {error}")))?;
        }
        let tally = self.tally();
        eprintln!("callers: {tally}");
        Ok(tally)
    }
}

impl Tally {
    /// How many calls were answered with this status.
    pub fn count(&self, status: u16) -> u64 {
        let of_status = self.answers.iter().filter(|((_, answer), _)| *answer == status);
        of_status.map(|(_, count)| count).sum()
    }

    /// Fails unless every call was answered, with one of these.
    pub fn expect_only(&self, statuses: &[u16]) -> Result<()> {
        let as_expected = self.answers.keys().all(|(_, status)| statuses.contains(status));
        if as_expected && self.unanswered.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = self.unanswered.iter().take(SHOWN).map(String::as_str).collect();
        Err(Error::new(format!(
            "only {statuses:?} were expected: {self}\n{}",
            shown.join("\n")
        )))
    }

    /// Fails unless every invoice was created and accepted for payment.
    pub fn expect_all_accepted(&self) -> Result<()> {
        self.expect_only(&[200, 201, 202])
    }

    fn note(&mut self, call: &'static str, answer: &Result<crate::Answer>, took: Duration) {
        self.slowest = self.slowest.max(took);
        match answer {
            Ok(answer) if answer.status < 400 || answer.is_problem(answer.status) => {
                *self.answers.entry((call, answer.status)).or_default() += 1;
            }
            Ok(answer) => self
                .unanswered
                .push(format!("{call}: {} in no words", answer.status)),
            Err(error) => self.unanswered.push(format!("{call}: {error}")),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((call, status), count) in &self.answers {
            write!(f, "{call} {status}: {count}, ")?;
        }
        write!(
            f,
            "unanswered: {}, slowest: {} ms",
            self.unanswered.len(),
            self.slowest.as_millis()
        )
    }
}

struct Caller {
    rotation: watch::Receiver<Vec<Client>>,
    tally: Arc<watch::Sender<Tally>>,
    prefer: Headers<'static>,
    turn: usize,
}

impl Caller {
    async fn run(mut self, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            self.create_and_pay().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn create_and_pay(&mut self) {
        let body = json!({"amount": {"value": "12.15", "currency": "EUR"}});
        let Some(id) = self.created(&body).await else {
            return;
        };
        let Some(client) = self.next() else { return };
        let start = Instant::now();
        let answer = client.pay(&id, self.prefer).await;
        self.tally.send_modify(|tally| {
            tally.note("pay", &answer, start.elapsed());
            if answer.is_ok_and(|answer| matches!(answer.status, 200 | 202)) {
                tally.accepted.push(id);
            }
        });
    }

    async fn created(&mut self, body: &serde_json::Value) -> Option<String> {
        let client = self.next()?;
        let start = Instant::now();
        let answer = client.post("/invoices", &[], body).await;
        self.tally
            .send_modify(|tally| tally.note("create", &answer, start.elapsed()));
        answer
            .ok()
            .filter(|answer| answer.status == 201)
            .map(|answer| text(&answer.body, "/id").to_owned())
    }

    fn next(&mut self) -> Option<Client> {
        self.turn = self.turn.wrapping_add(1);
        let rotation = self.rotation.borrow();
        rotation.get(self.turn % rotation.len().max(1)).cloned()
    }
}
