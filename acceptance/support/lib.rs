//! What the black-box tests stand on: a running system, a caller of its API, ways to hurt it, and the check afterwards.

pub mod bank_process;
pub mod browser;
pub mod callers;
pub mod cli;
pub mod client;
pub mod collector;
pub mod documents;
pub mod event_reader;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod nats_cluster;
pub mod process_group;
pub mod seeded_rng;
pub mod streams;
pub mod system;

pub use local_stack::{LIMIT, eventually, eventually_within};
pub use reconcile::{Error, Report, Result};

pub use crate::{
    bank_process::BankProcess,
    browser::Browser,
    callers::{Callers, Tally},
    client::{Answer, Client, settled},
    collector::Collector,
    event_reader::{EventReader, Told},
    load::Load,
    metrics::{metric, metrics_text},
    process_group::kill_group,
    seeded_rng::SeededRng,
    streams::{StreamState, stream_state},
    system::System,
};
