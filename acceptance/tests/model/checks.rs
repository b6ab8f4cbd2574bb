//! What must be true of the world's books, at any time and in the end.

use std::{collections::HashSet, time::Duration};

use invoice_app::{invoice, payment};
use payment_contract::{PaymentId, messages::OutcomeStatus};
use payment_provider::order::Answer;

use crate::{books, transition::Plan, world::World};

impl World {
    /// What must be true at any time.
    pub(crate) fn expect_sound(&self) {
        // Whatever is open may be under way still.
        let options = reconcile::Options {
            older_than: Duration::MAX,
        };
        let lost = self.lost(|id| !self.payment_provider.ledger.is_finished(id));
        let report = books::report(self, options, &lost);
        assert!(report.is_clean(), "{report}\n{self:#?}");
        for payment in &self.invoice_app.payments {
            let first = self
                .ended
                .get(&payment.id)
                .copied()
                .unwrap_or(payment::Status::Requested);
            let again = self.invoice_app.went_back && payment.status == payment::Status::Requested;
            assert!(again || payment.status == first, "an ending stays: {payment:?}");
            if let Some(status) = settled(payment.status) {
                let row = self.payment_provider.ledger.row(payment.id);
                let ending = row.and_then(|row| row.ending.as_ref());
                let told = match ending {
                    Some(ending) => ending.settlement.status == status,
                    // Then the bank must have said so.
                    None => self.forgotten.contains(&payment.id) && self.bank_said(payment.id, status),
                };
                assert!(
                    told,
                    "an outcome comes from a finished row: {payment:?}\n{self:#?}"
                );
            }
        }
        for invoice in &self.invoice_app.invoices {
            let charged = |charge: &&crate::bank::Charge| {
                charge.invoice == invoice.number && matches!(charge.answer, Answer::Succeeded { .. })
            };
            let times = self.bank.charges().iter().filter(charged).count();
            assert!(times <= 1, "charged {times} times: {invoice:?}\n{self:#?}");
        }
        // Who holds which row is forgotten with the rows.
        if !self.payment_provider.ledger.went_back {
            assert_eq!(self.bank.complaints(), [] as [&str; 0], "{self:#?}");
        }
        assert_eq!(self.payment_provider.conflicts, [] as [&str; 0], "{self:#?}");
        assert_eq!(self.invoice_app.dead_letters, [] as [&str; 0], "{self:#?}");
    }

    /// What must be true once nothing goes wrong any more: the check is clean, and each invoice is paid if and only if it
    /// was asked for once more than the bank refused it.
    pub(crate) fn expect_all_done(&self, plan: &Plan) {
        let lost = self.lost(|id| self.payment_provider.ledger.row(id).is_none());
        let report = books::report(self, reconcile::Options::AT_REST, &lost);
        assert!(report.clone().expect_clean().is_ok(), "{report}\n{self:#?}");
        let asked = |invoice: &str| {
            let charges = self
                .bank
                .charges()
                .iter()
                .filter(|charge| charge.invoice == invoice);
            u32::try_from(charges.count()).unwrap()
        };
        for (invoice, refusals) in self.invoice_app.invoices.iter().zip(&plan.refusals) {
            let paid = invoice.status == invoice::Status::Paid;
            assert_eq!(paid, asked(&invoice.number) > *refusals, "{invoice:?}\n{self:#?}");
        }
    }

    /// What the ledger has forgotten in this way, and nobody asks for any more.
    fn lost(&self, how: impl Fn(PaymentId) -> bool) -> HashSet<PaymentId> {
        let forgotten = self.forgotten.iter().copied();
        forgotten.filter(|id| how(*id) && self.has_settled(*id)).collect()
    }

    /// Or an operator.
    fn bank_said(&self, id: PaymentId, status: OutcomeStatus) -> bool {
        match self.bank.statement(id.as_uuid()) {
            Some(Answer::Succeeded { .. }) => status == OutcomeStatus::Succeeded,
            Some(Answer::Declined { .. }) => status == OutcomeStatus::Declined,
            Some(Answer::Pending) | None => self.by_hand.contains(&id),
        }
    }
}

fn settled(status: payment::Status) -> Option<OutcomeStatus> {
    match status {
        payment::Status::Requested => None,
        payment::Status::Succeeded => Some(OutcomeStatus::Succeeded),
        payment::Status::Declined => Some(OutcomeStatus::Declined),
    }
}
