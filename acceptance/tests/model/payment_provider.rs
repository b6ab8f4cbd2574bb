//! payment-provider: what its two replicas have in flight, each request at one of the steps between which anything may happen.

use std::time::Duration;

use jetstream::delivery::decode;
use payment_contract::{
    PaymentId,
    messages::{PayRequestV1, PaymentOutcomeV1},
};
use payment_provider::{
    ledger::{
        Age, Ending, Entry, LookedUp, NextStep, RequestHash, Settlement, contradicts, looked_up, may_call,
        may_have_been_called_before, next_step, outlasts, paid,
    },
    order::Order,
};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    bank::Bank,
    ledger::{KEY_RETENTION, Lease, Ledger, requested_at},
    transition::Luck,
};

/// As in `config.default.toml`.
const LEASE_MARGIN: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);

/// A request in flight; without a message when it is an earlier attempt's, or one that nobody asks about.
#[derive(Debug)]
struct Work {
    replica: bool,
    sequence: Option<u64>,
    request: PayRequestV1,
    /// Else the bank is only asked what it knows.
    may_pay: bool,
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
    pub(crate) ledger: Ledger,
    in_flight: Vec<Work>,
    /// Results that contradicted finished rows, and requests that contradicted theirs.
    pub(crate) conflicts: Vec<String>,
}

/// More at a time would only be more of the same.
const MOST_IN_FLIGHT: usize = 6;

impl PaymentProvider {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            ledger: Ledger::default(),
            in_flight: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, replica: bool, sequence: u64, body: &[u8]) {
        if self.in_flight.len() < MOST_IN_FLIGHT {
            let request = decode(body).unwrap();
            self.in_flight.push(Work {
                replica,
                sequence: Some(sequence),
                request,
                may_pay: true,
                at: At::Taken,
            });
        }
    }

    /// SQL: `store::unasked`, of which time does not matter here.
    pub(crate) fn look_up_unasked(&mut self, index: usize, now: Duration) {
        let Some(row) = self.ledger.rows.get(index) else {
            return;
        };
        let (request, entry) = (row.request.clone(), row.entry(now));
        if self.in_flight.len() < MOST_IN_FLIGHT
            && let Some(lease) = self.ledger.take_lease(request.payment_id, now)
        {
            self.in_flight.push(Work {
                replica: true,
                sequence: None,
                request,
                may_pay: false,
                at: At::ToLookUp(lease, Age::new(entry.age, self.instant(now))),
            });
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The calls of a dead replica are still on their way to the bank.
    pub(crate) fn die(&mut self, replica: bool) {
        self.in_flight.retain(|work| work.replica != replica);
    }

    /// Takes one request one step further.
    pub(crate) fn step(&mut self, index: usize, luck: Luck, bank: &mut Bank, now: Duration) -> Effect {
        let work = self.in_flight.swap_remove(index);
        let Work {
            replica,
            mut sequence,
            mut request,
            may_pay,
            at,
        } = work;
        let id = request.payment_id;
        let mut effect = Effect::Nothing;
        let at = match at {
            At::Taken => {
                let (at, earlier) = self.admit(&request, now);
                if let Some(earlier) = earlier {
                    (request, sequence) = (earlier, None);
                }
                at
            }
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
                    LookedUp::Pay if may_pay => At::ToPay(lease, age),
                    LookedUp::Pay | LookedUp::LeftToOperator | LookedUp::Unknown(_) => At::ToRelease(lease),
                }
            }
            At::ToPay(lease, age) => match self.outlast_a_call(id, lease, now) {
                Some(lease) if !may_call(age.at(self.instant(now)), KEY_RETENTION) => At::ToRelease(lease),
                Some(lease) => {
                    bank.call(key(id), &Order::of(&request), luck, now + TIMEOUT);
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
                self.ledger.release(id, lease, now);
                At::PutOff
            }
            At::ToAck => {
                // An acknowledgement may get lost like anything else.
                if luck == Luck::Answered
                    && let Some(sequence) = sequence
                {
                    effect = Effect::Ack(sequence);
                }
                At::PutOff
            }
            At::PutOff => At::PutOff,
        };
        if !matches!(at, At::PutOff) {
            self.in_flight.push(Work {
                replica,
                sequence,
                request,
                may_pay,
                at,
            });
        }
        effect
    }

    /// SQL: `store::intents::insert_intents`, which inserts where there is neither row nor number, leased; then `entries`.
    fn admit(&mut self, request: &PayRequestV1, now: Duration) -> (At, Option<PayRequestV1>) {
        if let Some(row) = self.ledger.row(request.payment_id) {
            return (At::Met(row.entry(now), now), None);
        }
        if self.ledger.has_number(&request.invoice_number).is_some() {
            return self.admit_behind_others(request, now);
        }
        let lease = self.ledger.new_lease(now);
        self.ledger.insert(request, Some(lease), now);
        let old = now.saturating_sub(requested_at(request));
        let age = Age::new(old, self.instant(now));
        let at = if may_have_been_called_before(old) {
            At::ToLookUp(lease, age)
        } else {
            At::ToPay(lease, age)
        };
        (at, None)
    }

    /// SQL: `store::held`. An open earlier attempt comes to its end first; else the request is held.
    fn admit_behind_others(&mut self, request: &PayRequestV1, now: Duration) -> (At, Option<PayRequestV1>) {
        let is_earlier =
            |other: &PayRequestV1| other.invoice_id == request.invoice_id && other.attempt < request.attempt;
        let earlier = self.ledger.has_number(&request.invoice_number);
        match earlier.filter(|row| row.is_open() && is_earlier(&row.request)) {
            None => {
                self.ledger.insert(request, None, now);
                (At::ToAck, None)
            }
            Some(row) => {
                let (earlier, age) = (row.request.clone(), row.entry(now).age);
                match self.ledger.take_lease(earlier.payment_id, now) {
                    Some(lease) => {
                        let age = Age::new(age, self.instant(now));
                        (At::ToLookUp(lease, age), Some(earlier))
                    }
                    None => (At::PutOff, None),
                }
            }
        }
    }

    fn follow(&mut self, request: &PayRequestV1, entry: &Entry, read: Duration, now: Duration) -> At {
        match next_step(entry, RequestHash::of(request)) {
            NextStep::Conflict => {
                self.conflicts.push(format!("{request:?} over {entry:?}"));
                At::PutOff
            }
            NextStep::Answer => At::ToPublish(entry.outcome().unwrap()),
            NextStep::Wait(_) => At::PutOff,
            NextStep::Hold(_) => At::ToAck,
            NextStep::TakeOver => match self.ledger.take_lease(request.payment_id, now) {
                Some(lease) => At::ToLookUp(lease, Age::new(entry.age, self.instant(read))),
                None => At::PutOff,
            },
        }
    }

    /// SQL: `store::results::record`: over a started row only, whoever holds it.
    fn record(&mut self, request: &PayRequestV1, settlement: &Settlement, now: Duration) -> At {
        let Some(row) = self.ledger.row_mut(request.payment_id) else {
            return At::PutOff;
        };
        let ending = row.ending.get_or_insert_with(|| Ending {
            settlement: settlement.clone(),
            settled_at: OffsetDateTime::UNIX_EPOCH + now,
        });
        row.lease = None;
        let outcome = ending.outcome(request.payment_id, request.invoice_id);
        if contradicts(settlement, &ending.settlement) {
            let conflict = format!("{settlement:?} over {ending:?}");
            self.conflicts.push(conflict);
        }
        At::ToPublish(outcome)
    }

    fn outlast_a_call(&mut self, id: PaymentId, lease: Lease, now: Duration) -> Option<Lease> {
        if outlasts(lease.until.saturating_sub(now), TIMEOUT, LEASE_MARGIN) {
            return Some(lease);
        }
        self.ledger.renew(id, lease, now)
    }

    /// A time as the process's own clock shows it.
    fn instant(&self, time: Duration) -> Instant {
        self.began + time
    }
}

fn key(id: PaymentId) -> Uuid {
    id.as_uuid()
}
