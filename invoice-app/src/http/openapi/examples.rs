//! What is sent and answered, in full. The service's own tests compare these with what it does answer.

use serde_json::{Map, Value, json};

const INVOICE: &str = "019aa1f0-7c00-7a3b-9d58-6b1f0c1d2e3f";
const PAYMENT: &str = "7c0a1f09-3b7a-8d58-ab1f-0c1d2e3f0001";
const BATCH: &str = "019aa1f0-8123-7c4d-8e9f-0a1b2c3d4e5f";
const EVENT: &str = "AAAAAAAAAAEAAAAAAAAC7QAAAAAAAAABAAAAAQ";

/// Adds to the bodies that JSON cannot show, and says plainly which may be left out: null is not the same as none.
pub(super) fn of_bodies(path: &str, operation: &mut Map<String, Value>) {
    if path == "/invoices/import" {
        operation["requestBody"]["required"] = json!(false);
        let content = &mut operation["requestBody"]["content"];
        content["application/x-ndjson"]["example"] =
            json!("{\"number\": \"I1\", \"amount\": {\"value\": \"12.15\", \"currency\": \"EUR\"}}\n");
        // Any line may come; what becomes of it is told in the answer.
        content["application/x-ndjson"]["schema"] = json!({});
        content["text/csv"]["schema"]["pattern"] =
            json!("^(\u{FEFF}?(number,value,currency|number;value;currency)(\r?\n(.|\r|\n)*)?)?$");
        content["text/csv"]["example"] = json!("number,value,currency\nI1,12.15,EUR\n");
    }
    let body = operation.get_mut("requestBody");
    let content = body.map(|body| &mut body["content"]["application/json"]["schema"]);
    let Some(schema) = content else {
        return;
    };
    let described = schema["oneOf"]
        .as_array()
        .and_then(|one_of| one_of.iter().find(|schema| schema["$ref"].is_string()));
    if let Some(described) = described.cloned() {
        *schema = described;
        operation["requestBody"]["required"] = json!(false);
    }
}

/// Adds to an answer.
pub(super) fn of_response(path: &str, status: &str, response: &mut Value) {
    let content = response["content"].as_object_mut().into_iter().flatten();
    for (kind, content) in content {
        let schema = content["schema"]["$ref"].as_str().unwrap_or_default();
        let schema = schema.rsplit('/').next().unwrap_or_default();
        let example = match (kind.as_str(), path) {
            ("text/csv", _) => Some(json!(CSV)),
            ("text/event-stream", _) => Some(json!(stream())),
            _ => of_schema(schema, status, path),
        };
        content["example"] = example.unwrap_or_default();
        if kind == "text/event-stream" {
            // Of its text a schema can say nothing; the events in it are those of the pages.
            let _ = content.as_object_mut().map(|content| content.remove("schema"));
        }
    }
    if response["content"].is_null() {
        let _ = response
            .as_object_mut()
            .map(|response| response.remove("content"));
    }
}

const CSV: &str = "number,value,currency,status,id,created_at,updated_at,paid_at,reason\r\n";

fn stream() -> String {
    let event = event();
    format!("retry: 2000\nid: {EVENT}\n\nevent: invoice\nid: {EVENT}\ndata: {event}\n\n")
}

fn of_schema(schema: &str, status: &str, path: &str) -> Option<Value> {
    Some(match schema {
        "Invoice" if path.ends_with("/void") => invoice("void"),
        "Invoice" => invoice("unpaid"),
        "InvoiceWithPayments" => {
            let mut invoice = invoice("paid");
            invoice["payments"] = json!([payment("succeeded")]);
            invoice
        }
        "InvoicesPage" => json!({"invoices": [invoice("paid")], "next_cursor": null}),
        "Totals" => json!({"totals": [{"currency": "EUR", "count": 1, "value": "12.15"}]}),
        "ImportSummary" => json!({
            "created": 1,
            "rejected": [{"line": 2, "error": "amount.value has more decimals than EUR allows (2)"}],
            "rejected_total": 1,
        }),
        "Payment" if status == "202" => payment("requested"),
        "Payment" => payment("succeeded"),
        "Batch" => batch(status == "202"),
        "History" => json!({"events": [
            happened("invoice.created", Some("alice"), false),
            happened("invoice.pending", Some("alice"), true),
            took(happened("invoice.paid", None, true)),
        ]}),
        "EventsPage" => json!({
            "events": [event()],
            "batches": [batch(false)],
            "next_cursor": null,
            "last_event_id": EVENT,
        }),
        _ => return None,
    })
}

fn invoice(status: &str) -> Value {
    let paid = status == "paid";
    json!({
        "id": INVOICE,
        "number": "I1",
        "amount": {"value": "12.15", "currency": "EUR"},
        "status": status,
        "created_at": "2026-01-31T12:00:00.123456Z",
        "updated_at": "2026-01-31T12:00:02.654321Z",
        "paid_at": paid.then_some("2026-01-31T12:00:02.654321Z"),
        "last_payment": paid.then(|| json!({"id": PAYMENT, "status": "succeeded", "reason": null})),
    })
}

fn payment(status: &str) -> Value {
    let settled = status != "requested";
    json!({
        "id": PAYMENT,
        "invoice_id": INVOICE,
        "attempt": 1,
        "status": status,
        "reason": null,
        "provider_reference": settled.then_some("sim-7c0a1f09"),
        "created_at": "2026-01-31T12:00:01.5Z",
        "settled_at": settled.then_some("2026-01-31T12:00:02.6Z"),
    })
}

fn batch(open: bool) -> Value {
    let (paid, pending) = if open { (0, 1) } else { (1, 0) };
    json!({
        "batch_id": BATCH,
        "requested": 1,
        "paid": paid,
        "declined": 0,
        "pending": pending,
        "skipped": [{"id": "I7", "reason": "not_found"}],
    })
}

fn event() -> Value {
    json!({
        "specversion": "1.0",
        "id": EVENT,
        "source": "/invoices",
        "type": "invoice.paid",
        "subject": INVOICE,
        "time": "2026-01-31T12:00:02.654321Z",
        "data": invoice("paid"),
    })
}

fn happened(kind: &str, actor: Option<&str>, payment: bool) -> Value {
    json!({
        "type": kind,
        "time": "2026-01-31T12:00:01.5Z",
        "actor": actor,
        "payment_id": payment.then_some(PAYMENT),
        "batch_id": payment.then_some(BATCH),
        "reason": null,
        "provider": null,
    })
}

fn took(mut event: Value) -> Value {
    event["provider"] = json!({"tries": 1, "looked_up": true, "deliveries": 2, "bank_ms": 2034});
    event
}
