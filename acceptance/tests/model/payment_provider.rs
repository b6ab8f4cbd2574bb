//! payment-provider: its ledger with the rules that its statements keep, and what its two replicas have in hand, each request
//! at one of the steps between which anything may happen.

use std::time::Duration;

use jetstream::delivery::decode;
use payment_contract::{
    InvoiceId, PaymentId,
    messages::{OutcomeStatus, PayRequestV1, PaymentOutcomeV1},
};
use payment_provider::{
    gateway::{Answer, Order},
    ledger::{
        Age, Ending, Entry, LookedUp, NextStep, RequestHash, Settlement, State, contradicts, looked_up,
        may_call, next_step, outlasts, paid,
    },
};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{bank::Bank, transition::Luck};

/// As in `config.default.toml`.
const LEASE: Duration = Duration::from_secs(15);
const LEASE_MARGIN: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);
const KEY_RETENTION: Duration = Duration::from_hours(23);

/// A row of the ledger.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) payment_id: PaymentId,
    pub(crate) invoice_id: InvoiceId,
    hash: RequestHash,
    order: Order,
    tries: u32,
    created: Duration,
    lease: Option<Lease>,
    pub(crate) ending: Option<Ending>,
}

/// Until when, by the database's clock, and whose.
#[derive(Clone, Copy, Debug)]
struct Lease {
    token: u64,
    until: Duration,
}

/// A request in hand.
#[derive(Debug)]
struct Work {
    replica: bool,
    sequence: u64,
    request: PayRequestV1,
    at: At,
}

/// How far it is.
#[derive(Clone, Debug)]
enum At {
    /// Nothing is done.
    Taken,
    /// The row was there, and read at that time.
    Met(Entry, Duration),
    /// The row is held; the bank is asked what it knows first.
    ToLookUp(Lease, Age),
    LookingUp(Lease, Age, Duration),
    /// The row is held, and the bank may be called.
    ToPay(Lease, Age),
    Paying(Lease),
    /// The bank gave a result.
    ToRecord(Settlement),
    /// The row is finished.
    ToPublish(PaymentOutcomeV1),
    /// There is no result: the lease is to be given back.
    ToRelease(Lease),
    /// The outcome is published.
    ToAck,
    /// It is out of hand, and comes again.
    PutOff,
}

/// What a step leads to, besides the next.
pub(crate) enum Effect {
    Nothing,
    Publish(PaymentOutcomeV1),
    Ack(u64),
}

#[derive(Debug)]
pub(crate) struct PaymentProvider {
    began: Instant,
    pub(crate) ledger: Vec<Row>,
    in_hand: Vec<Work>,
    tokens: u64,
    /// Results that contradicted finished rows, and requests that contradicted theirs.
    pub(crate) conflicts: Vec<String>,
}

/// More at a time would only be more of the same.
const MOST_IN_HAND: usize = 6;

impl PaymentProvider {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            ledger: Vec::new(),
            in_hand: Vec::new(),
            tokens: 0,
            conflicts: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, replica: bool, sequence: u64, body: &[u8]) {
        if self.in_hand.len() < MOST_IN_HAND {
            let request = decode(body).unwrap();
            self.in_hand.push(Work {
                replica,
                sequence,
                request,
                at: At::Taken,
            });
        }
    }

    pub(crate) fn in_hand(&self) -> usize {
        self.in_hand.len()
    }

    /// The calls of a dead replica are still on their way to the bank.
    pub(crate) fn die(&mut self, replica: bool) {
        self.in_hand.retain(|work| work.replica != replica);
    }

    /// Takes one request one step further.
    pub(crate) fn step(&mut self, index: usize, luck: Luck, bank: &mut Bank, now: Duration) -> Effect {
        let work = self.in_hand.swap_remove(index);
        let Work {
            replica,
            sequence,
            request,
            at,
        } = work;
        let id = request.payment_id;
        let mut effect = Effect::Nothing;
        let at = match at {
            At::Taken => self.admit(&request, now),
            At::Met(entry, read) => self.follow(&request, &entry, read, now),
            At::ToLookUp(lease, age) => match self.outlast_a_call(id, lease, now) {
                Some(lease) => At::LookingUp(lease, age, now),
                None => At::PutOff,
            },
            At::LookingUp(lease, age, began) => {
                let luck = if now > began + TIMEOUT {
                    Luck::LostBefore
                } else {
                    luck
                };
                match looked_up(
                    bank.find(key(id), luck, now),
                    age.at(self.instant(now)),
                    KEY_RETENTION,
                ) {
                    LookedUp::Settled(settlement) => At::ToRecord(settlement),
                    LookedUp::Pay => At::ToPay(lease, age),
                    LookedUp::LeftToOperator | LookedUp::Unknown(_) => At::ToRelease(lease),
                }
            }
            At::ToPay(lease, age) => match self.outlast_a_call(id, lease, now) {
                Some(lease) if !may_call(age.at(self.instant(now)), KEY_RETENTION) => At::ToRelease(lease),
                Some(lease) => {
                    bank.call(key(id), &self.row(id).unwrap().order, luck, now + TIMEOUT);
                    At::Paying(lease)
                }
                None => At::PutOff,
            },
            At::Paying(lease) => match paid(bank.hear(key(id), now)) {
                Ok(settlement) => At::ToRecord(settlement),
                Err(_) => At::ToRelease(lease),
            },
            At::ToRecord(settlement) => self.record(&request, &settlement, now),
            At::ToPublish(outcome) => match luck {
                Luck::LostBefore => At::PutOff,
                // Published, and not confirmed in time.
                Luck::LostAfter | Luck::Late => {
                    effect = Effect::Publish(outcome);
                    At::PutOff
                }
                Luck::Answered | Luck::TurnedAway | Luck::Mumbled => {
                    effect = Effect::Publish(outcome);
                    At::ToAck
                }
            },
            At::ToRelease(lease) => {
                self.release(id, lease, now);
                At::PutOff
            }
            At::ToAck => {
                // An acknowledgement may get lost like anything else.
                if luck == Luck::Answered {
                    effect = Effect::Ack(sequence);
                }
                At::PutOff
            }
            At::PutOff => At::PutOff,
        };
        if !matches!(at, At::PutOff) {
            self.in_hand.push(Work {
                replica,
                sequence,
                request,
                at,
            });
        }
        effect
    }

    /// SQL: `store::intents::insert_intents`, which inserts where there is no row, leased; then `entries`.
    fn admit(&mut self, request: &PayRequestV1, now: Duration) -> At {
        let hash = RequestHash::of(request);
        if let Some(row) = self.row(request.payment_id) {
            return At::Met(row.entry(now), now);
        }
        let lease = self.lease(now);
        self.ledger.push(Row {
            payment_id: request.payment_id,
            invoice_id: request.invoice_id,
            hash,
            order: Order {
                amount: request.amount,
                invoice_number: request.invoice_number.clone(),
            },
            tries: 0,
            created: now,
            lease: Some(lease),
            ending: None,
        });
        At::ToPay(lease, Age::new(Duration::ZERO, self.instant(now)))
    }

    fn follow(&mut self, request: &PayRequestV1, entry: &Entry, read: Duration, now: Duration) -> At {
        match next_step(entry, RequestHash::of(request)) {
            NextStep::Conflict => {
                self.conflicts.push(format!("{request:?} over {entry:?}"));
                At::PutOff
            }
            NextStep::Answer => At::ToPublish(entry.outcome().unwrap()),
            NextStep::Wait(_) | NextStep::Hold(_) => At::PutOff,
            NextStep::TakeOver => {
                // SQL: `store::leases::take_leases`: of a started row whose lease is over.
                let lease = self.lease(now);
                match self.row_mut(request.payment_id) {
                    Some(row) if row.ending.is_none() && row.lease.is_none_or(|held| held.until < now) => {
                        row.lease = Some(lease);
                        At::ToLookUp(lease, Age::new(entry.age, self.instant(read)))
                    }
                    _ => At::PutOff,
                }
            }
        }
    }

    /// SQL: `store::results::record`: over a started row only, whoever holds it.
    fn record(&mut self, request: &PayRequestV1, settlement: &Settlement, now: Duration) -> At {
        let Some(row) = self.row_mut(request.payment_id) else {
            return At::PutOff;
        };
        let ending = row.ending.get_or_insert_with(|| Ending {
            settlement: settlement.clone(),
            settled_at: OffsetDateTime::UNIX_EPOCH + now,
        });
        row.lease = None;
        let outcome = ending.outcome(row.payment_id, row.invoice_id);
        if contradicts(settlement, &ending.settlement) {
            let conflict = format!("{settlement:?} over {ending:?}");
            self.conflicts.push(conflict);
        }
        At::ToPublish(outcome)
    }

    /// SQL: `store::leases::renew_leases`: of a started row that is still this token's.
    fn outlast_a_call(&mut self, id: PaymentId, lease: Lease, now: Duration) -> Option<Lease> {
        if outlasts(lease.until.saturating_sub(now), TIMEOUT, LEASE_MARGIN) {
            return Some(lease);
        }
        let row = self.row_mut(id)?;
        let held = row.lease.as_mut().filter(|held| held.token == lease.token)?;
        held.until = now + LEASE;
        Some(*held)
    }

    /// SQL: `store::leases::release_leases`.
    fn release(&mut self, id: PaymentId, lease: Lease, now: Duration) {
        if let Some(row) = self.row_mut(id)
            && let Some(held) = row.lease.as_mut().filter(|held| held.token == lease.token)
        {
            held.until = now;
            held.token = 0;
            row.tries += 1;
        }
    }

    /// An operator ends an open payment nobody holds, when the bank can have forgotten it and nothing is under way any
    /// more, by what the bank has told in writing. SQL: `store::resolutions::resolve`. `None`: there is nothing to end.
    pub(crate) fn resolve(&mut self, index: usize, bank: &Bank, now: Duration) -> Option<PaymentOutcomeV1> {
        let row = self.ledger.get_mut(index)?;
        let old = now.saturating_sub(row.created) >= KEY_RETENTION + Duration::from_hours(1);
        if row.ending.is_some() || !old || row.lease.is_some_and(|held| held.until > now) {
            return None;
        }
        let settlement = match bank.statement(key(row.payment_id)) {
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
        let ending = Ending {
            settlement,
            settled_at: OffsetDateTime::UNIX_EPOCH + now,
        };
        let outcome = ending.outcome(row.payment_id, row.invoice_id);
        row.ending = Some(ending);
        Some(outcome)
    }

    fn lease(&mut self, now: Duration) -> Lease {
        self.tokens += 1;
        Lease {
            token: self.tokens,
            until: now + LEASE,
        }
    }

    /// A time as the process's own clock shows it.
    fn instant(&self, time: Duration) -> Instant {
        self.began + time
    }

    fn row(&self, id: PaymentId) -> Option<&Row> {
        self.ledger.iter().find(|row| row.payment_id == id)
    }

    fn row_mut(&mut self, id: PaymentId) -> Option<&mut Row> {
        self.ledger.iter_mut().find(|row| row.payment_id == id)
    }
}

impl Row {
    fn entry(&self, now: Duration) -> Entry {
        let state = match &self.ending {
            Some(ending) => State::Finished(ending.clone()),
            None => State::Open {
                lease_left: self
                    .lease
                    .and_then(|held| held.until.checked_sub(now))
                    .filter(|left| !left.is_zero()),
            },
        };
        Entry {
            payment_id: self.payment_id,
            invoice_id: self.invoice_id,
            request_hash: self.hash,
            order: self.order.clone(),
            tries: self.tries,
            age: now.saturating_sub(self.created),
            trace: None,
            state,
        }
    }
}

fn key(id: PaymentId) -> Uuid {
    id.as_uuid()
}
