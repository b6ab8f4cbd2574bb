//! The one place that asks: twice a second, both services' counters, JetStream, and a few counts of both databases.

use std::{sync::Arc, time::Duration};

use local_stack::http_client;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::{
    Room,
    jetstream::queues,
    lock,
    numbers::{Counters, Rates},
    snapshot,
    work::Many,
};

const EVERY: Duration = Duration::from_millis(500);
/// Whoever does not answer by then is shown as away.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Of the sparkline: five minutes, a point a second.
const POINTS: usize = 300;

const UNPAID: &str = "select count(*) from unpaid_invoices";
const OPEN: &str = "select count(*) from payments where status = 'requested'";
const LEDGER_OPEN: &str = "select count(*) from ledger where status = 'started'";

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

    #[test]
    fn a_counter_is_the_sum_over_its_labels_and_no_other() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 7\n";
        assert!((counter(text, "a_total") - 5.0).abs() < f64::EPSILON);
    }
}
