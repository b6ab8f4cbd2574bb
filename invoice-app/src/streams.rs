//! The stream that this service keeps in NATS, who reads it, and whose stream it reads itself.

use jetstream::{
    connection::Connection,
    provisioning::StreamProvisioner,
    streams::{Consumer, Stream},
};
use payment_contract::{streams, subjects};

/// This service's stream.
pub const PAY_REQUESTS: Stream = Stream {
    name: streams::PAY_REQUESTS,
    subject: subjects::PAY_REQUESTS,
};
/// What payment-provider reads it by.
pub const PAYMENT_PROVIDER: Consumer = Consumer::new(streams::PAY_REQUESTS, "payment-provider");
/// What this service reads outcomes by.
pub const OUTCOMES: Consumer = Consumer::new(streams::PAY_OUTCOMES, "invoice-app");

/// Keeps the stream, and a consumer for each service that reads it.
pub fn provisioner(connection: Connection, replicas: usize, more_readers: &[String]) -> StreamProvisioner {
    StreamProvisioner {
        connection,
        stream: PAY_REQUESTS,
        consumers: PAYMENT_PROVIDER.and(more_readers),
        replicas,
    }
}
