//! What every process of this system does alike: read its configuration, tell how it is, and end in order.

#![warn(missing_docs)]

pub mod admin;
pub mod batcher;
pub mod cli;
pub mod config;
pub mod database;
pub mod dead_letters;
pub mod fail_points;
pub mod log_filter;
pub mod log_writer;
pub mod output;
pub mod repeat;
pub mod shutdown;
pub mod startup;
pub mod telemetry;
pub mod traces;

pub use jetstream::{BoxError, locks::lock};
