//! One file per command.

pub(crate) mod client;
pub(crate) mod demo;
pub(crate) mod dev_postgres;
pub(crate) mod invoices;
pub(crate) mod keys;
pub(crate) mod nats_sub;
pub(crate) mod progress;
pub(crate) mod shutdown;
pub(crate) mod up;
