//! The window: no more requests wait in NATS than keep payment-provider busy, whoever sent them. A call for a million stays in the
//! database until its turn, so that a single payment beside it waits for some hundred others and not for all of them.

use std::time::Duration;

use jetstream::{
    connection::Connection,
    provisioning::{Backlog, consumer_backlog},
};
use tokio::time::Instant;
use tracing::debug;

use crate::streams::PAYMENT_PROVIDER;

/// Requests that wait to be fetched, from which on no more pages are sent. A page lasts payment-provider for longer than
/// [`LOOK_AGAIN`], so that it never finds nothing to do.
const FULL: u64 = 256;
/// Requests taken and not finished, from which on no more pages are sent: more than ten replicas work on at a time. While the
/// bank is away they are put off, and would otherwise all be taken one after the other, to come back in front of everybody.
const MOST_TAKEN: u64 = 12_000;
/// How soon to look again after the window was full.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// However many wait, a page is sent after this long: single payments, which do not wait here, must not keep the others back for ever.
const LONGEST_FULL: Duration = Duration::from_secs(30);
/// Longest that looking may keep others from being sent.
const LOOK_LIMIT: Duration = Duration::from_millis(500);

/// Tells whether there is room. Asks the server, and so counts what every replica has sent.
#[derive(Clone, Debug)]
pub struct Window {
    connection: Connection,
    full_since: Option<Instant>,
}

impl Window {
    /// The window of this connection's server.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            full_since: None,
        }
    }

    /// False while enough requests wait. The window is for fairness alone: what the server cannot tell keeps nothing back.
    pub async fn has_room(&mut self) -> bool {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        let has_room = since.elapsed() > LONGEST_FULL || self.look().await;
        if has_room {
            self.full_since = None;
        }
        has_room
    }

    async fn look(&self) -> bool {
        if !self.connection.is_connected() {
            // Sending fails at once, and says so.
            return true;
        }
        match tokio::time::timeout(LOOK_LIMIT, consumer_backlog(&self.connection, &PAYMENT_PROVIDER)).await {
            Ok(Ok(backlog)) => backlog.is_none_or(fits),
            Ok(Err(error)) => {
                debug!(error = %service::telemetry::chain(&error), "could not ask how many requests wait");
                true
            }
            Err(_) => true,
        }
    }
}

const fn fits(backlog: Backlog) -> bool {
    backlog.pending < FULL && backlog.unacked < MOST_TAKEN
}
