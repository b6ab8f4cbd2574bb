//! `dead-letters`: a replayed request goes the whole way of a delivered one, here and now.

use std::{process::ExitCode, sync::Arc};

use service::{
    BoxError,
    dead_letters::{self, Command, replay},
};

use super::ledger::connected;
use crate::{app::Parts, config::Config};

const LATER: &str = "it cannot be finished now (`ledger show` tells how far it came); replay it again later";

/// What `dead-letters --help` ends with.
pub const EXAMPLES: &str = "Examples:
  payment-provider dead-letters list
  payment-provider dead-letters show 7
  payment-provider dead-letters replay 7 8
  payment-provider dead-letters discard --reason \"not a valid message\"";

/// Runs one of the commands.
pub async fn run(config: &Config, command: Command) -> Result<ExitCode, BoxError> {
    let parts = Parts::try_new(config)?;
    let pool = parts.store.pool().clone();
    let handler = match command {
        Command::Replay(_) => Some(Arc::new(parts.pay_requests(connected(config).await?))),
        _ => None,
    };
    dead_letters::run(&pool, command, async |origin| match &handler {
        Some(handler) => replay(handler, origin, LATER).await,
        None => Err("NATS is needed for that".to_owned()),
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}
