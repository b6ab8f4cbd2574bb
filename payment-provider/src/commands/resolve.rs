//! Ending an open payment by hand. The bank is asked first, while nobody else can call it, and what it contradicts is refused.

use std::time::Duration;

use clap::{
    ValueEnum,
    builder::{EnumValueParser, TypedValueParser as _},
};
use payment_contract::{
    PaymentId,
    messages::{OutcomeStatus, PaymentOutcomeV1},
    trace::TraceParent,
};
use uuid::Uuid;

use super::ledger::reason;
use crate::{
    app::Parts,
    ledger::{Ending, Entry, Settlement, State},
    order::{Answer, CallError, IdempotencyKey},
    store::{self, Resolution},
};

/// A call that a stopped process makes late, after the last moment at which it may begin one, is over by then.
const LATEST_CALL: Duration = Duration::from_hours(1);

/// `ledger resolve …`: what an operator decided.
#[derive(Clone, Debug, clap::Args)]
pub struct OperatorDecision {
    /// The payment's id.
    pub payment_id: PaymentId,
    /// How it ended.
    #[arg(value_parser = EnumValueParser::<Status>::new().map(OutcomeStatus::from))]
    pub status: OutcomeStatus,
    /// On what grounds: kept, and shown as the reason of a declined payment.
    #[arg(long, value_parser = reason)]
    pub reason: String,
    /// The bank's own name for the payment, where the bank does not tell it any more.
    #[arg(long, value_parser = reason)]
    pub reference: Option<String>,
    /// Who decides; kept. Without it $USER, or else the database user.
    #[arg(long = "by", value_name = "BY")]
    pub resolved_by: Option<String>,
    /// The bank says nothing that proves it, and yet it is so. Recorded with the decision.
    #[arg(long)]
    pub force: bool,
}

/// How a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Status {
    /// The money moved.
    Succeeded,
    /// No money moved.
    Declined,
}

impl From<Status> for OutcomeStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Succeeded => Self::Succeeded,
            Status::Declined => Self::Declined,
        }
    }
}

/// A payment that was ended.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub outcome: PaymentOutcomeV1,
    pub trace: Option<TraceParent>,
    /// What the bank said before.
    pub bank_said: String,
}

/// Why a payment was not ended. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("there is no payment {0} in the ledger")]
    Unknown(PaymentId),
    /// There is such a row.
    #[error("the ledger has payment {0}: see `ledger show`, and end it with `ledger resolve`")]
    Had(PaymentId),
    /// Nothing tells what the row has to say.
    #[error("no dead letter names this payment, so this has to be told as well: {0}")]
    Untold(&'static str),
    /// The dead letter says something else.
    #[error(
        "the dead letter of this payment says {letter}: leave {option} out, or look whether it is this payment"
    )]
    OfAnother { option: &'static str, letter: String },
    #[error("payment {payment_id} is finished already: {status}")]
    Finished {
        payment_id: PaymentId,
        status: &'static str,
    },
    /// Somebody may be calling the bank for it.
    #[error(
        "payment {0} is leased by a process that may be calling the bank for it; try again in a little while"
    )]
    Leased(PaymentId),
    #[error("the bank contradicts this: {bank_said}")]
    Contradicted { bank_said: String },
    /// The bank said nothing that proves it.
    #[error("the bank says of payment {payment_id}: {bank_said}; if you know better: --force")]
    Unproven {
        payment_id: PaymentId,
        bank_said: String,
    },
    /// A call that nobody has heard the end of may still be carried out.
    #[error(
        "payment {payment_id} may still be charged, since the bank says: {bank_said}; it can be declined by hand once it is \
         older than gateway.key_retention_s and an hour"
    )]
    TooYoung {
        payment_id: PaymentId,
        bank_said: String,
    },
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Takes the lease, asks the bank, and ends the payment with the record of who decided so.
pub async fn resolve(parts: &Parts, decision: OperatorDecision) -> Result<Resolved, Refusal> {
    let payment_id = decision.payment_id;
    open_entry(parts, payment_id).await?;
    let (id, token) = ([payment_id.as_uuid()], Uuid::new_v4());
    if parts.store.take_leases(&id, token, true).await?.is_empty() {
        // Somebody was faster: held or finished by now.
        open_entry(parts, payment_id).await?;
        return Err(Refusal::Leased(payment_id));
    }
    let ended = end(parts, decision, token).await;
    if ended.is_err() {
        parts.store.release_leases(&id, &[token], &[0]).await?;
    }
    ended
}

async fn open_entry(parts: &Parts, payment_id: PaymentId) -> Result<Entry, Refusal> {
    let entry = parts.store.entries(&[payment_id.as_uuid()]).await?.pop();
    let entry = entry.ok_or(Refusal::Unknown(payment_id))?;
    match &entry.state {
        State::Open { .. } | State::Held(_) => Ok(entry),
        State::Finished(ending) => Err(Refusal::Finished {
            payment_id,
            status: ending.settlement.status.as_str(),
        }),
    }
}

async fn end(parts: &Parts, decision: OperatorDecision, token: Uuid) -> Result<Resolved, Refusal> {
    // Not before: until the lease was taken, somebody may have released the payment, and called the bank for it.
    let entry = open_entry(parts, decision.payment_id).await?;
    let found = ask_bank(parts, decision.payment_id).await;
    let mut bank_said = in_words(&found);
    if !proves(parts, &decision, &entry, &found)? {
        bank_said.push_str(" (forced)");
    }
    let OperatorDecision {
        payment_id,
        status,
        reason,
        reference: told,
        resolved_by,
        ..
    } = decision;
    // What the bank told once is what it tells again: to invoice-app it may have done so before a restore.
    let (declined_for, reference) = match found {
        Ok(Some(Answer::Succeeded { reference })) => (None, reference),
        Ok(Some(Answer::Declined { reason, reference })) => (Some(reason), reference),
        _ => (None, None),
    };
    let settlement = Settlement {
        status,
        reason: (status == OutcomeStatus::Declined).then(|| declined_for.unwrap_or_else(|| reason.clone())),
        reference: reference.or(told),
    };
    let resolution = Resolution {
        payment_id,
        settlement: settlement.clone(),
        reason,
        resolved_by,
        bank_said: bank_said.clone(),
    };
    let settled_at = parts.store.resolve(&resolution, token).await?;
    let ending = Ending {
        settlement,
        settled_at: settled_at.ok_or(Refusal::Leased(payment_id))?,
    };
    Ok(Resolved {
        outcome: ending.outcome(payment_id, entry.invoice_id),
        trace: entry.trace,
        bank_said,
    })
}

/// Whether what the bank said proves the decision. If it proves nothing, the operator may know better, and say so. That a payment
/// is held proves nothing either: a ledger that went back in time may have called the bank for it, and forgotten that.
fn proves(
    parts: &Parts,
    decision: &OperatorDecision,
    entry: &Entry,
    found: &Result<Option<Answer>, CallError>,
) -> Result<bool, Refusal> {
    let (payment_id, bank_said) = (decision.payment_id, in_words(found));
    let late_call_over = is_late_call_over(parts, entry.age);
    match (decision.status, found) {
        (OutcomeStatus::Succeeded, Ok(Some(Answer::Succeeded { .. })))
        | (OutcomeStatus::Declined, Ok(Some(Answer::Declined { .. }))) => Ok(true),
        (_, Ok(Some(Answer::Succeeded { .. } | Answer::Declined { .. }))) => {
            Err(Refusal::Contradicted { bank_said })
        }
        (OutcomeStatus::Declined, _) if !late_call_over => Err(Refusal::TooYoung {
            payment_id,
            bank_said,
        }),
        _ if decision.force => Ok(false),
        _ => Err(Refusal::Unproven {
            payment_id,
            bank_said,
        }),
    }
}

/// Whether no call for a payment of this age can be under way any more.
pub(super) fn is_late_call_over(parts: &Parts, age: Duration) -> bool {
    age >= parts.policy.key_retention + LATEST_CALL
}

/// What the bank knows of a payment.
pub(super) async fn ask_bank(parts: &Parts, payment_id: PaymentId) -> Result<Option<Answer>, CallError> {
    let permit = parts.bank.acquire().await?;
    permit.find(IdempotencyKey::from(payment_id)).await
}

/// The same for people.
pub(super) fn in_words(found: &Result<Option<Answer>, CallError>) -> String {
    let with = |reference: &Option<String>| {
        reference
            .as_ref()
            .map(|reference| format!(" (reference {reference})"))
            .unwrap_or_default()
    };
    match found {
        Ok(None) => "it does not know the payment".to_owned(),
        Ok(Some(Answer::Succeeded { reference })) => format!("it succeeded{}", with(reference)),
        Ok(Some(Answer::Declined { reason, reference })) => {
            format!("it was declined, {reason}{}", with(reference))
        }
        Ok(Some(Answer::Pending)) => "it is not decided yet".to_owned(),
        Err(error) => format!("nothing ({error})"),
    }
}
