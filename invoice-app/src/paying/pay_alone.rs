//! Paying one invoice by itself: when a condition is to be met, and when it could not be paid in a batch, to find out why.

use service::{
    database::{SHORT, retry_conflicts, unless_held},
    fail_point,
};

use super::{
    PaidOne,
    single_pay_batcher::{SingleCall, SinglePays, pay_checked_in_tx},
};
use crate::{
    idempotency::Called,
    invoice::{IfMatch, Status},
    payment::OutboxRequest,
    store::{idempotency::check_in_tx, invoices::version_in_tx, paying::status_in_tx},
};

impl SinglePays {
    /// Pays one invoice by itself, if it is as the caller believes, and else tells why not. What somebody else holds is being paid.
    pub(super) async fn pay_alone(
        &self,
        single: &SingleCall,
        if_match: Option<&IfMatch>,
    ) -> Result<Called<PaidOne>, sqlx::Error> {
        let pay = || retry_conflicts(SHORT, || self.pay_alone_in_tx(single, if_match));
        let Some(called) = unless_held(pay).await? else {
            return Ok(Called::Ran(PaidOne::NotPayable(Status::Pending)));
        };
        Ok(match called {
            Called::Ran(Ok(request)) => {
                let (payment, waiter) = self.requested(&request);
                self.hand_over(vec![request]).await;
                Called::Ran(PaidOne::Requested(payment, waiter))
            }
            Called::Ran(Err(refused)) => Called::Ran(refused),
            Called::NotRun(why) => Called::NotRun(why),
        })
    }

    /// The payment asked for, or why there is none. Commits.
    async fn pay_alone_in_tx(
        &self,
        single: &SingleCall,
        if_match: Option<&IfMatch>,
    ) -> Result<Called<Result<OutboxRequest, PaidOne>>, sqlx::Error> {
        let mut tx = self.store.begin().await?;
        if let Some(why) = check_in_tx(&mut tx, single.call.as_ref()).await? {
            // Not left to the drop: that would hold the key for a moment longer than the answer takes.
            tx.rollback().await?;
            return Ok(Called::NotRun(why));
        }
        // Locks it, so that below it is not passed over while somebody holds it.
        let version = version_in_tx(&mut tx, single.id).await?;
        if let (Some(if_match), Some(version)) = (if_match, version)
            && !if_match.is_met(&version)
        {
            tx.rollback().await?;
            return Ok(Called::Ran(Err(PaidOne::Changed)));
        }
        let calls = std::slice::from_ref(single);
        let mut called = pay_checked_in_tx(&mut tx, calls, vec![None], self.lease).await?;
        let Some(called) = called.pop().flatten() else {
            let status = status_in_tx(&mut tx, single.id).await?;
            tx.rollback().await?;
            return Ok(Called::Ran(Err(match status {
                None => PaidOne::Unknown,
                Some(Status::Unpaid) => PaidOne::NotPayable(Status::Pending),
                Some(other) => PaidOne::NotPayable(other),
            })));
        };
        fail_point!(PaymentCommitting);
        tx.commit().await?;
        fail_point!(PaymentCommitted);
        Ok(called.map(Ok))
    }
}
