//! How messages travel: the connection to NATS, publishing, the consumer loop, and the streams and consumers themselves.

pub mod connection;
pub mod delivery;
pub mod fail_points;
pub mod metrics;
pub mod publish;
pub mod streams;
