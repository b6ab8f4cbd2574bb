//! The window: no more requests wait in NATS than keep payment-provider busy, whoever sent them. A call for a million stays in the
//! database until its turn, so that a single payment beside it waits for some hundred others and not for all of them.

use std::time::Duration;

use jetstream::{connection::Connection, provisioning::consumer_pending};
use tracing::debug;

use crate::streams::PAYMENT_PROVIDER;

/// Requests that wait to be fetched, from which on no more pages are sent. A page lasts payment-provider for longer than
/// [`LOOK_AGAIN`], so that it never finds nothing to do.
const FULL: u64 = 256;
/// How soon to look again after the window was full.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Longest that looking may keep others from being sent.
const LOOK_LIMIT: Duration = Duration::from_millis(500);

/// Tells whether there is room. Asks the server, and so counts what every replica has sent.
#[derive(Clone, Debug)]
pub struct Window {
    connection: Connection,
}

impl Window {
    /// The window of this connection's server.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// False while enough requests wait. The window is for fairness alone: what the server cannot tell keeps nothing back.
    pub async fn has_room(&self) -> bool {
        if !self.connection.is_connected() {
            // Sending fails at once, and says so.
            return true;
        }
        match tokio::time::timeout(LOOK_LIMIT, consumer_pending(&self.connection, &PAYMENT_PROVIDER)).await {
            Ok(Ok(pending)) => pending.is_none_or(|pending| pending < FULL),
            Ok(Err(error)) => {
                debug!(error = %service::telemetry::chain(&error), "could not ask how many requests wait");
                true
            }
            Err(_) => true,
        }
    }
}
