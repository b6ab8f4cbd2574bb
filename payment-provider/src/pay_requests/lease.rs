//! Holding a row: as long as a lease lasts nobody else calls the bank for it. Time is measured from before the statement
//! that took it, so that the database's clock is never ahead of what is believed here.

use std::{collections::HashSet, time::Duration};

use futures_util::FutureExt as _;
use payment_contract::PaymentId;
use service::{batcher::Batcher, fail_point, telemetry::chain};
use tokio::time::{Instant, sleep};
use tracing::warn;
use uuid::Uuid;

use super::{PayRequests, bank_call::Conclusion};
use crate::{
    gateway::{Away, Permit},
    ledger::{outlasts, retry_delay},
    metrics,
    store::Store,
};

/// One statement renews or gives back this many leases at most.
const LARGEST_BATCH: usize = 512;
/// Batches under way: one whose connection is silent holds up no other's.
const BATCHES: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) payment_id: PaymentId,
    pub(super) token: Uuid,
    /// It surely lasts until then.
    pub(super) until: Instant,
}

impl Lease {
    fn ids(&self) -> (Uuid, Uuid) {
        (self.payment_id.as_uuid(), self.token)
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// The lease was taken by somebody else, or nobody can tell: no call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseLost;

impl PayRequests {
    /// A turn at the bank, with a lease that outlasts a call that is started now. The lease is kept while others have their turns.
    /// Renewing it may have to wait for the database, and nobody waits for that with a turn in hand.
    pub(super) async fn turn(&self, lease: &mut Lease) -> Result<Permit<'_>, Conclusion> {
        loop {
            let permit = tokio::select! {
                biased;
                permit = self.bank.acquire() => permit.map_err(Conclusion::Away)?,
                lost = self.keep(lease) => return Err(lost.into()),
            };
            if self.outlasts_a_call(lease) {
                return Ok(permit);
            }
            drop(permit);
            self.renew(lease).await?;
        }
    }

    /// Renews the lease well before it is too short for a call, again and again until that fails.
    async fn keep(&self, lease: &mut Lease) -> LeaseLost {
        let call = self.bank.timeout() + self.policy.lease_margin;
        let ahead = call + self.store.lease().saturating_sub(call) / 2;
        loop {
            sleep(lease.left().saturating_sub(ahead)).await;
            if let Err(lost) = self.renew(lease).await {
                return lost;
            }
        }
    }

    /// Whether a call that is started now ends within the lease.
    pub(super) fn outlasts_a_call(&self, lease: &Lease) -> bool {
        outlasts(lease.left(), self.bank.timeout(), self.policy.lease_margin)
    }

    /// Renews the lease; lost unless it outlasts a call then.
    pub(super) async fn renew(&self, lease: &mut Lease) -> Result<(), LeaseLost> {
        let asked = Instant::now();
        let renewed = self.renewals.submit(*lease).await.unwrap_or(false);
        if renewed {
            lease.until = asked + self.store.lease();
            if self.outlasts_a_call(lease) {
                return Ok(());
            }
        }
        metrics::LEASES_LOST.add(1);
        warn!(payment.id = %lease.payment_id, "the lease could not be renewed; the bank is not called");
        Err(LeaseLost)
    }

    /// Gives the lease back, after a try that counts or without one. Best effort: one that is not given back ends by itself.
    pub(super) async fn release(&self, lease: &Lease, counts: bool) {
        // An error: the batch panicked.
        let _ = self.releases.submit((*lease, counts)).await;
    }
}

pub(super) fn renewals(store: Store) -> Batcher<Lease, bool> {
    let queue = metrics::batcher_queue("lease_renewals");
    Batcher::new(queue, LARGEST_BATCH, BATCHES, store, |store, leases| {
        renew(store, leases).boxed()
    })
}

async fn renew(store: &Store, leases: Vec<Lease>) -> Vec<bool> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = leases.iter().map(Lease::ids).unzip();
    fail_point!(LeasesRenewing);
    let renewed = store.renew_leases(&ids, &tokens).await.unwrap_or_else(|error| {
        warn!(
            leases = ids.len(),
            error = chain(&error),
            "leases could not be renewed"
        );
        Vec::new()
    });
    fail_point!(LeasesRenewed);
    let renewed: HashSet<Uuid> = renewed.into_iter().collect();
    ids.iter().map(|id| renewed.contains(id)).collect()
}

pub(super) fn releases(store: Store) -> Batcher<(Lease, bool), ()> {
    let queue = metrics::batcher_queue("lease_releases");
    Batcher::new(queue, LARGEST_BATCH, BATCHES, store, |store, releases| {
        give_back(store, releases).boxed()
    })
}

async fn give_back(store: &Store, releases: Vec<(Lease, bool)>) -> Vec<()> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = releases.iter().map(|(lease, _)| lease.ids()).unzip();
    let tries: Vec<i32> = releases.iter().map(|(_, counts)| i32::from(*counts)).collect();
    fail_point!(LeasesReleasing);
    if let Err(error) = store.release_leases(&ids, &tokens, &tries).await {
        warn!(
            leases = ids.len(),
            error = chain(&error),
            "leases could not be given back; they end by themselves"
        );
    }
    fail_point!(LeasesReleased);
    vec![(); releases.len()]
}

/// What waits for the bank comes back within this time, so that there is neither a storm nor a wait that anybody minds.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// A little chance, from 0 to 1, so that what failed together does not come back together.
pub(super) fn jitter() -> f64 {
    rand::random()
}

/// `base` and up to half as much again.
pub(super) fn spread(base: Duration) -> Duration {
    base.mul_f64(1.0 + jitter() / 2.0)
}

/// When to come back while the bank is away: after the next call that asks whether it is back, and not all together. Not before
/// its own time, if the payment had calls in vain: what the bank will not have would be what it is asked with, again and again.
pub(super) fn until_it_is_back(away: Away, tries: u32) -> Duration {
    let back = away.next_call + BACK_WITHIN.mul_f64(jitter());
    match tries {
        0 => back,
        tries => back.max(retry_delay(tries, jitter())),
    }
}
