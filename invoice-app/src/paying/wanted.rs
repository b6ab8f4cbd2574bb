//! What a call that pays several asks for, and what comes of it.

use payment_contract::Currency;

use super::requested_ids::RequestedIds;
use crate::{
    payment::Batch,
    store::paying::Selection,
    totals::{Expected, Total},
    waiters::Waiter,
};

/// Which invoices a call wants to pay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// These; or else every unpaid one,
    pub ids: Option<Vec<String>>,
    /// of this currency, if it says so.
    pub currency: Option<Currency>,
    /// And only if they add up to this.
    pub expected: Option<Expected>,
}

/// The invoices do not add up to what the caller expected, but to this; nothing was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalsChanged(pub Vec<Total>);

/// What became of paying several.
#[derive(Debug)]
pub struct PaidMany {
    /// As it was when the call was committed.
    pub batch: Batch,
    /// Hears of its payments.
    pub waiter: Waiter,
}

/// What a call selects, its ids judged.
pub(super) struct Selected {
    pub(super) ids: Option<RequestedIds>,
    currency: Option<Currency>,
    pub(super) expected: Option<Expected>,
}

impl Selected {
    pub(super) fn selection(&self) -> Selection {
        match (&self.ids, self.currency) {
            (Some(ids), _) => Selection::These(ids.distinct.clone()),
            (None, Some(currency)) => Selection::AllUnpaidOf(currency),
            (None, None) => Selection::AllUnpaid,
        }
    }
}

impl From<Wanted> for Selected {
    fn from(wanted: Wanted) -> Self {
        Self {
            ids: wanted.ids.map(RequestedIds::new),
            currency: wanted.currency,
            expected: wanted.expected,
        }
    }
}
