//! payment-provider's parts against a real Postgres (a database per test) and a real nats-server (one per test).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that finds its surroundings broken fails the test, as in the tests themselves"
)]

mod dead_letters;
mod declaring_lost;
mod delivered;
mod doored_bank;
mod ended_client;
mod held;
mod http_gateway;
mod leases;
mod old_requests;
mod paying;
mod refusals;
mod releasing;
mod resolving;
mod support;
mod unasked;
