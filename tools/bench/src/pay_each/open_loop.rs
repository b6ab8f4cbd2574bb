//! Requests that arrive at a constant rate whether or not earlier ones were answered, as they would from many people. Each is
//! timed from when it was due, so a stall counts for everybody who would have come meanwhile.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::wire::Wires;
use acceptance::{Result, client::text};

/// How often the backlog is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// Everything is answered within the wait that the calls ask for, and some overhead.
const DRAIN_LIMIT: Duration = Duration::from_mins(1);
/// With so many calls open the rate is too high, and more of them would only measure how connections are refused.
const HOPELESS: usize = 3000;
/// As long as a caller may wait: the answer then tells how the payment ended.
const PATIENT: &str = "prefer: wait=30\r\n";

/// What came of a load.
#[derive(Debug, Default)]
pub struct Measured {
    /// From being due to being settled, sorted.
    pub latencies: Vec<Duration>,
    /// Payments that succeeded.
    pub succeeded: u64,
    /// Payments that the bank declined.
    pub declined: u64,
    /// Everything else, by what it was.
    pub failed: BTreeMap<String, u64>,
    /// How many requests were open while they kept coming.
    pub backlog: Vec<usize>,
    /// The latest that a request was sent after it was due.
    pub late: Duration,
}

/// How one request ended.
enum End {
    Settled { latency: Duration, declined: bool },
    Failed(String),
}

#[derive(Default)]
struct Shared {
    open: AtomicUsize,
    ends: Mutex<Vec<End>>,
}

/// Pays each of `ids`, `rate` a second, until `enough` is cancelled, and waits until all are answered.
pub async fn run(
    wires: &Arc<Wires>,
    ids: Vec<String>,
    rate: f64,
    enough: &CancellationToken,
) -> Result<Measured> {
    let shared = Arc::new(Shared::default());
    let (runtime, wires, common) = (Handle::current(), Arc::clone(wires), Arc::clone(&shared));
    let (wanted, told) = (ids.len(), enough.clone());
    // On a thread of its own: the runtime's timers are a millisecond wide, and so are the latencies to be measured.
    let sent = tokio::task::spawn_blocking(move || send(&runtime, &wires, &common, ids, rate, &told));
    let (mut calls, backlog, late, unsent) = sent.await?;
    let sent = wanted - unsent;
    let drained = tokio::time::timeout(DRAIN_LIMIT, async { while calls.join_next().await.is_some() {} });
    let _ = drained.await;
    calls.shutdown().await;
    let ends = std::mem::take(&mut *shared.ends.lock().unwrap_or_else(PoisonError::into_inner));
    let unanswered = sent - ends.len();
    let too_many = if enough.is_cancelled() { 0 } else { unsent };
    let mut load = Measured {
        backlog,
        late,
        ..Measured::from_iter(ends)
    };
    for (why, calls) in [
        ("not answered", unanswered),
        ("not sent, so many were open", too_many),
    ] {
        if calls > 0 {
            load.failed.insert(why.to_owned(), calls.try_into()?);
        }
    }
    Ok(load)
}

fn send(
    runtime: &Handle,
    wires: &Arc<Wires>,
    shared: &Arc<Shared>,
    ids: Vec<String>,
    rate: f64,
    enough: &CancellationToken,
) -> (JoinSet<()>, Vec<usize>, Duration, usize) {
    let (mut calls, mut backlog, mut late) = (JoinSet::new(), Vec::new(), Duration::ZERO);
    let interval = Duration::from_secs_f64(1.0 / rate);
    let began = Instant::now();
    let (mut due, mut sample) = (began, began + SAMPLE_EVERY);
    let mut ids = ids.into_iter();
    while !enough.is_cancelled()
        && shared.open.load(Ordering::Relaxed) < HOPELESS
        && let Some(id) = ids.next()
    {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        late = late.max(due.elapsed());
        shared.open.fetch_add(1, Ordering::Relaxed);
        calls.spawn_on(pay(Arc::clone(wires), Arc::clone(shared), id, due), runtime);
        while sample <= due {
            backlog.push(shared.open.load(Ordering::Relaxed));
            sample += SAMPLE_EVERY;
        }
        due += interval;
    }
    (calls, backlog, late, ids.len())
}

async fn pay(wires: Arc<Wires>, shared: Arc<Shared>, id: String, due: Instant) {
    let end = match wires.post(&format!("/invoices/{id}/pay"), PATIENT).await {
        Err(error) => End::Failed(error.to_string()),
        Ok(answer) => {
            let latency = due.elapsed();
            let payment: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            match (answer.status, text(&payment, "/status")) {
                (200, "succeeded") => End::Settled {
                    latency,
                    declined: false,
                },
                (200, "declined") => End::Settled {
                    latency,
                    declined: true,
                },
                (status, payment) => End::Failed(format!("{status} {payment}").trim_end().to_owned()),
            }
        }
    };
    shared.open.fetch_sub(1, Ordering::Relaxed);
    shared
        .ends
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(end);
}

impl FromIterator<End> for Measured {
    fn from_iter<I: IntoIterator<Item = End>>(ends: I) -> Self {
        let mut load = Self::default();
        for end in ends {
            match end {
                End::Settled { latency, declined } => {
                    load.latencies.push(latency);
                    load.declined += u64::from(declined);
                    load.succeeded += u64::from(!declined);
                }
                End::Failed(why) => *load.failed.entry(why).or_default() += 1,
            }
        }
        load.latencies.sort_unstable();
        load
    }
}
