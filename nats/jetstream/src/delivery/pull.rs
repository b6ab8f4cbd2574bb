//! What a pull is, over the client as over a raw connection: its limits, its slots, and how it ends.

use std::{sync::Arc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;

use super::{Handler, consumer_loop::ConsumerLoop};

/// How long the server keeps a pull that finds nothing. Also how long a pull that got lost on its way goes unnoticed.
pub(super) const PULL_EXPIRES: Duration = Duration::from_secs(5);
/// A pull that the server should have ended this long ago was lost.
pub(super) const PULL_OVERDUE: Duration = Duration::from_secs(2);
/// On shutdown, messages that are on their way are waited for this long, to be given back.
pub(super) const LAST_ARRIVALS: Duration = Duration::from_millis(50);
/// When hardly any slot is free, the next pull waits this long for more: one question for many messages.
const GATHER: Duration = Duration::from_millis(5);

/// Why pulling from a durable ended.
pub(super) enum End {
    Stopped,
    Reconnected,
    /// Raw pulling has lasted long enough, or is to begin now, or the durable is another one.
    Checked,
    Trouble(String),
}

/// As many slots as are free, up to a batch; waits for at least one. `None` never happens while the loop runs.
pub(super) async fn free_slots<H: Handler>(
    consumer_loop: &Arc<ConsumerLoop<H>>,
) -> Option<OwnedSemaphorePermit> {
    let mut slots = Arc::clone(&consumer_loop.slots).acquire_owned().await.ok()?;
    let most = consumer_loop
        .settings
        .max_batch
        .clamp(1, consumer_loop.settings.slots.max(1));
    if consumer_loop.slots.available_permits() < most / 8 {
        tokio::time::sleep(GATHER).await;
    }
    let more = consumer_loop.slots.available_permits().min(most - 1);
    if let Ok(more) = u32::try_from(more)
        && let Ok(more) = Arc::clone(&consumer_loop.slots).try_acquire_many_owned(more)
    {
        slots.merge(more);
    }
    Some(slots)
}

/// Whether the server takes a message for the end of the replies to a question. It carries them over from the other account as
/// a stream, and one that has neither body nor headers ends that: what the consumer sends after it goes nowhere, until it is
/// asked anew by somebody else.
pub(super) fn ends_replies(message: &async_nats::Message) -> bool {
    message.payload.is_empty() && message.headers.is_none()
}
