//! Every metric of this service, with its meaning.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use payment_contract::messages::OutcomeStatus;

use crate::{payment::Settlement, store::payments::Open};

const REQUEST_SECONDS: &str = "http_server_request_duration_seconds";
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

/// Tells the recorder what the metrics mean.
pub fn describe() {
    describe_histogram!(
        REQUEST_SECONDS,
        "Seconds a request took, waiting for outcomes included, by method, route and status."
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
    describe_counter!(SETTLED, "Payments settled, by outcome.");
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
    for outcome in ["succeeded", "declined"] {
        counter!(SETTLED, "outcome" => outcome).absolute(0);
    }
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

pub(crate) fn settled(outcome: OutcomeStatus, settlement: Settlement) {
    match settlement {
        Settlement::Applied => counter!(SETTLED, "outcome" => outcome.as_str()).increment(1),
        Settlement::AlreadyApplied => counter!(REPEATED).increment(1),
        Settlement::Held => {}
        Settlement::Conflict(_) => counter!(CONFLICTS).increment(1),
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

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats; counts this large do not occur"
)]
pub(crate) fn open(open: Open) {
    gauge!(OPEN).set(open.count as f64);
    gauge!(OLDEST).set(open.oldest_s);
    gauge!(DEAD_OPEN).set(open.dead_letters as f64);
}
