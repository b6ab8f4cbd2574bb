//! Nothing waits for a database without a limit. Whoever gives up drops what it waited for, and with it the connection, which
//! the pool then asks whether it still lives, and closes if it does not.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use super::error_kind::{ErrorKind, error_kind, is_lock_timeout};

/// Longer than the server lets a statement run: for all that is about a few hundred rows.
pub const SHORT: Duration = Duration::from_secs(8);
/// Longer than the server lets a transaction's statements run that [`super::allow_time_in_tx`] allowed more.
pub const LONG: Duration = Duration::from_secs(130);
/// Deadlocks end with one victim at a time: after this many the contention is not accidental.
const CONFLICT_ATTEMPTS: u32 = 6;

/// Gives up on a database that has gone silent. Whether the work was done is unknown then.
pub async fn in_time<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|late| Err(sqlx::Error::Io(late.into()).into()))
}

/// How often what locks its rows with `nowait` tries, at most.
const HELD_ATTEMPTS: u32 = 5;
/// The first pause between; doubled each time. No connection is held meanwhile.
const HELD_PAUSE: Duration = Duration::from_millis(5);

/// Far less than the timeout for locks.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Runs a transaction that locks its rows with `nowait`. Whoever holds them mostly does for a moment, and is waited for without a
/// connection in hand; `None` when they are still held then.
pub async fn unless_held<T, Fut>(mut attempt: impl FnMut() -> Fut) -> Result<Option<T>, sqlx::Error>
where
    Fut: Future<Output = Result<T, sqlx::Error>>,
{
    for tried in 0..HELD_ATTEMPTS {
        let began = Instant::now();
        match Box::pin(attempt()).await {
            // A table that is locked as a whole takes the session's timeout, and is another matter.
            Err(error) if is_lock_timeout(&error) && began.elapsed() < AT_ONCE => {
                tokio::time::sleep(HELD_PAUSE * 2_u32.pow(tried)).await;
            }
            result => return result.map(Some),
        }
    }
    Ok(None)
}

/// Runs a transaction again on deadlocks and serialization failures, a bounded number of times, each within `limit`.
/// Attempts are boxed: they are large, and would be copied by everybody who wraps them.
pub async fn retry_conflicts<T, F, Fut>(limit: Duration, mut attempt: F) -> Result<T, sqlx::Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, sqlx::Error>>,
{
    let mut longest = Duration::from_millis(5);
    for _ in 1..CONFLICT_ATTEMPTS {
        match in_time(limit, Box::pin(attempt())).await {
            Err(error) if error_kind(&error) == ErrorKind::Conflict => {
                tracing::debug!(error = %error, "transaction conflict; running it again");
                let pause = longest.mul_f64(rand::rng().random_range(0.2..=1.0));
                tokio::time::sleep(pause).await;
                longest *= 2;
            }
            result => return result,
        }
    }
    in_time(limit, Box::pin(attempt())).await
}
