//! The metrics this crate records: the state of the NATS link, and what is taken and sent.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const CONNECTED: &str = "nats_client_connected";
const CONNECTS: &str = "nats_client_connects_total";
const ERRORS: &str = "nats_client_errors_total";
const SENT: &str = "messaging_client_sent_messages_total";
const CONSUMED: &str = "messaging_client_consumed_messages_total";
const PROCESS_SECONDS: &str = "messaging_process_duration_seconds";
const REDELIVERED: &str = "nats_client_redelivered_messages_total";
const IN_FLIGHT: &str = "nats_client_in_flight_messages";
const BATCH: &str = "nats_client_batch_messages";
const CONSUMING: &str = "nats_client_consuming";

/// Gives every metric its help text. Call once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(CONNECTED, "1 while connected to NATS");
    describe_counter!(CONNECTS, "Connections made to NATS");
    describe_counter!(
        ERRORS,
        "Errors reported by NATS, by kind: permission, connect, server, slow_consumer"
    );
    describe_counter!(SENT, "Messages published, by result: sent, confirmed, failed");
    describe_counter!(CONSUMED, "Messages consumed, by stream");
    describe_histogram!(
        PROCESS_SECONDS,
        "Seconds from taking a message to its ack, by stream and decision: done, retry, undecided, rejected, stale (not acknowledged, since \
         the connection or the durable it came from is gone), not_stored (kept back, since the dead letter could not be stored)"
    );
    describe_counter!(
        REDELIVERED,
        "Messages consumed that had been delivered before, by stream"
    );
    describe_gauge!(IN_FLIGHT, "Messages taken and not yet decided, by stream");
    describe_histogram!(BATCH, "Messages handed over together, by stream");
    describe_gauge!(
        CONSUMING,
        "1 while messages of the stream can be taken, by stream"
    );
}

pub(crate) fn nats_connected(connected: bool) {
    gauge!(CONNECTED).set(if connected { 1.0 } else { 0.0 });
    if connected {
        counter!(CONNECTS).increment(1);
    }
}

pub(crate) fn nats_error(kind: &'static str) {
    counter!(ERRORS, "kind" => kind).increment(1);
}

pub(crate) fn published(result: &'static str, messages: usize) {
    counter!(SENT, "result" => result).increment(messages as u64);
}

pub(crate) fn consumed(stream: &'static str, messages: usize, redelivered: usize) {
    counter!(CONSUMED, "stream" => stream).increment(messages as u64);
    counter!(REDELIVERED, "stream" => stream).increment(redelivered as u64);
}

pub(crate) fn processed(stream: &'static str, decision: &'static str, took: Duration) {
    histogram!(PROCESS_SECONDS, "stream" => stream, "decision" => decision).record(took.as_secs_f64());
}

#[expect(clippy::cast_precision_loss, reason = "bounded by the slots")]
pub(crate) fn in_flight(stream: &'static str, messages: usize) {
    gauge!(IN_FLIGHT, "stream" => stream).set(messages as f64);
}

#[expect(clippy::cast_precision_loss, reason = "bounded by the slots")]
pub(crate) fn batch(stream: &'static str, messages: usize) {
    histogram!(BATCH, "stream" => stream).record(messages as f64);
}

pub(crate) fn consuming(stream: &'static str, consuming: bool) {
    gauge!(CONSUMING, "stream" => stream).set(if consuming { 1.0 } else { 0.0 });
}
