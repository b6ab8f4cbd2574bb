//! How messages travel: the connection to NATS, publishing, the consumer loop, and the streams and consumers themselves.

pub mod connection;
pub mod crash_points;
pub mod delivery;
pub mod metrics;
pub mod publish;
pub mod streams;
