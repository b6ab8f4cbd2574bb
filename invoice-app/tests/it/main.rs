//! The service in process, over HTTP, against a real Postgres (a database for each test) and, where it matters, a real
//! nats-server.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that finds its surroundings broken fails the test, as in the tests themselves"
)]

mod access;
mod bodies;
mod concurrency;
mod conditions;
mod csv_files;
mod endpoints;
mod event_gaps;
mod event_reader;
mod events;
mod guarded;
mod harness;
mod history;
mod hostile;
mod idempotency;
mod importing;
mod nats;
mod openapi;
mod page;
mod paging;
mod payment_ids;
mod problems;
mod properties;
mod provider;
mod sending;
mod settling;
mod sweeping;
mod waiting;
mod window;
