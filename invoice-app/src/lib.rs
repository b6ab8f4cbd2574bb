//! invoice-app owns invoices: HTTP in, pay requests out, outcomes settled. The repository's README follows one payment through
//! it, file by file.

pub mod app;
pub mod batch_id;
pub mod change_events;
pub mod command_line;
pub mod commands;
pub mod config;
pub mod creating;
pub mod event;
pub mod event_feed;
#[cfg(debug_assertions)]
pub mod fail_points;
pub mod http;
pub mod idempotency;
pub mod invoice;
pub mod metrics;
pub mod nats_incarnation;
pub mod paying;
pub mod payment;
pub mod payment_outcomes;
pub mod sender;
pub mod store;
pub mod streams;
pub mod sweep;
pub mod tokens;
pub mod totals;
pub mod waiters;
pub mod window;
