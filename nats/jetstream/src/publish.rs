//! Sending messages: id for deduplication, trace header, content type, and a bound on what is under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{self, Either};
use tokio::sync::watch;

pub use self::outgoing::{Error, Outgoing, Sent};
use crate::{
    connection::{Connection, Link},
    metrics,
    traces::messaging::Publishing,
};

mod confirmed;
pub(crate) mod outgoing;

/// Of the messages sent without confirmation, every so many-th is confirmed all the same, before more are sent. A server that is
/// given more than it can store drops what is beyond its queue of 10,000, and says so to nobody who did not ask.
const CONFIRM_EVERY: usize = 1000;

/// Longest that handing over and flushing may take without any progress: a half-open connection still takes commands.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// Added per message, so that a large batch on a slow link is not taken for a dead link.
const SEND_LIMIT_PER_MESSAGE: Duration = Duration::from_millis(1);

/// Publishes in the own account.
#[derive(Clone, Debug)]
pub struct Publisher {
    connection: Connection,
    /// Counts what is sent without confirmation, to tell every [`CONFIRM_EVERY`]th.
    sent: Arc<AtomicUsize>,
    inboxes: confirmed::Inboxes,
}

impl Publisher {
    /// A publisher over the connection.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            sent: Arc::default(),
            inboxes: confirmed::Inboxes::default(),
        }
    }

    /// Hands the messages to the connection in order and flushes, without waiting for the stream to confirm each: for requests,
    /// whose loss is repaired by sending again. Only a stream that falls behind is waited for. Fails at once, having sent
    /// nothing or a prefix, when disconnected. Never blocks longer than a bounded time, even with a half-open connection.
    pub async fn send(&self, mut messages: Vec<Outgoing>) -> Result<(), Error> {
        let spans = Publishing::begin(&mut messages);
        let count = messages.len();
        let limit = SEND_LIMIT + SEND_LIMIT_PER_MESSAGE * u32::try_from(count).unwrap_or(u32::MAX);
        let sending = tokio::time::timeout(limit, self.hand_over(messages));
        let result = match while_connected(self.connection.link(), sending).await {
            Some(Ok(result)) => result,
            Some(Err(late)) => Err(Error::Unconfirmed(late.into())),
            None => Err(Error::Disconnected),
        };
        spans.end(&result);
        metrics::published(if result.is_ok() { "sent" } else { "failed" }, count);
        result
    }

    /// One message that cannot be sent (too large) does not keep back those after it.
    async fn hand_over(&self, messages: Vec<Outgoing>) -> Result<(), Error> {
        let client = self.connection.client();
        let mut failure = None;
        for message in messages {
            let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
            if number.is_multiple_of(CONFIRM_EVERY) {
                let confirmed = confirmed::send(&self.connection, &self.inboxes, vec![message]).await;
                confirmed.into_iter().collect::<Result<Vec<()>, Error>>()?;
                continue;
            }
            let headers = message.headers();
            if let Err(error) = client
                .publish_with_headers(message.subject, headers, message.body)
                .await
            {
                failure = Some(Error::Unconfirmed(error.into()));
            }
        }
        client
            .flush()
            .await
            .map_err(|error| Error::Unconfirmed(error.into()))?;
        failure.map_or(Ok(()), Err)
    }

    /// Publishes all, a bounded number in flight, and waits for the stream's ack of each. Results in order.
    pub async fn send_confirmed(&self, mut messages: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        let spans = Publishing::begin(&mut messages);
        let results = confirmed::send(&self.connection, &self.inboxes, messages).await;
        spans.end_each(&results);
        let confirmed = results.iter().filter(|result| result.is_ok()).count();
        metrics::published("confirmed", confirmed);
        metrics::published("failed", results.len() - confirmed);
        results
    }
}

/// Runs `work` as long as the connection that was up when it began stays up; `None` when there was none, or it ended.
async fn while_connected<T>(mut link: watch::Receiver<Link>, work: impl Future<Output = T>) -> Option<T> {
    let begin = *link.borrow_and_update();
    if !begin.connected {
        return None;
    }
    let ended = link.wait_for(|now| *now != begin);
    match future::select(std::pin::pin!(work), std::pin::pin!(ended)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
