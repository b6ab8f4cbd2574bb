//! The parameters of operations: which an operation has, and what each is.

use serde_json::{Value, json};
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use crate::{event::Kind, http::event_stream::BATCH, invoice::Status};

/// Names parameters that operations have together.
macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident: $place:ident $parameters:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                let required = match ParameterIn::$place {
                    ParameterIn::Path => Required::True,
                    _ => Required::False,
                };
                let parameter = |name: &str| {
                    ParameterBuilder::new()
                        .name(name)
                        .parameter_in(ParameterIn::$place)
                        .required(required.clone())
                        .build()
                };
                $parameters.map(parameter).into()
            }
        }
    )*};
}

parameters! {
    /// Of one thing.
    Id: Path ["id"];
    /// A call that can be repeated.
    Keyed: Header ["Idempotency-Key"];
    /// Only as it was read.
    IfMatch: Header ["If-Match"];
    /// Only if it is news.
    IfNoneMatch: Header ["If-None-Match"];
    /// How long to wait.
    Prefer: Header ["Prefer"];
    /// Of the list of invoices.
    Invoices: Query [
        "status", "currency", "number", "number_prefix", "created_after", "created_before", "declined", "order", "limit", "cursor",
    ];
    /// Of totals.
    Totals: Query ["status", "currency"];
    /// Of the feed.
    Events: Query ["invoice_id", "batch_id", "type", "follow", "limit", "cursor"];
    /// Where to go on from.
    LastEventId: Header ["Last-Event-ID"];
}

/// Adds what a parameter is.
pub(super) fn describe(path: &str, parameter: &mut Value) {
    let Some(described) = parameter["name"].as_str().and_then(|name| about(path, name)) else {
        return;
    };
    let (schema, description) = described;
    if schema["type"] == "array" {
        // a,b
        parameter["style"] = json!("form");
        parameter["explode"] = json!(false);
    }
    parameter["schema"] = schema;
    parameter["description"] = json!(description);
}

fn about(path: &str, name: &str) -> Option<(Value, &'static str)> {
    let of_events = path == "/events";
    Some(match name {
        "id" => (uuid(), "The id, as it was answered when it was made"),
        "Idempotency-Key" => (
            json!({"type": "string", "pattern": "^([!#-~]{1,255}|\"[!#-~]{1,255}\")$"}),
            "Chosen by the caller. A repeat with the same key and body is answered as the first call was, and has no effect",
        ),
        "If-Match" => (tags(), "Only in this version, else 412"),
        "If-None-Match" => (tags(), "Only if it is not this version any more, else 304"),
        "Prefer" => (
            json!({"type": "string", "examples": ["respond-async", "wait=10"]}),
            "`wait=N` waits up to N seconds (30 at most) for the outcome, `respond-async` not at all; 5 seconds without it (RFC 7240)",
        ),
        "Last-Event-ID" => (
            event_id("?"),
            "Goes on behind this event, with none left out and none twice",
        ),
        "status" => (words(Status::ALL.map(Status::as_str)), "Only of this status"),
        "currency" => (super::schemas::currency(), "Only in this currency, of ISO 4217"),
        "number" => (json!({"type": "string"}), "Only the invoice with this number"),
        "number_prefix" => (json!({"type": "string"}), "Only numbers that begin like this"),
        "created_after" => (time(), "Only those created after it"),
        "created_before" => (time(), "Only those created before it"),
        "declined" => (
            json!({"type": "boolean"}),
            "Whether the last payment was declined",
        ),
        "order" => (
            words(["oldest", "newest"]),
            "Which come first: `oldest`, if nothing is said",
        ),
        "limit" => (
            json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
            "The most of a page",
        ),
        "cursor" if of_events => (
            event_id(""),
            "Goes on there, like Last-Event-ID: next_cursor or last_event_id of a page",
        ),
        "cursor" => (
            json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{32}$"}),
            "Goes on there: next_cursor of a page, with the same filters and the same order. What was being created or imported when a cursor was given out may stand before it: GET /events misses nothing",
        ),
        "invoice_id" => (uuid(), "Only of this invoice"),
        "batch_id" => (uuid(), "Only of this batch"),
        "type" => (
            json!({"type": "array", "minItems": 1, "items": words(Kind::ALL.map(Kind::as_str).into_iter().chain([BATCH]))}),
            "Only these, with commas",
        ),
        "follow" => (
            json!({"type": "boolean", "default": true}),
            "Whether to go on with what happens from now on; `false` ends the stream at the present",
        ),
        _ => return None,
    })
}

fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn tags() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "pattern": r#"^(\*|(W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)$"#,
        "examples": ["*"],
    })
}

/// 28 or 44 bytes. As a header it may be empty, as of a client that has heard nothing yet.
fn event_id(repeated: &str) -> Value {
    let pattern = format!("^([A-Za-z0-9_-]{{37}}[AQgw]|[A-Za-z0-9_-]{{58}}[AEIMQUYcgkosw048]){repeated}$");
    json!({"type": "string", "pattern": pattern})
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"type": "string", "enum": words.into_iter().collect::<Vec<_>>()})
}
