//! Waiting for conditions: a generous limit, and an error that tells what never happened.

use std::time::Duration;

use reconcile::{Error, Result};

/// Far longer than anything here takes on a busy machine; only a failing test ever waits this long.
pub const LIMIT: Duration = Duration::from_mins(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// What a look at a condition gives: whether it holds, or what was looked for, or an error, which only means "not yet".
pub trait Look {
    /// What was looked for.
    type Found;

    /// It, if it is there.
    fn found(self) -> Result<Option<Self::Found>>;
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Result<Option<()>> {
        Ok(self.then_some(()))
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<Option<T>> {
        Ok(self)
    }
}

impl<L: Look> Look for Result<L> {
    type Found = L::Found;

    fn found(self) -> Result<Option<L::Found>> {
        self?.found()
    }
}

/// Looks until something is found.
pub async fn eventually<P>(what: &str, look: impl FnMut() -> P) -> Result<<P::Output as Look>::Found>
where
    P: Future<Output: Look>,
{
    eventually_within(LIMIT, what, look).await
}

/// The same with another limit, for waits that include a long interval of the system's own.
pub async fn eventually_within<P>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> P,
) -> Result<<P::Output as Look>::Found>
where
    P: Future<Output: Look>,
{
    let mut failed = None;
    let looking = async {
        loop {
            match look().await.found() {
                Ok(Some(found)) => return found,
                Ok(None) => failed = None,
                Err(error) => failed = Some(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    if let Ok(found) = tokio::time::timeout(limit, looking).await {
        return Ok(found);
    }
    let failed = failed.map_or_else(String::new, |error| format!("; the last look failed: {error}"));
    Err(Error::new(format!(
        "after {} s still not: {what}{failed}",
        limit.as_secs()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_happens_is_an_error_that_tells_what_and_why() {
        let mut looks = 0;
        let third = eventually("the third look", || {
            looks += 1;
            let found = (looks == 3).then_some(looks);
            async move { found }
        });
        assert_eq!(third.await.unwrap(), 3);
        let soon = Duration::from_millis(100);
        let never = eventually_within(soon, "the end", async || Err::<bool, _>(Error::new("too early")));
        let said = never.await.unwrap_err().to_string();
        assert_eq!(
            said,
            "after 0 s still not: the end; the last look failed: too early"
        );
        let hanging = eventually_within(soon, "an answer", std::future::pending::<bool>);
        assert_eq!(
            hanging.await.unwrap_err().to_string(),
            "after 0 s still not: an answer"
        );
    }
}
