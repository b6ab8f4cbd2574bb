//! Holding a row: as long as a lease lasts nobody else calls the bank for it. Time is measured from before the statement
//! that took it, so that the database's clock is never ahead of what is believed here.

use std::{collections::HashSet, time::Duration};

use futures_util::FutureExt as _;
use payment_contract::PaymentId;
use service::{batcher::Batcher, fail_point, telemetry::chain};
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::PayRequests;
use crate::{
    gateway::Away,
    ledger::{outlasts, retry_delay},
    metrics,
    store::Store,
};

/// One statement renews or gives back this many leases at most.
const LARGEST_GROUP: usize = 512;
/// Groups under way: one whose connection is silent holds up no other's.
const GROUPS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) payment_id: PaymentId,
    pub(super) token: Uuid,
    /// It surely lasts until then.
    pub(super) until: Instant,
}

pub(super) struct Renewal {
    payment_id: Uuid,
    token: Uuid,
}

pub(super) struct Release {
    payment_id: Uuid,
    token: Uuid,
    tries: i32,
}

/// The lease was taken by somebody else, or nobody can tell: no call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseLost;

impl PayRequests {
    /// Makes sure that a call started now ends within the lease; renews it if it would not.
    pub(super) async fn outlast_a_call(&self, lease: &mut Lease) -> Result<(), LeaseLost> {
        let (timeout, margin) = (self.bank.timeout(), self.policy.lease_margin);
        let lasts =
            |until: Instant| outlasts(until.saturating_duration_since(Instant::now()), timeout, margin);
        if lasts(lease.until) {
            return Ok(());
        }
        let asked = Instant::now();
        let renewal = Renewal {
            payment_id: lease.payment_id.as_uuid(),
            token: lease.token,
        };
        let renewed = self.renewals.submit(renewal).await.unwrap_or(false);
        lease.until = asked + self.store.lease();
        if renewed && lasts(lease.until) {
            return Ok(());
        }
        metrics::lease_lost();
        warn!(payment.id = %lease.payment_id, "the lease could not be renewed; the bank is not called");
        Err(LeaseLost)
    }

    /// Gives the lease back. Best effort: one that is not given back ends by itself.
    pub(super) async fn release(&self, lease: &Lease, counts: bool) {
        let tries = i32::from(counts);
        let release = Release {
            payment_id: lease.payment_id.as_uuid(),
            token: lease.token,
            tries,
        };
        // BatchPanicked only when the group panicked; the lease then ends by itself.
        let _ = self.releases.submit(release).await;
    }
}

pub(super) fn renewals(store: Store) -> Batcher<Renewal, bool> {
    let queue = metrics::batcher_queue("lease_renewals");
    Batcher::new(queue, LARGEST_GROUP, GROUPS, store, |store, renewals| {
        renew(store, renewals).boxed()
    })
}

async fn renew(store: &Store, renewals: Vec<Renewal>) -> Vec<bool> {
    let ids: Vec<Uuid> = renewals.iter().map(|renewal| renewal.payment_id).collect();
    let tokens: Vec<Uuid> = renewals.iter().map(|renewal| renewal.token).collect();
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

pub(super) fn releases(store: Store) -> Batcher<Release, ()> {
    let queue = metrics::batcher_queue("lease_releases");
    Batcher::new(queue, LARGEST_GROUP, GROUPS, store, |store, releases| {
        give_back(store, releases).boxed()
    })
}

async fn give_back(store: &Store, releases: Vec<Release>) -> Vec<()> {
    let ids: Vec<Uuid> = releases.iter().map(|release| release.payment_id).collect();
    let tokens: Vec<Uuid> = releases.iter().map(|release| release.token).collect();
    let tries: Vec<i32> = releases.iter().map(|release| release.tries).collect();
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
