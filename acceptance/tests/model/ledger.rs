//! The ledger: its rows with the rules that its statements keep, and a copy of them to go back to.

use std::time::Duration;

use payment_contract::{
    PaymentId,
    messages::{OutcomeStatus, PayRequestV1, PaymentOutcomeV1},
};
use payment_provider::{
    ledger::{Ending, Entry, Held, RequestHash, Settlement, State},
    order::{Answer, Order},
};
use time::OffsetDateTime;

use crate::{bank::Bank, transition::Luck};

/// As in `config.default.toml`.
const LEASE: Duration = Duration::from_secs(15);
pub(crate) const KEY_RETENTION: Duration = Duration::from_hours(23);

/// A row of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The first one.
    pub(crate) request: PayRequestV1,
    pub(crate) tries: u32,
    created: Duration,
    pub(crate) lease: Option<Lease>,
    held: bool,
    pub(crate) ending: Option<Ending>,
}

/// Until when, by the database's clock, and whose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) token: u64,
    pub(crate) until: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) rows: Vec<Row>,
    tokens: u64,
    copy: Option<(Duration, Vec<Row>)>,
    pub(crate) went_back: bool,
}

impl Ledger {
    pub(crate) fn row(&self, id: PaymentId) -> Option<&Row> {
        self.rows.iter().find(|row| row.request.payment_id == id)
    }

    pub(crate) fn row_mut(&mut self, id: PaymentId) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.request.payment_id == id)
    }

    /// SQL: the index `ledger_number`: who has a request's invoice number.
    pub(crate) fn has_number(&self, number: &str) -> Option<&Row> {
        let has = |row: &&Row| row.request.invoice_number == number && !row.held && !row.is_declined();
        self.rows.iter().find(has)
    }

    /// SQL: `store::intents::insert_intents`; `None`: held.
    pub(crate) fn insert(&mut self, request: &PayRequestV1, lease: Option<Lease>, now: Duration) {
        self.rows.push(Row {
            request: request.clone(),
            tries: 0,
            created: now,
            held: lease.is_none(),
            lease,
            ending: None,
        });
    }

    pub(crate) fn new_lease(&mut self, now: Duration) -> Lease {
        self.tokens += 1;
        Lease {
            token: self.tokens,
            until: now + LEASE,
        }
    }

    /// SQL: `store::leases::take_leases`: of a started row that is not held, and whose lease is over.
    pub(crate) fn take_lease(&mut self, id: PaymentId, now: Duration) -> Option<Lease> {
        let lease = self.new_lease(now);
        let row = self.row_mut(id)?;
        let is_free = row.ending.is_none() && !row.held && row.lease.is_none_or(|held| held.until < now);
        is_free.then(|| *row.lease.insert(lease))
    }

    /// SQL: `store::leases::renew_leases`: of a started row that is still this token's.
    pub(crate) fn renew(&mut self, id: PaymentId, lease: Lease, now: Duration) -> Option<Lease> {
        let row = self.row_mut(id)?;
        let held = row.lease.as_mut().filter(|held| held.token == lease.token)?;
        held.until = now + LEASE;
        Some(*held)
    }

    /// SQL: `store::leases::release_leases`.
    pub(crate) fn release(&mut self, id: PaymentId, lease: Lease, now: Duration) {
        if let Some(row) = self.row_mut(id)
            && let Some(held) = row.lease.as_mut().filter(|held| held.token == lease.token)
        {
            held.until = now;
            held.token = 0;
            row.tries += 1;
        }
    }

    /// An operator ends a payment that nobody has leased, held or open, when the bank can have forgotten it and nothing is under
    /// way any more, by what the bank has told in writing; a held one also when the bank still says how it ended. SQL:
    /// `store::resolutions::resolve`. `None`: there is nothing to end.
    pub(crate) fn resolve(&mut self, index: usize, bank: &Bank, now: Duration) -> Option<PaymentOutcomeV1> {
        let row = self.rows.get_mut(index)?;
        let key = row.request.payment_id.as_uuid();
        let said = || matches!(bank.find(key, Luck::Answered, now), Ok(Some(_)));
        let old = row.age(now) >= KEY_RETENTION + Duration::from_hours(1) || row.is_held() && said();
        if row.ending.is_some() || !old || row.lease.is_some_and(|held| held.until > now) {
            return None;
        }
        let settlement = match bank.statement(key) {
            Some(Answer::Succeeded { reference }) => Settlement {
                status: OutcomeStatus::Succeeded,
                reason: None,
                reference,
            },
            Some(Answer::Declined { .. } | Answer::Pending) | None => Settlement {
                status: OutcomeStatus::Declined,
                reason: Some("ended by an operator".to_owned()),
                reference: None,
            },
        };
        row.lease = None;
        row.ending = Some(Ending {
            settlement,
            settled_at: OffsetDateTime::UNIX_EPOCH + now,
        });
        row.outcome()
    }

    pub(crate) fn back_up(&mut self, now: Duration) {
        self.copy = Some((now, self.rows.clone()));
    }

    pub(crate) fn copied_at(&self) -> Option<Duration> {
        self.copy.as_ref().map(|(at, _)| *at)
    }

    /// The copy takes the ledger's place; tells which finished rows are gone, or open again.
    pub(crate) fn go_back(&mut self) -> Vec<PaymentId> {
        let Some((_, rows)) = self.copy.clone() else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut self.rows, rows);
        self.went_back = true;
        let finished = before.iter().filter(|row| row.ending.is_some());
        let ids = finished.map(|row| row.request.payment_id);
        ids.filter(|id| !self.is_finished(*id)).collect()
    }

    pub(crate) fn is_finished(&self, id: PaymentId) -> bool {
        self.row(id).is_some_and(|row| row.ending.is_some())
    }
}

impl Row {
    pub(crate) fn is_open(&self) -> bool {
        self.ending.is_none() && !self.held
    }

    fn is_declined(&self) -> bool {
        let status = self.ending.as_ref().map(|ending| ending.settlement.status);
        status == Some(OutcomeStatus::Declined)
    }

    pub(crate) fn outcome(&self) -> Option<PaymentOutcomeV1> {
        let ending = self.ending.as_ref()?;
        Some(ending.outcome(self.request.payment_id, self.request.invoice_id))
    }

    pub(crate) fn is_held(&self) -> bool {
        self.ending.is_none() && self.held
    }

    /// Since it was written, or asked for where that is longer; a held one since it was written.
    fn age(&self, now: Duration) -> Duration {
        let since = if self.held {
            self.created
        } else {
            self.created.min(requested_at(&self.request))
        };
        now.saturating_sub(since)
    }

    pub(crate) fn entry(&self, now: Duration) -> Entry {
        let state = match &self.ending {
            Some(ending) => State::Finished(ending.clone()),
            None if self.held => State::Held(Held::NumberPaid),
            None => State::Open {
                lease_left: self
                    .lease
                    .and_then(|held| held.until.checked_sub(now))
                    .filter(|left| !left.is_zero()),
            },
        };
        Entry {
            payment_id: self.request.payment_id,
            invoice_id: self.request.invoice_id,
            request_hash: RequestHash::of(&self.request),
            order: Order::of(&self.request),
            tries: self.tries,
            age: self.age(now),
            trace: None,
            state,
        }
    }
}

/// By the model's clock.
pub(crate) fn requested_at(request: &PayRequestV1) -> Duration {
    (request.requested_at - OffsetDateTime::UNIX_EPOCH).unsigned_abs()
}
