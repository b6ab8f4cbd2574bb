//! `dead-letters`: a replayed request goes the whole way of a delivered one, here and now.

use std::{process::ExitCode, sync::Arc};

use jetstream::delivery::{Decision, Origin, handle_one};
use service::{BoxError, dead_letters::Command};

use super::ledger::connected;
use crate::{app::Parts, config::Config, pay_requests::PayRequests};

/// Runs one of the commands.
pub async fn run(config: &Config, command: Command) -> Result<ExitCode, BoxError> {
    let parts = Parts::try_new(config)?;
    let pool = parts.store.pool().clone();
    let handler = match command {
        Command::Replay(_) => Some(Arc::new(parts.pay_requests(connected(config).await?))),
        _ => None,
    };
    service::dead_letters::run(&pool, command, async |origin| match &handler {
        Some(handler) => replay(handler, origin).await,
        None => Err("NATS is needed for that".to_owned()),
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// Handles a dead letter as if it had just been delivered. `Err` says why it is still not handled.
pub async fn replay(handler: &Arc<PayRequests>, origin: Origin) -> Result<(), String> {
    match handle_one(handler, origin).await {
        Decision::Done => Ok(()),
        Decision::Reject(reason) => Err(reason),
        Decision::Retry(_) => Err(
            "it cannot be finished now (`ledger show` tells how far it came); replay it again later"
                .to_owned(),
        ),
    }
}
