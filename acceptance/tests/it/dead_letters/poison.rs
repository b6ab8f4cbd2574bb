//! Messages that are wrong in every way we could think of.

use local_stack::RawNats;
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) const NO_HEADERS: &[u8] = b"";

/// Headers and body of a message.
pub(super) type Poison = (Vec<u8>, Vec<u8>);

/// What no message of either kind may be: no JSON at all.
pub(super) fn no_json() -> Vec<Poison> {
    let deep = "[".repeat(4_000);
    [
        b"garbage".as_slice(),
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\x00\x01\x02\x00",
        b"{\"payment_id\":\"\xff\xfe\"}",
        b"{\"payment_id\":\"\\ud800\"}",
        deep.as_bytes(),
    ]
    .map(|body| (NO_HEADERS.to_vec(), body.to_vec()))
    .into_iter()
    .chain([
        (
            b"NATS/1.0\r\nx: a\x00b\r\n\r\n".to_vec(),
            b"NUL in a header".to_vec(),
        ),
        (
            b"NATS/1.0\r\ntraceparent: garbage\r\n\r\n".to_vec(),
            b"a trace that is none".to_vec(),
        ),
    ])
    .collect()
}

/// Headers that no client library reads.
pub(super) fn unreadable_headers() -> Vec<Poison> {
    [
        (
            b"NATS/1.0\r\nNats-Msg-Id: \xff\xfe\r\n\r\n".as_slice(),
            b"bad UTF-8 in a header".as_slice(),
        ),
        (b"NATS/1.0\r\nno colon here\r\n\r\n", b"a header without a colon"),
        (b"NATS/9.9\r\n\r\n", b"headers of another version"),
    ]
    .map(|(headers, body)| (headers.to_vec(), body.to_vec()))
    .into()
}

pub(super) fn request() -> Value {
    json!({
        "payment_id": Uuid::now_v7(), "invoice_id": Uuid::now_v7(), "invoice_number": "F-1",
        "amount": {"value": "1.00", "currency": "EUR"}, "attempt": 1, "requested_at": "2026-01-02T03:04:05Z",
    })
}

pub(super) fn outcome(payment_id: &str, invoice_id: &str, status: &str) -> Value {
    let reason = if status == "declined" {
        json!("insufficient_funds")
    } else {
        Value::Null
    };
    json!({
        "payment_id": payment_id, "invoice_id": invoice_id, "status": status, "reason": reason,
        "provider_reference": "forged", "settled_at": "2026-01-02T03:04:05Z",
    })
}

/// A message with one field changed, or removed by null.
pub(super) fn spoilt(message: Value, field: &str, value: Value) -> Poison {
    let mut message = message;
    message[field] = value;
    if message[field].is_null() {
        message.as_object_mut().unwrap().remove(field);
    }
    (NO_HEADERS.to_vec(), message.to_string().into_bytes())
}

pub(super) fn publish(nats: &mut RawNats, subject: &str, (headers, body): &Poison) {
    let refusals = if headers.is_empty() {
        nats.publish(subject, "", body).unwrap()
    } else {
        nats.publish_with_headers(subject, headers, body).unwrap()
    };
    assert_eq!(refusals, Vec::<String>::new());
}
