//! Requests whose invoice numbers other payments have: an invoice number is paid once.

use std::collections::HashMap;

use payment_contract::InvoiceId;
use tokio::time::Instant;

use super::{
    DeliveredRequest, PayRequests,
    admission::{Admissions, Admitted, DATABASE_AWAY, hold, retry},
    lease::{jitter, until_it_is_back},
};
use crate::{
    ledger::{Entry, State, wait_for_lease},
    store,
};

impl PayRequests {
    /// Where that is an open earlier attempt at the same invoice, it comes to its end first, under its own key: nobody asks for
    /// a second attempt before the first was declined, so either the ledger has forgotten that, or somebody has lied. Any
    /// other request is held from its next delivery on, or has its way by then.
    pub(super) async fn admit_behind_others(
        &self,
        requests: &[(usize, DeliveredRequest)],
    ) -> Result<Admissions, store::Error> {
        let mut intents = self.intents_of(requests);
        let read = Instant::now();
        let earlier: HashMap<InvoiceId, Entry> = self
            .store
            .earlier_attempts(&intents)
            .await?
            .into_iter()
            .map(|entry| (entry.invoice_id, entry))
            .collect();
        intents.retain(|intent| !earlier.contains_key(&intent.invoice_id));
        self.store.hold_numbers_paid(&intents).await?;

        let mut admissions = Vec::with_capacity(requests.len());
        let mut open = HashMap::new();
        for (position, request) in requests {
            let entry = earlier.get(&request.message.invoice_id);
            let away = self.bank.is_there().err();
            let after = match entry.map(|entry| (entry, &entry.state)) {
                Some((entry, State::Open { lease_left: None })) if let Some(away) = away => {
                    until_it_is_back(away, entry.tries)
                }
                Some((entry, State::Open { lease_left: None })) if !open.contains_key(&entry.payment_id) => {
                    open.insert(entry.payment_id, (*position, entry, Some(request)));
                    continue;
                }
                Some((
                    _,
                    State::Open {
                        lease_left: Some(left),
                    },
                )) => wait_for_lease(*left, jitter()),
                Some((entry, State::Held(held))) => {
                    admissions.push((*position, hold(entry.payment_id, entry.invoice_id, *held)));
                    continue;
                }
                _ => DATABASE_AWAY,
            };
            admissions.push((*position, retry(after)));
        }
        if !open.is_empty() {
            let taken_over = self.take_over(open, read).await?;
            admissions.extend(taken_over.into_iter().map(|(position, admitted)| match admitted {
                Admitted::Call(call) => (position, Admitted::Earlier(call)),
                other => (position, other),
            }));
        }
        Ok(admissions)
    }
}
