//! Every metric of this service, with its meaning.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
    time::Duration,
};

use metrics::{Gauge, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use payment_contract::messages::{OutcomeStatus, PaymentOutcomeV1};
use service::{database::Connections, lock};

use crate::{
    payment::OutcomeEffect,
    store::{payments::Open, settling::Found},
};

const REQUEST_SECONDS: &str = "http_server_request_duration_seconds";
const TURN_SECONDS: &str = "invoice_app_call_turn_seconds";
const ACCEPT_SECONDS: &str = "invoice_app_payment_accept_seconds";
const SETTLE_SECONDS: &str = "invoice_app_payment_settle_seconds";
const SENDS: &str = "invoice_app_payment_sends";
const CREATED: &str = "invoice_app_invoices_created_total";
const REQUESTED: &str = "invoice_app_payments_requested_total";
const SENT: &str = "invoice_app_pay_requests_sent_total";
const CLAIMED: &str = "invoice_app_pay_requests_claimed_total";
const OVERFLOW: &str = "invoice_app_sender_overflow_total";
const SETTLED: &str = "invoice_app_payments_settled_total";
const REPEATED: &str = "invoice_app_outcomes_repeated_total";
const CONFLICTS: &str = "invoice_app_outcome_conflicts_total";
const DEAD: &str = "invoice_app_dead_letters_total";
const DEAD_OPEN: &str = "invoice_app_dead_letters_open";
const FORGOT: &str = "invoice_app_nats_forgot_total";
const OPEN: &str = "invoice_app_payments_open";
const OLDEST: &str = "invoice_app_payments_open_oldest_seconds";
const LISTENERS: &str = "invoice_app_event_listeners";
const RELOAD_FAILED: &str = "invoice_app_tokens_reload_failed";
const CONNECTIONS: &str = "invoice_app_pool_connections";
const QUEUE: &str = "invoice_app_batcher_queue";

/// A bank may have any number of reasons, and an operator writes what he likes: of those that are words, the first so many get a series of
/// their own, and all others share one.
const REASONS: usize = 20;

/// Values of `call`.
const ONE: &str = "one";
const MANY: &str = "many";
/// The reason of payments that have none.
const NO_REASON: &str = "none";

/// Tells the recorder what the metrics mean.
pub fn describe() {
    describe_histogram!(
        REQUEST_SECONDS,
        "Seconds a request took, waiting for outcomes included, by method, route and status."
    );
    describe_histogram!(
        TURN_SECONDS,
        "Seconds requests waited for their turn, of those that had to."
    );
    describe_histogram!(
        ACCEPT_SECONDS,
        "Seconds until a call's payments were committed, by how many it was for: one, many."
    );
    describe_histogram!(
        SETTLE_SECONDS,
        "Seconds from a payment's request until its outcome was committed, by outcome, and by how many its call was for."
    );
    describe_histogram!(
        SENDS,
        "How often a payment's request was sent until it was settled."
    );
    describe_counter!(CREATED, "Invoices created, imported ones included.");
    describe_counter!(REQUESTED, "Payments requested.");
    describe_counter!(SENT, "Pay requests handed to NATS, repeats included.");
    describe_counter!(
        CLAIMED,
        "Pay requests taken by the sweep: sent again, or not sent at first."
    );
    describe_counter!(
        OVERFLOW,
        "Calls whose requests were left to the sweep because the sender was behind."
    );
    describe_counter!(SETTLED, "Payments settled, by outcome and reason.");
    describe_counter!(REPEATED, "Outcomes that said what was known.");
    describe_counter!(
        CONFLICTS,
        "Outcomes that contradict what is known. Any at all needs an operator."
    );
    describe_counter!(DEAD, "Messages put among the dead letters.");
    describe_gauge!(DEAD_OPEN, "Dead letters nobody has ended.");
    describe_counter!(
        FORGOT,
        "Times NATS was found to have forgotten a stream or durable."
    );
    describe_gauge!(OPEN, "Payments without an outcome.");
    describe_gauge!(OLDEST, "Age of the oldest payment without an outcome.");
    describe_gauge!(LISTENERS, "Streams of events that are open.");
    describe_gauge!(
        RELOAD_FAILED,
        "1 while the tokens file cannot be used and the former tokens stay in force."
    );
    describe_gauge!(CONNECTIONS, "Connections to Postgres, by state: idle, used.");
    describe_gauge!(QUEUE, "What waits to be done together with others, by batcher.");
    init();
}

/// Shows everything from the start: a rate needs a first value, and who looks for a metric finds it.
fn init() {
    for outcome in [OutcomeStatus::Succeeded, OutcomeStatus::Declined] {
        counter!(SETTLED, "outcome" => outcome.as_str(), "reason" => NO_REASON).absolute(0);
        for call in [ONE, MANY] {
            let _ = histogram!(SETTLE_SECONDS, "outcome" => outcome.as_str(), "call" => call);
        }
    }
    for call in [ONE, MANY] {
        let _ = histogram!(ACCEPT_SECONDS, "call" => call);
    }
    let _ = histogram!(TURN_SECONDS);
    let _ = histogram!(SENDS);
    for name in [
        CREATED, REQUESTED, SENT, CLAIMED, OVERFLOW, REPEATED, CONFLICTS, DEAD, FORGOT,
    ] {
        counter!(name).absolute(0);
    }
    gauge!(RELOAD_FAILED).set(0.0);
    gauge!(LISTENERS).set(0.0);
}

pub(crate) fn request(method: &'static str, route: String, status: u16, took: Duration) {
    histogram!(REQUEST_SECONDS, "http_request_method" => method, "http_route" => route,
        "http_response_status_code" => status.to_string())
    .record(took.as_secs_f64());
}

pub(crate) fn waited_for_turn(waited: Duration) {
    histogram!(TURN_SECONDS).record(waited.as_secs_f64());
}

/// A call for one payment has it committed.
pub(crate) fn accepted_one(took: Duration) {
    histogram!(ACCEPT_SECONDS, "call" => ONE).record(took.as_secs_f64());
}

/// A call for many payments has them committed.
pub(crate) fn accepted_many(took: Duration) {
    histogram!(ACCEPT_SECONDS, "call" => MANY).record(took.as_secs_f64());
}

pub(crate) fn created(invoices: i64) {
    counter!(CREATED).increment(invoices.unsigned_abs());
}

pub(crate) fn requested(payments: i64) {
    counter!(REQUESTED).increment(payments.unsigned_abs());
}

pub(crate) fn requests_sent(count: usize) {
    counter!(SENT).increment(count as u64);
}

pub(crate) fn requests_claimed(count: usize) {
    counter!(CLAIMED).increment(count as u64);
}

pub(crate) fn sender_overflow() {
    counter!(OVERFLOW).increment(1);
}

/// An outcome changed nothing.
pub(crate) fn not_applied(effect: OutcomeEffect) {
    match effect {
        OutcomeEffect::Applied | OutcomeEffect::Held => {}
        OutcomeEffect::AlreadyApplied => counter!(REPEATED).increment(1),
        OutcomeEffect::Conflict(_) => counter!(CONFLICTS).increment(1),
    }
}

/// Payments were settled together: each metric is looked up once for all that share its labels.
pub(crate) fn applied(settled: &[(&PaymentOutcomeV1, &Found)]) {
    let mut counts: HashMap<(OutcomeStatus, &str), u64> = HashMap::new();
    let mut seconds: HashMap<(OutcomeStatus, &str), Vec<f64>> = HashMap::new();
    let sends = histogram!(SENDS);
    for (outcome, found) in settled {
        let reason = outcome.reason.as_deref().unwrap_or(NO_REASON);
        *counts.entry((outcome.status, reason)).or_default() += 1;
        let call = if found.batch_id.is_some() { MANY } else { ONE };
        let settle_s = seconds.entry((outcome.status, call)).or_default();
        settle_s.extend(found.settle_s);
        sends.record(f64::from(found.sends));
    }
    for ((outcome, reason), count) in counts {
        counter!(SETTLED, "outcome" => outcome.as_str(), "reason" => bounded(reason)).increment(count);
    }
    for ((outcome, call), settle_s) in seconds {
        let histogram = histogram!(SETTLE_SECONDS, "outcome" => outcome.as_str(), "call" => call);
        for seconds in settle_s {
            histogram.record(seconds);
        }
    }
}

/// The reason as a label.
fn bounded(reason: &str) -> String {
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    label(&mut lock(&KNOWN), reason)
}

fn label(known: &mut BTreeSet<String>, reason: &str) -> String {
    let is_word = reason.len() <= 40
        && reason
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if reason == NO_REASON || (is_word && (known.contains(reason) || known.len() < REASONS)) {
        known.insert(reason.to_owned());
        reason.to_owned()
    } else {
        "other".to_owned()
    }
}

pub(crate) fn listener_came() {
    gauge!(LISTENERS).increment(1.0);
}

pub(crate) fn listener_left() {
    gauge!(LISTENERS).decrement(1.0);
}

pub(crate) fn dead_letters(count: usize) {
    counter!(DEAD).increment(count as u64);
}

pub(crate) fn nats_forgot() {
    counter!(FORGOT).increment(1);
}

pub(crate) fn tokens_reload_failed(failed: bool) {
    gauge!(RELOAD_FAILED).set(if failed { 1.0 } else { 0.0 });
}

/// How many calls, outcomes or the like wait in this batcher.
pub(crate) fn batcher_queue(batcher: &'static str) -> Gauge {
    gauge!(QUEUE, "batcher" => batcher)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats; pools this large do not occur"
)]
pub(crate) fn connections(connections: Connections) {
    gauge!(CONNECTIONS, "state" => "idle").set(connections.idle as f64);
    gauge!(CONNECTIONS, "state" => "used").set(connections.used as f64);
}

/// What is open, as the database says; unknown while it does not answer.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats; counts this large do not occur"
)]
pub(crate) fn open(open: Option<Open>) {
    let or_unknown = |value: Option<f64>| value.unwrap_or(f64::NAN);
    gauge!(OPEN).set(or_unknown(open.map(|open| open.count as f64)));
    gauge!(OLDEST).set(or_unknown(open.map(|open| open.oldest_s)));
    gauge!(DEAD_OPEN).set(or_unknown(open.map(|open| open.dead_letters as f64)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_reasons_get_a_series() {
        let mut known = BTreeSet::new();
        assert_eq!(label(&mut known, "insufficient_funds"), "insufficient_funds");
        for text in ["paid as 7, says Ann", "Declined", &"x".repeat(41)] {
            assert_eq!(label(&mut known, text), "other");
        }
        for number in 0..REASONS * 2 {
            label(&mut known, &format!("reason_{number}"));
        }
        assert_eq!(label(&mut known, "one_more"), "other");
        assert_eq!(label(&mut known, "insufficient_funds"), "insufficient_funds");
        assert_eq!(label(&mut known, NO_REASON), NO_REASON);
    }
}
