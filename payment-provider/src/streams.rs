//! The stream that this service keeps in NATS, who reads it, and whose stream it reads itself.

use jetstream::{
    connection::Connection,
    provisioning::StreamProvisioner,
    streams::{Consumer, Stream},
};
use payment_contract::{streams, subjects};

/// This service's stream.
pub const PAY_OUTCOMES: Stream = Stream {
    name: streams::PAY_OUTCOMES,
    subject: subjects::PAYMENT_OUTCOMES,
};
/// What invoice-app reads it by.
pub const INVOICE_APP: Consumer = Consumer::new(streams::PAY_OUTCOMES, "invoice-app");
/// What this service reads pay requests by.
pub const REQUESTS: Consumer = Consumer::new(streams::PAY_REQUESTS, "payment-provider");

/// Keeps the stream, and a consumer for each service that reads it.
pub fn provisioner(connection: Connection, replicas: usize, more_readers: &[String]) -> StreamProvisioner {
    StreamProvisioner {
        connection,
        stream: PAY_OUTCOMES,
        consumers: INVOICE_APP.and(more_readers),
        replicas,
    }
}
