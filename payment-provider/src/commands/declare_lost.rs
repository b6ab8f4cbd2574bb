//! Ending a payment that the ledger never had: its request was rejected for good and became a dead letter. The bank is asked all
//! the same, since the ledger may have had it before it went back in time.

use std::fmt::Display;

use payment_contract::{
    InvoiceId, Money, PaymentId,
    messages::{OutcomeStatus, PayRequestV1},
};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    ledger::reason,
    resolve::{Refusal, Resolved, ask_bank, in_words, is_late_call_over},
};
use crate::{
    app::Parts,
    ledger::{Ending, RequestHash, Settlement},
    order::{Answer, Order},
    store::{Intent, Resolution},
};

/// `ledger declare-lost …`: what an operator declares.
#[derive(Clone, Debug, clap::Args)]
pub struct Lost {
    /// The payment's id.
    pub payment_id: PaymentId,
    /// On what grounds: kept, and shown as the reason.
    #[arg(long, value_parser = reason)]
    pub reason: String,
    /// Who decides; kept. Without it $USER, or else the database user.
    #[arg(long = "by", value_name = "BY")]
    pub decided_by: Option<String>,
    /// Its invoice, as `invoice-app payments show` tells. Not needed where a dead letter tells it.
    #[arg(long = "invoice", value_name = "ID")]
    pub invoice_id: Option<InvoiceId>,
    /// What was to be paid, like "12.15 EUR". Not needed where a dead letter tells it.
    #[arg(long, value_parser = amount)]
    pub amount: Option<Money>,
    /// When that was first asked for, as `invoice-app payments show` tells. Not needed where there is a dead letter; without one
    /// it has to be longer ago than `gateway.key_retention_s` and an hour, since the ledger may have had it before a restore.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub requested_at: Option<OffsetDateTime>,
    /// The bank answers nothing that proves it, and yet it is so. Recorded with the decision.
    #[arg(long)]
    pub force: bool,
}

fn amount(text: &str) -> Result<Money, String> {
    let (value, currency) = text
        .split_once(' ')
        .ok_or("must be a value and a currency, like \"12.15 EUR\"")?;
    Money::parse(value, currency).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "must be like 2026-01-02T03:04:05Z".to_owned())
}

/// Asks the bank, and writes the row of a payment that was declined, with the record of who decided so.
pub async fn declare_lost(parts: &Parts, lost: Lost) -> Result<Resolved, Refusal> {
    let payment_id = lost.payment_id;
    let entry = parts.store.entries(&[payment_id.as_uuid()]).await?.pop();
    if entry.is_some() {
        return Err(Refusal::Had(payment_id));
    }
    let (intent, refused_for_good) = intent(parts, &lost).await?;
    let found = ask_bank(parts, payment_id).await;
    let mut bank_said = in_words(&found);
    let age = (OffsetDateTime::now_utc() - intent.requested_at)
        .try_into()
        .unwrap_or_default();
    let reference = match found {
        Ok(Some(Answer::Declined { reference, .. })) => reference,
        Ok(Some(Answer::Succeeded { .. })) => return Err(Refusal::Contradicted { bank_said }),
        // What was refused for good was never handed to the bank.
        Ok(None) if refused_for_good => None,
        // The ledger may have had it and called the bank, and gone back in time.
        _ if !refused_for_good && !is_late_call_over(parts, age) => {
            return Err(Refusal::TooYoung {
                payment_id,
                bank_said,
            });
        }
        _ if lost.force => {
            bank_said.push_str(" (forced)");
            None
        }
        _ => {
            return Err(Refusal::Unproven {
                payment_id,
                bank_said,
            });
        }
    };
    let settlement = Settlement {
        status: OutcomeStatus::Declined,
        reason: Some(lost.reason.clone()),
        reference,
    };
    let resolution = Resolution {
        payment_id,
        settlement: settlement.clone(),
        reason: lost.reason,
        resolved_by: lost.decided_by,
        bank_said: bank_said.clone(),
    };
    let settled_at = parts.store.insert_lost(&intent, &resolution).await?;
    let settled_at = settled_at.ok_or(Refusal::Had(payment_id))?;
    let ending = Ending {
        settlement,
        settled_at,
    };
    Ok(Resolved {
        outcome: ending.outcome(payment_id, intent.invoice_id),
        trace: None,
        bank_said,
    })
}

/// The row's first half: what the letter says of the request, and the operator where it says nothing. And whether there is one.
async fn intent(parts: &Parts, lost: &Lost) -> Result<(Intent, bool), Refusal> {
    let payment_id = lost.payment_id;
    let letter = service::dead_letters::latest_with(parts.store.pool(), &payment_id.to_string())
        .await
        .map_err(crate::store::Error::from)?;
    let refused_for_good = letter.is_some();
    let letter: Value = letter
        .and_then(|body| serde_json::from_slice(&body).ok())
        .unwrap_or_default();
    let text = |pointer: &str| letter.pointer(pointer).and_then(Value::as_str);
    let told_id = text("/invoice_id").and_then(|id| id.parse().ok());
    let invoice_id: InvoiceId = the_same(told_id, lost.invoice_id, "--invoice")?;
    let currency = text("/amount/currency").unwrap_or_default();
    let told_amount = text("/amount/value").and_then(|value| Money::parse(value, currency).ok());
    let requested_at = match lost.requested_at {
        Some(requested_at) => requested_at,
        None if refused_for_good => OffsetDateTime::now_utc(),
        None => return Err(Refusal::Untold("--requested-at")),
    };
    let request = PayRequestV1 {
        payment_id,
        invoice_id,
        invoice_number: text("/invoice_number")
            .map_or_else(|| invoice_id.to_string(), |number| number.replace('\0', "")),
        amount: the_same(told_amount, lost.amount, "--amount")?,
        attempt: letter
            .get("attempt")
            .and_then(Value::as_u64)
            .and_then(|attempt| u32::try_from(attempt).ok())
            .unwrap_or(1),
        requested_at,
    };
    let intent = Intent {
        payment_id,
        invoice_id,
        request_hash: RequestHash::of(&request),
        order: Order::of(&request),
        attempt: request.attempt,
        requested_at: request.requested_at,
        trace: None,
        rejected: true,
        held: None,
    };
    Ok((intent, refused_for_good))
}

/// What the letter and the operator tell. An outcome that names another invoice than was asked to be paid ends nothing.
fn the_same<T: PartialEq + Display>(
    letter: Option<T>,
    operator: Option<T>,
    option: &'static str,
) -> Result<T, Refusal> {
    match (letter, operator) {
        (Some(letter), Some(operator)) if letter != operator => Err(Refusal::OfAnother {
            option,
            letter: letter.to_string(),
        }),
        (letter, operator) => letter.or(operator).ok_or(Refusal::Untold(option)),
    }
}
