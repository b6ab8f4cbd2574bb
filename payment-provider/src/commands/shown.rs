//! Ledger rows as commands show them.

use serde_json::{Value, json};
use service::output::{self, amount, line, or_dash, time, value};
use time::OffsetDateTime;

use crate::store::{Inspected, RecordedResolution};

/// Aligned columns.
pub(super) fn table(rows: &[Inspected]) -> String {
    let heading = [
        "PAYMENT",
        "INVOICE",
        "NUMBER",
        "AMOUNT",
        "STATUS",
        "NO RESULT",
        "CREATED",
        "REASON",
    ];
    let rows = rows.iter().map(|row| {
        [
            row.payment_id.to_string(),
            row.invoice_id.to_string(),
            line(&row.invoice_number),
            amount(row.amount_minor, &row.currency),
            if row.held.is_some() {
                "held".to_owned()
            } else {
                row.status.clone()
            },
            row.tries.to_string(),
            time(row.created_at),
            or_dash(
                row.held
                    .as_ref()
                    .or(row.reason.as_ref())
                    .map(|reason| line(reason)),
            ),
        ]
    });
    output::table(heading, rows)
}

/// Everything about one.
pub(super) fn fields(row: &Inspected, decisions: &[RecordedResolution]) -> String {
    let at = |at: Option<OffsetDateTime>| or_dash(at.map(time));
    let mut fields = vec![
        ("payment", row.payment_id.to_string()),
        ("invoice", row.invoice_id.to_string()),
        ("invoice number", line(&row.invoice_number)),
        ("amount", amount(row.amount_minor, &row.currency)),
        ("attempt", row.attempt.to_string()),
        ("status", row.status.clone()),
        ("reason", or_dash(row.reason.as_deref().map(line))),
        ("held", or_dash(row.held.clone())),
        ("released", at(row.released_at)),
        (
            "gateway reference",
            or_dash(row.gateway_reference.as_deref().map(line)),
        ),
        ("calls without result", row.tries.to_string()),
        ("leased until", at(row.leased_until)),
        ("trace", or_dash(row.traceparent.clone())),
        ("created", time(row.created_at)),
        ("updated", time(row.updated_at)),
        ("settled", at(row.settled_at)),
    ];
    for decided in decisions {
        let RecordedResolution {
            status,
            reason,
            resolved_by,
            bank_said,
            resolved_at,
        } = decided;
        let decision = format!(
            "{status} by {} at {}: {} (the bank had said: {})",
            line(resolved_by),
            time(*resolved_at),
            line(reason),
            line(bank_said),
        );
        fields.push(("decided", decision));
    }
    output::fields(&fields)
}

/// What a list tells of a row.
pub(super) fn summary(row: &Inspected) -> Value {
    json!({
        "payment_id": row.payment_id,
        "invoice_id": row.invoice_id,
        "invoice_number": row.invoice_number,
        "amount": {"value": value(row.amount_minor, &row.currency), "currency": row.currency},
        "status": row.status,
        "reason": row.reason,
        "held": row.held,
        "tries": row.tries,
        "created_at": time(row.created_at),
    })
}

/// Everything about one.
pub(super) fn whole(row: &Inspected, decisions: &[RecordedResolution]) -> Value {
    let mut whole = summary(row);
    let more = json!({
        "attempt": row.attempt,
        "released_at": row.released_at.map(time),
        "gateway_reference": row.gateway_reference,
        "leased_until": row.leased_until.map(time),
        "traceparent": row.traceparent,
        "updated_at": time(row.updated_at),
        "settled_at": row.settled_at.map(time),
        "decisions": decisions.iter().map(|decided| json!({
            "status": decided.status,
            "reason": decided.reason,
            "by": decided.resolved_by,
            "bank_said": decided.bank_said,
            "at": time(decided.resolved_at),
        })).collect::<Vec<_>>(),
    });
    if let (Value::Object(whole), Value::Object(more)) = (&mut whole, more) {
        whole.extend(more);
    }
    whole
}
