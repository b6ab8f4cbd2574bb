//! Open rows that no request touches any more. A request comes again until its payment has an outcome, unless the ledger went back
//! to a moment before it had one, or invoice-app to one before it asked. The bank is asked what it knows, and never to pay.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, stream};
use service::{repeat, telemetry::chain};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{PayRequests, admission::Admitted, bank_call::BankCall};
use crate::{
    ledger::{Entry, State},
    order::IdempotencyKey,
    store,
};

/// Twice the longest pause between two tries of a request that comes again.
const QUIET: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_secs(30);
/// Looked up in one go, and at once: what customers wait for needs the bank more.
const MOST: usize = 256;
const AT_ONCE: usize = 8;

/// Whether there may be more to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct More(pub bool);

impl PayRequests {
    /// Looks up what nobody asks for, until told to stop.
    pub async fn look_after_unasked(&self, stop: CancellationToken) {
        let looking = || async {
            // After a restore they may be very many. Each page leaves its rows touched or ended, so that the next are others;
            // a page of unreadable rows does not, and has to wait.
            loop {
                match self.look_up_unasked(QUIET).await {
                    Ok(More(true)) => {}
                    Ok(More(false)) => return,
                    Err(error) => {
                        return warn!(error = chain(&error), "open payments could not be looked up");
                    }
                }
            }
        };
        // What is under way at the end is like what a crash leaves: the lease ends, and it is looked up.
        repeat::every(EVERY, stop, looking).await;
    }

    /// Looks up the first of those that nobody has touched for `quiet`; whether there may be more. What the bank does not know
    /// stays open.
    pub async fn look_up_unasked(&self, quiet: Duration) -> Result<More, store::Error> {
        if self.bank.is_there().is_err() {
            return Ok(More(false));
        }
        let ids = self.store.unasked(quiet, MOST).await?;
        if ids.is_empty() {
            return Ok(More(false));
        }
        let read = Instant::now();
        let entries = self.store.entries(&ids).await?;
        let open = entries.iter().enumerate();
        let open: HashMap<_, (usize, &Entry, _)> = open
            .filter(|(_, entry)| entry.state == State::Open { lease_left: None })
            .map(|(position, entry)| (entry.payment_id, (position, entry, None)))
            .collect();
        let taken_over = self.take_over(open, read).await?;
        let more = ids.len() == MOST && !taken_over.is_empty();
        stream::iter(taken_over)
            .for_each_concurrent(AT_ONCE, |(_, admitted)| async move {
                if let Admitted::Call(call) = admitted {
                    self.look_up_only(*call).await;
                }
            })
            .await;
        Ok(More(more))
    }

    async fn look_up_only(&self, mut call: BankCall) {
        let key = IdempotencyKey::from(call.lease.payment_id);
        let found = match self.turn(&mut call.lease).await {
            Ok(permit) => self.look_up(&mut call, key, &permit).await,
            Err(instead) => Some(instead),
        };
        match found {
            // There is no request to decide about: what is finished is published, now or when somebody asks.
            Some(conclusion) => drop(self.conclude(&call, conclusion).await),
            None => self.release(&call.lease, false).await,
        }
    }
}
