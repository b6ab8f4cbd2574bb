//! The metrics this crate records: the state of the NATS link, and what is taken and sent.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::declare_metrics;

declare_metrics! {
    /// 1 while connected to NATS.
    CONNECTED: Gauge = "nats_client_connected";
    /// Connections made to NATS.
    CONNECTS: Counter = "nats_client_connects_total";
    /// Errors reported by NATS, by kind: permission, connect, server, slow_consumer.
    ERRORS: Counter = "nats_client_errors_total";
    /// Messages published, by result: sent, confirmed, failed.
    SENT: Counter = "messaging_client_sent_messages_total";
    /// Messages consumed, by stream.
    CONSUMED: Counter = "messaging_client_consumed_messages_total";
    /// Seconds from taking a message to its ack, by stream and decision: done, retry, undecided, rejected, stale (not acknowledged, since
    /// the connection or the durable it came from is gone), not_stored (kept back, since the dead letter could not be stored).
    PROCESS_SECONDS: Histogram = "messaging_process_duration_seconds";
    /// Messages consumed that had been delivered before, by stream.
    REDELIVERED: Counter = "nats_client_redelivered_messages_total";
    /// Messages taken and not yet decided, by stream.
    IN_FLIGHT: Gauge = "nats_client_in_flight_messages";
    /// Messages handed over together, by stream.
    BATCH: Histogram = "nats_client_batch_messages";
    /// 1 while messages of the stream can be taken, by stream.
    CONSUMING: Gauge = "nats_client_consuming";
    /// Messages that wait in the stream to be taken, by stream; absent when the server has not said so lately.
    PENDING: Gauge = "nats_client_pending_messages";
    /// Seconds messages spent in the stream before they were taken the first time, by stream.
    STREAM_SECONDS: Histogram = "nats_client_stream_seconds";
}

/// Gives every metric its help text. Call once, after the recorder is installed.
pub fn describe() {
    describe_all();
    nats_connected(false);
    CONNECTS.add(0);
    for kind in ["permission", "connect", "server", "slow_consumer"] {
        counter!(ERRORS, "kind" => kind).absolute(0);
    }
    for result in ["sent", "confirmed", "failed"] {
        counter!(SENT, "result" => result).absolute(0);
    }
}

/// Shows what is counted of a stream before anything happens.
pub(crate) fn init_stream(stream: &'static str) {
    counter!(CONSUMED, "stream" => stream).absolute(0);
    counter!(REDELIVERED, "stream" => stream).absolute(0);
    for decision in ["done", "not_stored"] {
        let _ = histogram!(PROCESS_SECONDS, "stream" => stream, "decision" => decision);
    }
    let _ = histogram!(STREAM_SECONDS, "stream" => stream);
    let _ = histogram!(BATCH, "stream" => stream);
    gauge!(IN_FLIGHT, "stream" => stream).set(0.0);
    consuming(stream, false);
}

pub(crate) fn nats_connected(connected: bool) {
    CONNECTED.set(connected);
    if connected {
        CONNECTS.add(1);
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

/// Whether messages can be taken. While they cannot, nobody knows how many wait.
pub(crate) fn consuming(stream: &'static str, consuming: bool) {
    gauge!(CONSUMING, "stream" => stream).set(f64::from(consuming));
    if !consuming {
        pending(stream, None);
    }
}

/// How many messages wait in the stream; `None` when that is not known.
#[expect(clippy::cast_precision_loss, reason = "a stream does not hold that many")]
pub(crate) fn pending(stream: &'static str, messages: Option<u64>) {
    gauge!(PENDING, "stream" => stream).set(messages.map_or(f64::NAN, |messages| messages as f64));
}

/// How long messages were in the stream before they were taken.
pub(crate) fn taken_after(stream: &'static str, waits: &[Duration]) {
    let seconds = histogram!(STREAM_SECONDS, "stream" => stream);
    for wait in waits {
        seconds.record(wait.as_secs_f64());
    }
}
