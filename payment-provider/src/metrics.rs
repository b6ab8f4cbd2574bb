//! Every metric of this service, with its meaning.

use std::time::Duration;

use jetstream::declare_metrics;
use metrics::{counter, gauge, histogram};

use crate::store::OpenRows;

declare_metrics! {
    /// Pay requests by what they met: new, rejected, finished, leased, taken_over, bank_away, held, conflict
    REQUESTS: Counter = "payment_provider_requests_total";
    /// Seconds a call of the bank took, by call (pay, find) and result
    CALLS: Histogram = "payment_provider_gateway_call_seconds";
    /// Ledger rows finished, by status
    SETTLED: Counter = "payment_provider_payments_settled_total";
    /// Calls and look-ups after which the bank's result was still unknown
    UNKNOWN: Counter = "payment_provider_results_unknown_total";
    /// Outcomes confirmed by the stream; a request that comes again counts again
    OUTCOMES: Counter = "payment_provider_outcomes_published_total";
    /// Requests or results that contradict the ledger: alert on any
    CONFLICTS: Counter = "payment_provider_conflicts_total";
    /// Leases that were gone when they were to be renewed
    LEASES_LOST: Counter = "payment_provider_leases_lost_total";
    /// Looks at rows that only an operator can end: alert on any
    LEFT_TO_OPERATOR: Counter = "payment_provider_left_to_operator_total";
    /// Messages kept as dead letters
    DEAD_LETTERS: Counter = "payment_provider_dead_letters_total";
    /// Ledger rows whose result is not known
    OPEN: Gauge = "payment_provider_ledger_open";
    /// Ledger rows that wait for an operator to release or end them: alert on any
    HELD: Gauge = "payment_provider_ledger_held";
    /// Age of the oldest open row in seconds; 0 without one: alert when it keeps growing
    OLDEST: Gauge = "payment_provider_ledger_oldest_open_seconds";
    /// 1 while the bank does not answer, and payments wait for it
    BANK_AWAY: Gauge = "payment_provider_gateway_away";
    /// Dead letters nobody has ended
    DEAD_LETTERS_OPEN: Gauge = "payment_provider_dead_letters_open";
    /// Seconds calls of the bank waited for their turn, of those that had to
    TURN_SECONDS: Histogram = "payment_provider_gateway_turn_seconds";
    /// Connections to Postgres, by state: idle, used
    CONNECTIONS: Gauge = "payment_provider_pool_connections";
    /// What waits to be done together with others, by batcher
    QUEUE: Gauge = "payment_provider_batcher_queue";
}

/// Tells the recorder what the metrics mean, and shows everything from the start: a rate needs a first value, and who looks for a
/// metric finds it.
pub fn describe() {
    describe_all();
    for metric in [
        UNKNOWN,
        OUTCOMES,
        CONFLICTS,
        LEASES_LOST,
        LEFT_TO_OPERATOR,
        DEAD_LETTERS,
    ] {
        metric.add(0);
    }
    for met in [
        "new",
        "rejected",
        "finished",
        "leased",
        "taken_over",
        "bank_away",
        "held",
        "conflict",
    ] {
        counter!(REQUESTS, "met" => met).absolute(0);
    }
    for status in ["succeeded", "declined"] {
        counter!(SETTLED, "status" => status).absolute(0);
    }
    for call in ["pay", "find"] {
        for result in ["answered", "retryable", "unknown", "busy"] {
            let _ = histogram!(CALLS, "call" => call, "result" => result);
        }
    }
    let _ = histogram!(TURN_SECONDS);
    BANK_AWAY.set(false);
}

pub fn requests(met: &'static str, count: usize) {
    counter!(REQUESTS, "met" => met).increment(count as u64);
}

pub fn gateway_call(call: &'static str, result: &'static str, took: Duration) {
    histogram!(CALLS, "call" => call, "result" => result).record(took.as_secs_f64());
}

pub fn settled(status: &'static str) {
    counter!(SETTLED, "status" => status).increment(1);
}

/// How many items wait in this batcher.
pub fn batcher_queue(batcher: &'static str) -> metrics::Gauge {
    gauge!(QUEUE, "batcher" => batcher)
}

/// What is not finished, as the database says; unknown while it does not answer.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges; exact far beyond any count of rows"
)]
pub fn open_rows(rows: Option<OpenRows>) {
    let or_unknown = |value: Option<f64>| value.unwrap_or(f64::NAN);
    OPEN.set(or_unknown(rows.map(|rows| rows.open as f64)));
    OLDEST.set(or_unknown(rows.map(|rows| rows.oldest.as_secs_f64())));
    HELD.set(or_unknown(rows.map(|rows| rows.held as f64)));
    DEAD_LETTERS_OPEN.set(or_unknown(rows.map(|rows| rows.dead_letters as f64)));
}
