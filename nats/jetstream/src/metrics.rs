//! The metrics this crate records: the state of the NATS link, and what is taken and sent.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const CONNECTED: &str = "nats_connected";
const CONNECTS: &str = "nats_connects_total";
const ERRORS: &str = "nats_errors_total";
const PUBLISHED: &str = "nats_published_total";
const TAKEN: &str = "nats_messages_taken_total";
const DECIDED: &str = "nats_messages_decided_total";
const REDELIVERED: &str = "nats_messages_redelivered_total";
const IN_HAND: &str = "nats_messages_in_hand";
const BATCH: &str = "nats_batch_messages";
const TAKING: &str = "nats_taking";

/// Gives every metric its help text. Call once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(CONNECTED, "1 while connected to NATS");
    describe_counter!(CONNECTS, "Connections made to NATS");
    describe_counter!(
        ERRORS,
        "Errors reported by NATS, by kind: permission, connect, server, slow_consumer"
    );
    describe_counter!(
        PUBLISHED,
        "Messages published, by result: sent, confirmed, failed"
    );
    describe_counter!(TAKEN, "Messages taken, by stream");
    describe_counter!(
        DECIDED,
        "Messages decided, by stream and decision: done, retry, undecided, rejected, stale (not acknowledged, since \
         the connection or the durable it came from is gone), not_stored (kept back, since the dead letter could not be stored)"
    );
    describe_counter!(
        REDELIVERED,
        "Messages taken that had been delivered before, by stream"
    );
    describe_gauge!(IN_HAND, "Messages taken and not yet decided, by stream");
    describe_histogram!(BATCH, "Messages handed over together, by stream");
    describe_gauge!(TAKING, "1 while messages of the stream can be taken, by stream");
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
    counter!(PUBLISHED, "result" => result).increment(messages as u64);
}

pub(crate) fn taken(stream: &'static str, messages: usize, redelivered: usize) {
    counter!(TAKEN, "stream" => stream).increment(messages as u64);
    counter!(REDELIVERED, "stream" => stream).increment(redelivered as u64);
}

pub(crate) fn decided(stream: &'static str, decision: &'static str) {
    counter!(DECIDED, "stream" => stream, "decision" => decision).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "bounded by the slots")]
pub(crate) fn in_hand(stream: &'static str, messages: usize) {
    gauge!(IN_HAND, "stream" => stream).set(messages as f64);
}

#[expect(clippy::cast_precision_loss, reason = "bounded by the slots")]
pub(crate) fn batch(stream: &'static str, messages: usize) {
    histogram!(BATCH, "stream" => stream).record(messages as f64);
}

pub(crate) fn taking(stream: &'static str, taking: bool) {
    gauge!(TAKING, "stream" => stream).set(if taking { 1.0 } else { 0.0 });
}
