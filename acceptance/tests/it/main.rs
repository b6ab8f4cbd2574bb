//! Black-box tests: real processes, a real nats-server and a real Postgres, seen only from outside.
//!
//! Faults strike when a number of invoices is paid, drawn from a printed seed; `ACCEPTANCE_SEED` repeats a run.
//! `ACCEPTANCE_KEEP=1` keeps the files of a system whose test failed. The ignored tests are the same with far more load.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step that fails, fails the test"
)]

mod accounting;
mod asyncapi;
mod bulk;
mod cluster;
mod concurrency;
mod control_room;
mod crashes;
mod dead_letters;
mod documents;
mod events;
#[cfg(debug_assertions)]
mod fail_points;
mod frozen_connections;
mod http_bank;
mod idempotency;
mod large_bodies;
mod lifecycle;
mod local_stack_command;
mod logs;
mod main_path;
mod metrics;
mod nats_forgets;
mod nats_outages;
mod nats_permissions;
mod openapi;
mod overload;
mod page;
mod postgres_outages;
mod reconcile;
mod restored_databases;
mod rolling;
mod rotations;
mod stolen_keys;
mod traces;
mod upgrades;
