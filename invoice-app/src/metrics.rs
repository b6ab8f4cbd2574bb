//! Every metric of this service, with its meaning.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
    time::Duration,
};

use jetstream::declare_metrics;
use metrics::{counter, gauge, histogram};
use payment_contract::messages::{OutcomeStatus, PaymentOutcomeV1};
use service::lock;

use crate::{
    payment::OutcomeEffect,
    store::{payments::Open, settling::Found},
};

declare_metrics! {
    /// Seconds a request took, waiting for outcomes included, by method, route and status.
    REQUEST_SECONDS: Histogram = "http_server_request_duration_seconds";
    /// Seconds requests waited for their turn, of those that had to.
    TURN_SECONDS: Histogram = "invoice_app_call_turn_seconds";
    /// Seconds until a call's payments were committed, by how many it was for: one, many.
    ACCEPT_SECONDS: Histogram = "invoice_app_payment_accept_seconds";
    /// Seconds from a payment's request until its outcome was committed, by outcome, and by how many its call was for.
    SETTLE_SECONDS: Histogram = "invoice_app_payment_settle_seconds";
    /// How often a payment's request was sent until it was settled.
    SENDS: Histogram = "invoice_app_payment_sends";
    /// Invoices created, imported ones included.
    CREATED: Counter = "invoice_app_invoices_created_total";
    /// Payments requested.
    REQUESTED: Counter = "invoice_app_payments_requested_total";
    /// Pay requests handed to NATS, repeats included.
    SENT: Counter = "invoice_app_pay_requests_sent_total";
    /// Pay requests taken by the sweep: sent again, or not sent at first.
    CLAIMED: Counter = "invoice_app_pay_requests_claimed_total";
    /// Calls whose requests were left to the sweep because the sender was behind.
    OVERFLOW: Counter = "invoice_app_sender_overflow_total";
    /// Payments settled, by outcome and reason.
    SETTLED: Counter = "invoice_app_payments_settled_total";
    /// Outcomes that said what was known.
    REPEATED: Counter = "invoice_app_outcomes_repeated_total";
    /// Outcomes that contradict what is known. Any at all needs an operator.
    CONFLICTS: Counter = "invoice_app_outcome_conflicts_total";
    /// Messages put among the dead letters.
    DEAD_LETTERS: Counter = "invoice_app_dead_letters_total";
    /// Dead letters nobody has ended.
    DEAD_LETTERS_OPEN: Gauge = "invoice_app_dead_letters_open";
    /// Times NATS was found to have forgotten a stream or durable.
    FORGOT: Counter = "invoice_app_nats_forgot_total";
    /// Payments without an outcome.
    OPEN: Gauge = "invoice_app_payments_open";
    /// Age of the oldest payment without an outcome.
    OLDEST: Gauge = "invoice_app_payments_open_oldest_seconds";
    /// Streams of events that are open.
    LISTENERS: Gauge = "invoice_app_event_listeners";
    /// 1 while the tokens file cannot be used and the former tokens stay in force.
    RELOAD_FAILED: Gauge = "invoice_app_tokens_reload_failed";
    /// Connections to Postgres, by state: idle, used.
    CONNECTIONS: Gauge = "invoice_app_pool_connections";
    /// What waits to be done together with others, by batcher.
    QUEUE: Gauge = "invoice_app_batcher_queue";
}

/// A bank may have any number of reasons, and an operator writes what he likes: of those that are words, the first so many get a series of
/// their own, and all others share one.
const REASONS: usize = 20;

/// Values of `call`.
pub(crate) const ONE: &str = "one";
pub(crate) const MANY: &str = "many";
/// The reason of payments that have none.
const NO_REASON: &str = "none";

/// Tells the recorder what the metrics mean, and shows everything from the start: a rate needs a first value, and who looks for a
/// metric finds it.
pub fn describe() {
    describe_all();
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
    for metric in [
        CREATED,
        REQUESTED,
        SENT,
        CLAIMED,
        OVERFLOW,
        REPEATED,
        CONFLICTS,
        DEAD_LETTERS,
        FORGOT,
    ] {
        metric.add(0);
    }
    RELOAD_FAILED.set(false);
    LISTENERS.set(0);
}

pub(crate) fn request(method: &'static str, route: String, status: u16, took: Duration) {
    histogram!(REQUEST_SECONDS, "http_request_method" => method, "http_route" => route,
        "http_response_status_code" => status.to_string())
    .record(took.as_secs_f64());
}

/// A call, for `ONE` payment or `MANY`, has them committed.
pub(crate) fn accepted(call: &'static str, took: Duration) {
    histogram!(ACCEPT_SECONDS, "call" => call).record(took.as_secs_f64());
}

/// An outcome changed nothing.
pub(crate) fn not_applied(effect: OutcomeEffect) {
    match effect {
        OutcomeEffect::Applied | OutcomeEffect::Held => {}
        OutcomeEffect::AlreadyApplied => REPEATED.add(1),
        OutcomeEffect::Conflict(_) => CONFLICTS.add(1),
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

/// How many calls, outcomes or the like wait in this batcher.
pub(crate) fn batcher_queue(batcher: &'static str) -> metrics::Gauge {
    gauge!(QUEUE, "batcher" => batcher)
}

/// What is open, as the database says; unknown while it does not answer.
#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats; counts this large do not occur"
)]
pub(crate) fn open(open: Option<Open>) {
    let or_unknown = |value: Option<f64>| value.unwrap_or(f64::NAN);
    OPEN.set(or_unknown(open.map(|open| open.count as f64)));
    OLDEST.set(or_unknown(open.map(|open| open.oldest_s)));
    DEAD_LETTERS_OPEN.set(or_unknown(open.map(|open| open.dead_letters as f64)));
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
