//! The ledger's rules, without I/O and without a clock: what a request means for its row, and what the bank's answer does.

use std::time::Duration;

use payment_contract::{
    InvoiceId, PaymentId,
    messages::{OutcomeStatus, PayRequestV1, PaymentOutcomeV1},
    trace::TraceParent,
    words,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::order::{Answer, CallError, Order};

/// How long a row that only an operator can end is left alone between two looks at it.
pub const OPERATOR_DELAY: Duration = Duration::from_mins(10);

/// A request older than this that has no row yet is looked up before the bank is called: the ledger may have been restored to
/// a time before its row. A ledger loses what happened between a backup, or a standby's last moment, and now, and is back no
/// sooner than people can bring it; a request that comes for the first time is seconds old, and at most as old as the last
/// outage was long. A younger one is called with the same key, which the bank remembers for far longer.
const LOOK_UP_FIRST: Duration = Duration::from_hours(1);

/// The longest pause between two tries: an answer that is there should not wait much longer than the customer does.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// What must never differ between two requests for one payment. Never taken over bytes: another sender version may write
/// the same request differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHash([u8; 32]);

impl RequestHash {
    /// SHA-256 over payment, invoice, minor units (big endian) and currency.
    pub fn of(request: &PayRequestV1) -> Self {
        let mut hash = Sha256::new();
        hash.update(request.payment_id.as_uuid().as_bytes());
        hash.update(request.invoice_id.as_uuid().as_bytes());
        hash.update(request.amount.minor_units().to_be_bytes());
        hash.update(request.amount.currency().code().as_bytes());
        Self(hash.finalize().into())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

words! {
    /// Why a payment is held: an operator releases it or ends it, and until then the bank is not called for it.
    pub enum Held {
        /// Another payment has the same invoice number, and succeeded or is open: the invoice was forgotten by a database that
        /// went back in time, and made again under a new id.
        NumberPaid = "number_paid",
        /// New payments are held, by configuration.
        NewPayments = "hold_new_payments",
    }
}

/// One row of the ledger, as read.
#[derive(Clone, Debug)]
pub struct Entry {
    pub payment_id: PaymentId,
    pub invoice_id: InvoiceId,
    /// What its first request said.
    pub request_hash: RequestHash,
    /// What the bank is asked for, always in the words of the first request: the bank compares too.
    pub order: Order,
    /// Calls and look-ups that ended without a known result.
    pub tries: u32,
    /// Time since it was written, by the database's clock, or since it was asked for where that is longer: a ledger that went
    /// back in time has forgotten its own row. A held one counts from its row alone, since an earlier row may have been released and
    /// called at any time; it begins anew when it is released.
    pub age: Duration,
    /// The first request's trace.
    pub trace: Option<TraceParent>,
    pub state: State,
}

/// Where a row stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// `started`: what the bank did is not known.
    Open {
        /// How long its lease lasts still; `None` when nobody holds one.
        lease_left: Option<Duration>,
    },
    /// `started`, and the bank is not called before an operator lets it.
    Held(Held),
    /// `succeeded` or `declined`.
    Finished(Ending),
}

/// A definite result: money moved, or it did not and will not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which of the two.
    pub status: OutcomeStatus,
    /// Why it was declined; `None` when it succeeded.
    pub reason: Option<String>,
    pub reference: Option<String>,
}

/// A definite result and when it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub settlement: Settlement,
    pub settled_at: OffsetDateTime,
}

impl Ending {
    /// What invoice-app is told.
    pub fn outcome(&self, payment_id: PaymentId, invoice_id: InvoiceId) -> PaymentOutcomeV1 {
        PaymentOutcomeV1 {
            payment_id,
            invoice_id,
            status: self.settlement.status,
            reason: self.settlement.reason.clone(),
            provider_reference: self.settlement.reference.clone(),
            settled_at: self.settled_at,
            provider: None,
        }
    }
}

impl Entry {
    /// The outcome of a finished row.
    pub fn outcome(&self) -> Option<PaymentOutcomeV1> {
        match &self.state {
            State::Open { .. } | State::Held(_) => None,
            State::Finished(ending) => Some(ending.outcome(self.payment_id, self.invoice_id)),
        }
    }
}

/// What to do about a request whose payment has a row already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// It is not the request the row was written for: change nothing, alert.
    Conflict,
    /// It is finished: publish the stored outcome again.
    Answer,
    /// Somebody is at it: come back after this long.
    Wait(Duration),
    /// An operator has not decided yet.
    Hold(Held),
    /// It is open and nobody is at it: take the lease, then ask the bank what it knows.
    TakeOver,
}

/// Decides about a request whose payment has a row already.
pub fn next_step(entry: &Entry, hash: RequestHash) -> NextStep {
    if entry.request_hash != hash {
        return NextStep::Conflict;
    }
    match entry.state {
        State::Finished(_) => NextStep::Answer,
        State::Held(held) => NextStep::Hold(held),
        State::Open {
            lease_left: Some(left),
        } => NextStep::Wait(left),
        State::Open { lease_left: None } => NextStep::TakeOver,
    }
}

/// How old a payment is. It was read a while ago by whoever asks, and grows older while they wait for a call of the bank, or are
/// stopped.
#[derive(Clone, Copy, Debug)]
pub struct Age {
    then: Duration,
    read: Instant,
}

impl Age {
    /// As read in a statement that was not begun before `read`.
    pub const fn new(then: Duration, read: Instant) -> Self {
        Self { then, read }
    }

    /// The age by now, rather too high than too low.
    pub fn at(&self, now: Instant) -> Duration {
        self.then + now.saturating_duration_since(self.read)
    }
}

/// Whether the bank may have been called for a payment of this age whose row is new.
pub fn may_have_been_called_before(age: Duration) -> bool {
    age >= LOOK_UP_FIRST
}

/// Whether the bank may be called for a row of this age. It surely remembers the key of an earlier call still, and this one
/// is done before an operator decides without it.
pub fn may_call(age: Duration, key_retention: Duration) -> bool {
    age < key_retention
}

/// Whether a call that is started now ends before a lease that lasts `left` still.
pub fn outlasts(left: Duration, timeout: Duration, margin: Duration) -> bool {
    left > timeout + margin
}

/// What a look-up at the bank means for an open row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookedUp {
    /// The bank knows the result.
    Settled(Settlement),
    /// The bank does not know the key and surely would: pay, with the same key.
    Pay,
    /// The bank does not know the key, but may have forgotten it: nobody may call again before an operator has decided.
    LeftToOperator,
    /// Nothing is known.
    Unknown(String),
}

/// Decides what a look-up means. Before `key_retention` is over the bank remembers every key it has seen.
pub fn looked_up(
    found: Result<Option<Answer>, CallError>,
    age: Duration,
    key_retention: Duration,
) -> LookedUp {
    match found.map(|answer| answer.map(settlement)) {
        Ok(Some(Ok(settlement))) => LookedUp::Settled(settlement),
        Ok(Some(Err(pending))) => LookedUp::Unknown(pending),
        Ok(None) if may_call(age, key_retention) => LookedUp::Pay,
        Ok(None) => LookedUp::LeftToOperator,
        Err(error) => LookedUp::Unknown(error.to_string()),
    }
}

/// What the bank's answer to a payment means: a definite result, or why there is none.
pub fn paid(answer: Result<Answer, CallError>) -> Result<Settlement, String> {
    answer.map_err(|error| error.to_string()).and_then(settlement)
}

fn settlement(answer: Answer) -> Result<Settlement, String> {
    match answer {
        Answer::Succeeded { reference } => Ok(Settlement {
            status: OutcomeStatus::Succeeded,
            reason: None,
            reference,
        }),
        Answer::Declined { reason, reference } => Ok(Settlement {
            status: OutcomeStatus::Declined,
            reason: Some(reason),
            reference,
        }),
        Answer::Pending => Err("the bank has not decided yet".to_owned()),
    }
}

/// True when a result cannot stand beside what a finished row says: another status, or the same under another of the
/// bank's references, which would be a second charge.
pub fn contradicts(result: &Settlement, stored: &Settlement) -> bool {
    let other_reference = match (&result.reference, &stored.reference) {
        (Some(result), Some(stored)) => result != stored,
        _ => false,
    };
    result.status != stored.status || other_reference
}

/// When to try again after `tries` tries without a known result: 1 s, 2 s, 4 s … at most a minute. `jitter` (0 to 1)
/// spreads the upper quarter, so that an outage's victims do not all come back together.
pub fn retry_delay(tries: u32, jitter: f64) -> Duration {
    let full = Duration::from_secs(1 << tries.saturating_sub(1).min(6)).min(LONGEST_RETRY);
    full.mul_f64(0.75 + 0.25 * jitter.clamp(0.0, 1.0))
}

/// When to come back to a row whose lease lasts `left`: just after its end, since its holder is likely dead if it is
/// still open then.
pub fn wait_for_lease(left: Duration, jitter: f64) -> Duration {
    left.min(LONGEST_RETRY)
        + Duration::from_millis(100)
        + Duration::from_millis(900).mul_f64(jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
