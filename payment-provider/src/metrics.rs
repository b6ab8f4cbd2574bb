//! Every metric of this service: its name, what it counts, and the one function that moves it.

use std::time::Duration;

use metrics::{Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use service::database::Connections;

use crate::store::OpenRows;

const REQUESTS: &str = "payment_provider_requests_total";
const CALLS: &str = "payment_provider_gateway_call_seconds";
const SETTLED: &str = "payment_provider_payments_settled_total";
const UNKNOWN: &str = "payment_provider_results_unknown_total";
const OUTCOMES: &str = "payment_provider_outcomes_published_total";
const CONFLICTS: &str = "payment_provider_conflicts_total";
const LEASES_LOST: &str = "payment_provider_leases_lost_total";
const OPERATOR: &str = "payment_provider_left_to_operator_total";
const DEAD_LETTERS: &str = "payment_provider_dead_letters_total";
const HELD: &str = "payment_provider_ledger_held";
const OPEN: &str = "payment_provider_ledger_open";
const OLDEST: &str = "payment_provider_ledger_oldest_open_seconds";
const DEAD_LETTERS_OPEN: &str = "payment_provider_dead_letters_open";
const AWAY: &str = "payment_provider_gateway_away";
const TURN_SECONDS: &str = "payment_provider_gateway_turn_seconds";
const CONNECTIONS: &str = "payment_provider_pool_connections";
const QUEUE: &str = "payment_provider_batcher_queue";

/// Describes them to the recorder, once at start.
pub fn describe() {
    describe_counter!(
        REQUESTS,
        "Pay requests by what they met: new, rejected, finished, leased, taken_over, bank_away, held, conflict"
    );
    describe_histogram!(
        CALLS,
        "Seconds a call of the bank took, by call (pay, find) and result"
    );
    describe_counter!(SETTLED, "Ledger rows finished, by status");
    describe_counter!(
        UNKNOWN,
        "Calls and look-ups after which the bank's result was still unknown"
    );
    describe_counter!(
        OUTCOMES,
        "Outcomes confirmed by the stream; a request that comes again counts again"
    );
    describe_counter!(
        CONFLICTS,
        "Requests or results that contradict the ledger: alert on any"
    );
    describe_counter!(LEASES_LOST, "Leases that were gone when they were to be renewed");
    describe_counter!(
        OPERATOR,
        "Looks at rows that only an operator can end: alert on any"
    );
    describe_counter!(DEAD_LETTERS, "Messages kept as dead letters");
    describe_gauge!(OPEN, "Ledger rows whose result is not known");
    describe_gauge!(
        HELD,
        "Ledger rows that wait for an operator to release or end them: alert on any"
    );
    describe_gauge!(
        OLDEST,
        "Age of the oldest open row in seconds; 0 without one: alert when it keeps growing"
    );
    describe_gauge!(AWAY, "1 while the bank does not answer, and payments wait for it");
    describe_gauge!(DEAD_LETTERS_OPEN, "Dead letters nobody has ended");
    describe_histogram!(
        TURN_SECONDS,
        "Seconds calls of the bank waited for their turn, of those that had to"
    );
    describe_gauge!(CONNECTIONS, "Connections to Postgres, by state: idle, used");
    describe_gauge!(QUEUE, "What waits to be done together with others, by batcher");
    init();
}

/// Shows everything from the start: a rate needs a first value, and who looks for a metric finds it.
fn init() {
    for name in [UNKNOWN, OUTCOMES, CONFLICTS, LEASES_LOST, OPERATOR, DEAD_LETTERS] {
        counter!(name).absolute(0);
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
    bank_away(false);
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

pub fn unknown() {
    counter!(UNKNOWN).increment(1);
}

pub fn outcomes(count: usize) {
    counter!(OUTCOMES).increment(count as u64);
}

pub fn conflict() {
    counter!(CONFLICTS).increment(1);
}

pub fn lease_lost() {
    counter!(LEASES_LOST).increment(1);
}

pub fn left_to_operator() {
    counter!(OPERATOR).increment(1);
}

pub fn dead_letters(count: usize) {
    counter!(DEAD_LETTERS).increment(count as u64);
}

/// The bank does not answer any more, or does again.
pub fn bank_away(away: bool) {
    gauge!(AWAY).set(f64::from(u8::from(away)));
}

pub fn waited_for_turn(waited: Duration) {
    histogram!(TURN_SECONDS).record(waited.as_secs_f64());
}

/// How many items wait in this batcher.
pub fn batcher_queue(batcher: &'static str) -> Gauge {
    gauge!(QUEUE, "batcher" => batcher)
}

/// The pool's connections.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats; pools this large do not occur"
)]
pub fn connections(connections: Connections) {
    gauge!(CONNECTIONS, "state" => "idle").set(connections.idle as f64);
    gauge!(CONNECTIONS, "state" => "used").set(connections.used as f64);
}

/// What is not finished, as the database says; unknown while it does not answer.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges; exact far beyond any count of rows"
)]
pub fn open_rows(rows: Option<OpenRows>) {
    let or_unknown = |value: Option<f64>| value.unwrap_or(f64::NAN);
    gauge!(OPEN).set(or_unknown(rows.map(|rows| rows.open as f64)));
    gauge!(OLDEST).set(or_unknown(rows.map(|rows| rows.oldest.as_secs_f64())));
    gauge!(HELD).set(or_unknown(rows.map(|rows| rows.held as f64)));
    gauge!(DEAD_LETTERS_OPEN).set(or_unknown(rows.map(|rows| rows.dead_letters as f64)));
}
