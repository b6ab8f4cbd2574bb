//! `dead-letters`: a replayed outcome is applied as a delivered one, here and now.

use std::{process::ExitCode, sync::Arc};

use service::{
    BoxError, database,
    dead_letters::{self, Command, replay},
};

use crate::{
    app::NAME, config::Config, event_feed::Feed, payment_outcomes::PaymentOutcomes, store::Store,
    waiters::Waiters,
};

/// What `dead-letters --help` ends with.
pub const EXAMPLES: &str = "Examples:
  invoice-app dead-letters list
  invoice-app dead-letters show 7
  invoice-app dead-letters replay 7 8
  invoice-app dead-letters discard --reason \"was never requested\"";

/// Runs one of the commands.
pub async fn run(config: &Config, command: Command) -> Result<ExitCode, BoxError> {
    let pool = database::pool(&config.database, NAME)?;
    let outcomes = Arc::new(PaymentOutcomes::new(
        Store::new(pool.clone()),
        Waiters::default(),
        Feed::default(),
        None,
    ));
    dead_letters::run(&pool, command, async |origin| {
        replay(
            &outcomes,
            origin,
            "the database is not available; try again later",
        )
        .await
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}
