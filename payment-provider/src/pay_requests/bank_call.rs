//! The middle step: asks the bank, and only while the row is held.

use std::time::Duration;

use payment_contract::{InvoiceId, messages::ProviderEffort, trace::TraceParent};
use service::{fail_point, traces};
use tokio::time::Instant;
use tracing::{debug, error, info};

use super::{
    PayRequests,
    lease::{Lease, LeaseLost},
};
use crate::{
    gateway::{Away, Permit},
    ledger::{Age, LookedUp, Settlement, looked_up, may_call, paid},
    metrics,
    order::{IdempotencyKey, Order},
};

/// A bank that takes this long is worth telling: most take a tenth of it.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct BankCall {
    pub(super) order: Order,
    pub(super) lease: Lease,
    pub(super) invoice_id: InvoiceId,
    pub(super) trace: Option<TraceParent>,
    pub(super) tries: u32,
    pub(super) began: Instant,
    /// How long ago it was first asked for.
    pub(super) age: Age,
    /// Somebody may have called before: look up first.
    pub(super) look_up: bool,
    /// How often its request was delivered.
    pub(super) deliveries: u32,
    /// How long the bank took to answer last.
    pub(super) bank_took: Duration,
}

/// What asking the bank led to.
#[derive(Debug)]
pub(super) enum Conclusion {
    /// A definite result.
    Settled(Settlement),
    /// No result: try again later, with a look-up first.
    Unknown,
    /// The bank was not asked: it does not answer anybody.
    Away(Away),
    /// The bank does not know the payment but may have forgotten it.
    LeftToOperator,
    /// Somebody else holds the row now.
    LeaseLost,
}

impl From<LeaseLost> for Conclusion {
    fn from(_: LeaseLost) -> Self {
        Self::LeaseLost
    }
}

impl BankCall {
    /// What it took to settle it, where that was unusual.
    pub(super) fn effort(&self) -> Option<ProviderEffort> {
        let unusual = self.look_up || self.tries > 0 || self.deliveries > 1 || self.bank_took >= SLOW;
        unusual.then(|| ProviderEffort {
            tries: self.tries,
            looked_up: self.look_up,
            deliveries: self.deliveries,
            bank_ms: u64::try_from(self.bank_took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl PayRequests {
    /// Looks the payment up if anybody may have called before, and pays it if that is still to be done.
    pub(super) async fn ask(&self, call: &mut BankCall) -> Conclusion {
        self.ask_in_turn(call).await.unwrap_or_else(|instead| instead)
    }

    /// An error is why the bank was not asked.
    async fn ask_in_turn(&self, call: &mut BankCall) -> Result<Conclusion, Conclusion> {
        let key = IdempotencyKey::from(call.lease.payment_id);
        let mut permit = self.turn(&mut call.lease).await?;
        if call.look_up {
            if let Some(asked) = self.look_up(call, key, &permit).await {
                return Ok(asked);
            }
            // The look-up may have used the lease up.
            if !self.outlasts_a_call(&call.lease) {
                drop(permit);
                self.renew(&mut call.lease).await?;
                permit = self.turn(&mut call.lease).await?;
            }
        }
        // The time for which the bank remembers may be over as well: whoever is stopped here goes on as if nothing had happened.
        let age = call.age.at(Instant::now());
        if !may_call(age, self.policy.key_retention) {
            return Ok(left_to_operator(call, age));
        }
        fail_point!(BankPaying);
        let asked = Instant::now();
        let answer = traces::within(trace(call), permit.pay(key, &call.order)).await;
        call.bank_took = asked.elapsed();
        fail_point!(BankPaid);
        Ok(match paid(answer) {
            Ok(settlement) => Conclusion::Settled(settlement),
            Err(why) => unknown(call, &why),
        })
    }

    /// In a [turn](Self::turn). `None`: the bank does not know the key, so it may be called with it.
    pub(super) async fn look_up(
        &self,
        call: &mut BankCall,
        key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Option<Conclusion> {
        fail_point!(BankLookingUp);
        let asked = Instant::now();
        let found = traces::within(trace(call), permit.find(key)).await;
        call.bank_took = asked.elapsed();
        fail_point!(BankLookedUp);
        // As old as it is when the bank has answered, not as it was read.
        let age = call.age.at(Instant::now());
        match looked_up(found, age, self.policy.key_retention) {
            LookedUp::Settled(settlement) => {
                info!(payment.id = %key, tries = call.tries, "the bank knew the result of an open payment");
                Some(Conclusion::Settled(settlement))
            }
            LookedUp::Pay => {
                debug!(payment.id = %key, tries = call.tries, "the bank does not know the payment; calling with the same key");
                None
            }
            LookedUp::LeftToOperator => Some(left_to_operator(call, age)),
            LookedUp::Unknown(why) => Some(unknown(call, &why)),
        }
    }
}

fn trace(call: &BankCall) -> Option<&str> {
    call.trace.as_ref().map(TraceParent::as_str)
}

fn left_to_operator(call: &BankCall, age: Duration) -> Conclusion {
    metrics::LEFT_TO_OPERATOR.add(1);
    error!(
        payment.id = %call.lease.payment_id,
        invoice.id = %call.invoice_id,
        age_s = age.as_secs(),
        "the bank may have forgotten this open payment: ask it, then end it with `ledger resolve`"
    );
    Conclusion::LeftToOperator
}

fn unknown(call: &BankCall, why: &str) -> Conclusion {
    metrics::UNKNOWN.add(1);
    info!(
        payment.id = %call.lease.payment_id,
        invoice.id = %call.invoice_id,
        trace_id = call.trace.as_ref().map(TraceParent::trace_id),
        tries = call.tries + 1,
        why,
        "the payment stays open: its result is not known"
    );
    Conclusion::Unknown
}
