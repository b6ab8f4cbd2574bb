//! `dead-letters`: a replayed outcome is applied as a delivered one, here and now.

use std::{process::ExitCode, sync::Arc};

use jetstream::delivery::{Decision, Origin, handle_one};
use service::{BoxError, database, dead_letters::Command};

use crate::{
    app::NAME, config::Config, event_feed::Feed, payment_outcomes::PaymentOutcomes, store::Store,
    waiters::Waiters,
};

/// Runs one of the commands.
pub async fn run(config: &Config, command: Command) -> Result<ExitCode, BoxError> {
    let pool = database::pool(&config.database, NAME)?;
    let outcomes = Arc::new(PaymentOutcomes::new(
        Store::new(pool.clone()),
        Waiters::default(),
        Feed::default(),
        None,
    ));
    service::dead_letters::run(&pool, command, async |origin| replay(&outcomes, origin).await).await?;
    Ok(ExitCode::SUCCESS)
}

/// Handles a dead letter as if it had just been delivered. `Err` says why it is still not handled.
pub async fn replay(handler: &Arc<PaymentOutcomes>, origin: Origin) -> Result<(), String> {
    match handle_one(handler, origin).await {
        Decision::Done => Ok(()),
        Decision::Reject(reason) => Err(reason),
        Decision::Retry(_) => Err("the database is not available; try again later".to_owned()),
    }
}
