//! What the black-box tests stand on: a running system, a caller of its API, ways to hurt it, and the check afterwards.

pub mod bank;
pub mod bank_simulator;
pub mod chaos;
pub mod check;
pub mod cli;
pub mod client;
pub mod cut_proxy;
pub mod error;
pub mod load;
pub mod nats_admin;
pub mod raw_nats;
pub mod system;
pub mod wait;

pub use crate::{
    chaos::Chaos,
    check::Report,
    client::{Answer, Client},
    cut_proxy::CutProxy,
    error::{Error, Result},
    load::Load,
    nats_admin::{NatsAdmin, StreamState, stream_state},
    raw_nats::RawNats,
    system::System,
    wait::{LIMIT, eventually, eventually_within, settled},
};
