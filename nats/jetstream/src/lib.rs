//! How messages travel: the connection to NATS, publishing, the consumer loop, and the streams and consumers themselves.

#![warn(missing_docs)]

pub mod connection;
pub mod delivery;
pub mod error_chain;
pub mod locks;
pub mod metric_types;
pub mod metrics;
pub mod provisioning;
pub mod publish;
pub mod steps;
pub mod streams;
pub mod traces;
pub mod trouble;

pub use error_chain::BoxError;
