//! `dead-letters`: a replayed request goes the whole way of a delivered one, here and now.

use std::{process::ExitCode, sync::Mutex};

use payment_contract::{
    delivery::{Decision, Origin, decode},
    messages::PayRequestV1,
};
use service::dead_letters::Command;

use super::ledger::connected;
use crate::{
    app::{Error, Parts},
    config::Config,
    pay_requests::{PayRequests, Request},
};

/// Runs one of the commands.
pub async fn run(config: &Config, command: Command) -> Result<ExitCode, Error> {
    let parts = Parts::try_new(config)?;
    let pool = parts.store.pool().clone();
    service::dead_letters::run(&pool, command, async |origin| {
        let connection = connected(config).await.map_err(|error| error.to_string())?;
        replay(&parts.pay_requests(connection), &origin).await
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// Handles a dead letter as if it had just been delivered. `Err` says why it is still not handled.
pub async fn replay(handler: &PayRequests, origin: &Origin) -> Result<(), String> {
    let message: PayRequestV1 = decode(&origin.body)?;
    let decided = Mutex::new(None);
    let request = Request { message, trace: None };
    handler
        .process(vec![request], |_, decision| {
            if let Ok(mut decided) = decided.lock() {
                *decided = Some(decision);
            }
        })
        .await;
    match decided.into_inner().ok().flatten() {
        Some(Decision::Done) => Ok(()),
        Some(Decision::Reject(reason)) => Err(reason),
        Some(Decision::Retry(_)) | None => Err(
            "it cannot be finished now (`ledger show` tells how far it came); replay it again later"
                .to_owned(),
        ),
    }
}
