//! Letters that an operator ended are removed once they have not come again for long enough. Open ones never are: that would be
//! dropping a message that nobody has looked at.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    database::{SHORT, in_time},
    repeat,
    telemetry::chain,
};

/// Between two looks for what is old enough.
const EVERY: Duration = Duration::from_hours(1);
/// Removed by one statement: a letter may be as large as a message.
const BATCH: u16 = 200;

/// Removes what was ended and has not come for this many days, now and every hour until `stop`; nothing for 0.
pub async fn keep_pruned(pool: PgPool, kept_days: u16, stop: CancellationToken) {
    let pruning = || async {
        loop {
            match prune(&pool, kept_days).await {
                Ok(removed) if removed >= u64::from(BATCH) => {}
                Ok(_) => return,
                Err(error) => return warn!(error = chain(&error), "old dead letters could not be removed"),
            }
        }
    };
    match kept_days {
        0 => stop.cancelled().await,
        _ => repeat::every(EVERY, stop, pruning).await,
    }
}

/// Removes the first of those that were ended, and have not come, for this many days; how many. A letter that was discarded and
/// still comes has to be known, or it would be open again.
pub async fn prune(pool: &PgPool, kept_days: u16) -> Result<u64, sqlx::Error> {
    in_time(SHORT, async {
        let removed = sqlx::query!(
            "delete from dead_letters where id in (
                 select id from dead_letters
                 where greatest(resolved_at, last_received_at) < clock_timestamp() - make_interval(days => $1)
                   and resolved_at is not null
                 order by id limit $2 for update skip locked)",
            i32::from(kept_days),
            i64::from(BATCH),
        )
        .execute(pool)
        .await?;
        Ok(removed.rows_affected())
    })
    .await
}
