//! Owns payments: takes pay requests from NATS, pays each at most once through a bank, and answers with outcomes.
//!
//! The ledger in Postgres is the truth. A row is written before the bank is called and finished after it has answered;
//! outcomes come from finished rows only, and only then is a request acknowledged. The repository's README follows one payment
//! through it, file by file.

pub mod app;
pub mod command_line;
pub mod commands;
pub mod config;
#[cfg(debug_assertions)]
pub mod fail_points;
pub mod gateway;
pub mod ledger;
pub mod metrics;
pub mod order;
pub mod outcomes;
pub mod pay_requests;
pub mod store;
pub mod streams;
