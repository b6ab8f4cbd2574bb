//! What operators run beside `serve`.

pub mod dead_letters;
pub mod declare_lost;
pub mod ledger;
pub mod resolve;
mod shown;
