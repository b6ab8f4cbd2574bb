//! Waiting for conditions: generous limits, and an error that tells what never happened.

use std::time::{Duration, Instant};

use crate::{Client, Error, Result};

/// Far longer than anything here takes on a busy machine; only a failing test ever waits this long.
pub const LIMIT: Duration = Duration::from_mins(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `probe` finds something. An error while looking only means "not yet", until the time is over.
pub async fn eventually<T, F, P>(what: &str, probe: F) -> Result<T>
where
    F: FnMut() -> P,
    P: Future<Output = Result<Option<T>>>,
{
    eventually_within(LIMIT, what, probe).await
}

/// The same with another limit, for waits that include a long interval of the system's own.
pub async fn eventually_within<T, F, P>(limit: Duration, what: &str, mut probe: F) -> Result<T>
where
    F: FnMut() -> P,
    P: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        let last = match probe().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() > limit {
            let last = last.map_or_else(String::new, |error| format!("; the last look failed: {error}"));
            return Err(Error::new(format!(
                "after {} s still not: {what}{last}",
                limit.as_secs()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until nothing of a batch is pending any more; answers with its counts.
pub async fn settled(client: &Client, batch_id: &str) -> Result<serde_json::Value> {
    eventually("the batch is settled", || async {
        let batch = client.batch(batch_id).await?;
        Ok((batch.pointer("/pending").and_then(serde_json::Value::as_u64) == Some(0)).then_some(batch))
    })
    .await
}
