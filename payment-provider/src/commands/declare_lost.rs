//! Ending a payment that the ledger never had: its request was rejected for good and became a dead letter. The bank is asked all
//! the same, since the ledger may have had it before it went back in time.

use payment_contract::{
    InvoiceId, Money, PaymentId,
    messages::{OutcomeStatus, PayRequestV1},
};
use serde_json::Value;
use time::OffsetDateTime;

use super::resolve::{Refusal, Resolved, ask_bank, in_words};
use crate::{
    app::Parts,
    ledger::{Ending, RequestHash, Settlement},
    order::Answer,
    store::{Intent, Resolution},
};

/// What an operator declares.
#[derive(Clone, Debug)]
pub struct Lost {
    pub payment_id: PaymentId,
    /// Its invoice, where no dead letter tells it.
    pub invoice_id: Option<InvoiceId>,
    /// What was to be paid, where no dead letter tells it.
    pub amount: Option<Money>,
    /// On what grounds; invoice-app shows it as the reason.
    pub reason: String,
    /// Who says so; the database user when unknown.
    pub decided_by: Option<String>,
    /// The bank does not answer: the operator knows better, and that is kept.
    pub force: bool,
}

/// Asks the bank, and writes the row of a payment that was declined, with the record of who decided so.
pub async fn declare_lost(parts: &Parts, lost: Lost) -> Result<Resolved, Refusal> {
    let payment_id = lost.payment_id;
    let entry = parts.store.entries(&[payment_id.as_uuid()]).await?.pop();
    if entry.is_some() {
        return Err(Refusal::Had(payment_id));
    }
    let found = ask_bank(parts, payment_id).await;
    let mut bank_said = in_words(&found);
    let reference = match found {
        Ok(None) => None,
        Ok(Some(Answer::Declined { reference, .. })) => reference,
        Ok(Some(Answer::Succeeded { .. })) => return Err(Refusal::Contradicted { bank_said }),
        Ok(Some(Answer::Pending)) | Err(_) if lost.force => {
            bank_said.push_str(" (forced)");
            None
        }
        Ok(Some(Answer::Pending)) | Err(_) => {
            return Err(Refusal::Unproven {
                payment_id,
                bank_said,
            });
        }
    };
    let intent = intent(parts, &lost).await?;
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

/// The row's first half: what the letter says of the request, and the operator where it says nothing.
async fn intent(parts: &Parts, lost: &Lost) -> Result<Intent, Refusal> {
    let payment_id = lost.payment_id;
    let letter = service::dead_letters::latest_with(parts.store.pool(), &payment_id.to_string())
        .await
        .map_err(crate::store::Error::from)?;
    let letter: Value = letter
        .and_then(|body| serde_json::from_slice(&body).ok())
        .unwrap_or_default();
    let text = |pointer: &str| letter.pointer(pointer).and_then(Value::as_str);
    let told_id = || text("/invoice_id").and_then(|id| id.parse().ok());
    let told_amount = || Money::parse(text("/amount/value")?, text("/amount/currency")?).ok();
    let invoice_id: InvoiceId = lost
        .invoice_id
        .or_else(told_id)
        .ok_or(Refusal::Untold("--invoice"))?;
    let request = PayRequestV1 {
        payment_id,
        invoice_id,
        invoice_number: text("/invoice_number")
            .map_or_else(|| invoice_id.to_string(), |number| number.replace('\0', "")),
        amount: lost
            .amount
            .or_else(told_amount)
            .ok_or(Refusal::Untold("--amount"))?,
        attempt: letter
            .get("attempt")
            .and_then(Value::as_u64)
            .and_then(|attempt| u32::try_from(attempt).ok())
            .unwrap_or(1),
        requested_at: OffsetDateTime::now_utc(),
    };
    Ok(Intent {
        payment_id,
        invoice_id,
        request_hash: RequestHash::of(&request),
        amount: request.amount,
        invoice_number: request.invoice_number,
        attempt: request.attempt,
        requested_at: request.requested_at,
        trace: None,
        rejected: true,
        held: None,
    })
}
