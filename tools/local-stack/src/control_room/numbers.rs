//! The one place that asks: twice a second, both services' counters, JetStream, and a few counts of both databases.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use local_stack::http_client;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::{
    Room,
    jetstream::{Queues, queues},
    lock, snapshot,
    work::Many,
};

const EVERY: Duration = Duration::from_millis(500);
/// Whoever does not answer by then is shown as away.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Rates are over this long.
const WINDOW: Duration = Duration::from_secs(2);
/// Of the sparkline: five minutes, a point a second.
const POINTS: usize = 300;

const UNPAID: &str = "select count(*) from unpaid_invoices";
const OPEN: &str = "select count(*) from payments where status = 'requested'";
const LEDGER_OPEN: &str = "select count(*) from ledger where status = 'started'";

/// What moves.
#[derive(Clone, Default, Serialize)]
pub(super) struct Numbers {
    requested_per_s: f64,
    charged_per_s: f64,
    settled_per_s: f64,
    queues: Option<Queues>,
    unpaid: Option<i64>,
    open: Option<i64>,
    ledger_open: Option<i64>,
    /// Settled in each of the last seconds.
    history: VecDeque<u32>,
}

/// Counters of the services, at one moment.
#[derive(Clone, Copy, Default)]
struct Counters {
    requested: f64,
    charged: f64,
    settled: f64,
}

pub(super) async fn keep_counting(room: Arc<Room>) {
    let Ok(http) = http_client(PATIENCE) else { return };
    let mut databases = Databases::default();
    let mut rates = Rates::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let app = format!("{}/metrics", room.stack.invoice_app().admin_url());
        let provider = format!("{}/metrics", room.stack.payment_provider().admin_url());
        let monitor = room.stack.nats().monitor_url();
        let (app, provider, queues, (), ()) = tokio::join!(
            text(&http, &app),
            text(&http, &provider),
            queues(&http, &monitor),
            databases.count(&room),
            follow_many(&room),
        );
        rates.add(Counters {
            requested: counter(&app, "invoice_app_payments_requested_total"),
            charged: counter(&provider, "payment_provider_payments_settled_total"),
            settled: counter(&app, "invoice_app_payments_settled_total"),
        });
        {
            let mut numbers = lock(&room.numbers);
            [
                numbers.requested_per_s,
                numbers.charged_per_s,
                numbers.settled_per_s,
            ] = rates.now();
            numbers.queues = queues.ok();
            numbers.unpaid = databases.unpaid;
            numbers.open = databases.open;
            numbers.ledger_open = databases.ledger_open;
            numbers.history.extend(rates.seconds());
            while numbers.history.len() > POINTS {
                numbers.history.pop_front();
            }
        }
        snapshot::publish(&room);
    }
}

async fn text(http: &reqwest::Client, url: &str) -> String {
    let Ok(answer) = http.get(url).send().await else {
        return String::new();
    };
    answer.text().await.unwrap_or_default()
}

/// The sum over all labels of a counter in Prometheus's text.
fn counter(metrics: &str, name: &str) -> f64 {
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// What counters did within the window. A process that starts again counts from zero.
#[derive(Default)]
struct Rates {
    steps: VecDeque<(Instant, Counters)>,
    last: Option<Counters>,
    second: Option<(Instant, f64)>,
    full: Vec<u32>,
}

impl Rates {
    fn add(&mut self, counters: Counters) {
        let now = Instant::now();
        // A service that did not answer says nothing, and is not taken to have begun again.
        let last = self.last.unwrap_or(counters);
        let step = |new: f64, old: f64| {
            if new == 0.0 {
                (0.0, old)
            } else if new < old {
                (new, new)
            } else {
                (new - old, new)
            }
        };
        let (requested, last_requested) = step(counters.requested, last.requested);
        let (charged, last_charged) = step(counters.charged, last.charged);
        let (settled, last_settled) = step(counters.settled, last.settled);
        self.last = Some(Counters {
            requested: last_requested,
            charged: last_charged,
            settled: last_settled,
        });
        let done = Counters {
            requested,
            charged,
            settled,
        };
        self.steps.push_back((now, done));
        while self.steps.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.steps.pop_front();
        }
        let (since, sum) = self.second.get_or_insert((now, 0.0));
        *sum += settled;
        if now - *since >= Duration::from_secs(1) {
            self.full.push(whole(*sum));
            self.second = None;
        }
    }

    fn now(&self) -> [f64; 3] {
        let per_second = |of: fn(&Counters) -> f64| {
            let sum: f64 = self.steps.iter().map(|(_, step)| of(step)).sum();
            (sum / WINDOW.as_secs_f64() * 10.0).round() / 10.0
        };
        [
            per_second(|step| step.requested),
            per_second(|step| step.charged),
            per_second(|step| step.settled),
        ]
    }

    /// Seconds that have become full since the last call.
    fn seconds(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.full)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of one second"
)]
fn whole(count: f64) -> u32 {
    count as u32
}

/// A connection to each, made anew when it has failed or did not answer.
#[derive(Default)]
struct Databases {
    invoices: Option<PgConnection>,
    payments: Option<PgConnection>,
    unpaid: Option<i64>,
    open: Option<i64>,
    ledger_open: Option<i64>,
}

impl Databases {
    async fn count(&mut self, room: &Room) {
        let (invoices, payments) = (
            room.stack.invoice_database_url(),
            room.stack.payment_database_url(),
        );
        let of_app = async {
            // One after the other, on one connection.
            let unpaid = count(&mut self.invoices, &invoices, UNPAID).await;
            (unpaid, count(&mut self.invoices, &invoices, OPEN).await)
        };
        let of_provider = count(&mut self.payments, &payments, LEDGER_OPEN);
        let ((unpaid, open), ledger_open) = tokio::join!(of_app, of_provider);
        (self.unpaid, self.open, self.ledger_open) = (unpaid, open, ledger_open);
    }
}

async fn count(connection: &mut Option<PgConnection>, url: &str, statement: &'static str) -> Option<i64> {
    let taken = connection.take();
    let counted = tokio::time::timeout(PATIENCE, async {
        let mut open = match taken {
            Some(open) => open,
            None => PgConnection::connect(url).await?,
        };
        let counted: i64 = sqlx::query_scalar(statement).fetch_one(&mut open).await?;
        Ok::<_, sqlx::Error>((open, counted))
    });
    let (open, counted) = counted.await.ok()?.ok()?;
    *connection = Some(open);
    Some(counted)
}

/// How far the large call is.
async fn follow_many(room: &Room) {
    let Some(Many {
        batch: Some(batch),
        requested,
        done,
        ..
    }) = room.work.many()
    else {
        return;
    };
    if done >= requested {
        return;
    }
    let path = format!("/payment-batches/{batch}");
    let asked = tokio::time::timeout(PATIENCE, room.client.get(&path)).await;
    let Ok(Ok(answer)) = asked else { return };
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let done = count("paid") + count("declined");
    room.work.set_many(Some(Many {
        batch: Some(batch),
        doing: if done < requested { "paying" } else { "paid" },
        requested,
        done,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(settled: f64) -> Counters {
        Counters {
            settled,
            ..Counters::default()
        }
    }

    #[test]
    fn a_counter_is_the_sum_over_its_labels_and_no_other() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 7\n";
        assert!((counter(text, "a_total") - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_process_that_starts_again_or_does_not_answer_takes_nothing_away() {
        let mut rates = Rates::default();
        for count in [100.0, 110.0, 0.0, 0.0, 112.0, 4.0, 5.0] {
            rates.add(settled(count));
        }
        // 10 + 2, then 4 + 1 from zero, over two seconds.
        assert!((rates.now()[2] - 8.5).abs() < f64::EPSILON, "{:?}", rates.now());
    }
}
