//! Sends again what has no outcome for too long, and what could not be sent at first. Only while NATS is connected.

use std::{sync::Arc, time::Duration};

use jetstream::{
    connection::{Connection, DEAD_LINK_NOTICED_WITHIN},
    publish::Publisher,
};
use service::fail_point;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    metrics, sender,
    store::Store,
    window::{LOOK_AGAIN, Window},
};

/// Looks for due rows at least this often.
const EVERY: Duration = Duration::from_secs(1);

pub struct Sweep {
    store: Store,
    connection: Connection,
    publisher: Publisher,
    window: Window,
    resend_after: Duration,
    wake: Arc<Notify>,
    /// The connection we know of, and since when it has been gone.
    epoch: u64,
    gone_since: Option<Instant>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// NATS is away: nothing was claimed.
    Disconnected,
    /// Enough requests wait in NATS: nothing was claimed.
    Full,
    /// This many rows were due: all, or as many as there was room for.
    Due { rows: usize, all: bool },
}

impl Sweep {
    /// A sweep that is woken by `wake`.
    pub fn new(store: Store, connection: Connection, resend_after: Duration, wake: Arc<Notify>) -> Self {
        let publisher = Publisher::new(connection.clone());
        let window = Window::new(connection.clone());
        let epoch = connection.link().borrow().epoch;
        Self {
            store,
            connection,
            publisher,
            window,
            resend_after,
            wake,
            epoch,
            gone_since: None,
        }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let mut link = self.connection.link();
        while !stop.is_cancelled() {
            let pause = match self.step().await {
                Ok(Swept::Due { all: false, .. }) => continue,
                Ok(Swept::Full) => LOOK_AGAIN,
                Ok(_) => EVERY,
                Err(error) => {
                    warn!(error = %service::telemetry::chain(&error), "could not look for requests to send again");
                    EVERY
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                // An error: the connection is closed for good, and the pause alone bounds this loop.
                Ok(()) = link.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Claims one page of due rows and sends it.
    pub async fn step(&mut self) -> Result<Swept, sqlx::Error> {
        if !self.follow_link().await? {
            return Ok(Swept::Disconnected);
        }
        let room = self.window.room().await;
        if room == 0 {
            return Ok(Swept::Full);
        }
        fail_point!(SweepClaiming);
        let claimed = self
            .store
            .claim_due(room.try_into().unwrap_or(i64::MAX), self.resend_after)
            .await?;
        if !claimed.requests.is_empty() {
            fail_point!(SweepClaimed);
            metrics::CLAIMED.add(claimed.requests.len() as u64);
            let ids: Vec<_> = claimed
                .requests
                .iter()
                .map(|request| request.payment_id)
                .collect();
            if !sender::send(&self.publisher, claimed.requests).await {
                self.store.release(&ids).await?;
                return Ok(Swept::Disconnected);
            }
        }
        Ok(Swept::Due {
            rows: claimed.due,
            all: claimed.due < room,
        })
    }

    /// Notices that the connection went away and came back; true while it is there. Messages handed to a connection that
    /// was already dead are gone without an error, so that what was sent just before becomes due.
    async fn follow_link(&mut self) -> Result<bool, sqlx::Error> {
        let link = *self.connection.link().borrow();
        if !link.connected {
            self.gone_since.get_or_insert_with(Instant::now);
            return Ok(false);
        }
        if link.epoch != self.epoch {
            let away = self.gone_since.map_or(EVERY, |since| since.elapsed());
            let due = self
                .store
                .release_sent(Some(away + DEAD_LINK_NOTICED_WITHIN))
                .await?;
            self.epoch = link.epoch;
            info!(
                payments = due,
                "connected to NATS again; what was sent just before is sent again"
            );
        }
        self.gone_since = None;
        Ok(true)
    }
}
