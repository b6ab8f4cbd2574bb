//! The `OpenAPI` document: each handler says what is its own, and what all of them share is added here, once. The problems are
//! those that the code answers with, so that their texts and headers cannot be others.

#![expect(
    clippy::indexing_slicing,
    reason = "the document is the same at every start: what is not as it is taken to be fails every test"
)]

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

mod examples;
pub mod parameters;
mod problems;
pub mod schemas;

/// What the document begins with.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "invoice-app",
        description = "Invoices, and their payment. Every error is a problem document (RFC 9457) whose `type` leads to a page that says what to do."
    ),
    tags(
        (name = "Invoices", description = "What is owed"),
        (name = "Payments", description = "Attempts to pay it"),
        (name = "Events", description = "What happens, as it happens"),
    )
)]
pub struct Document;

/// Headers of answers, by name.
const HEADERS: [(&str, &str); 10] = [
    (
        "ETag",
        "The invoice's version: send it back as If-Match or If-None-Match",
    ),
    (
        "Idempotent-Replayed",
        "`true` when the answer is that of an earlier call with this Idempotency-Key",
    ),
    (
        "Link",
        "The next page, `rel=\"next\"`, while there is one (RFC 8288)",
    ),
    ("Location", "Where the invoice is"),
    ("Preference-Applied", "The preference that was applied (RFC 7240)"),
    (
        "RateLimit",
        "What is left to this caller, where calls are limited",
    ),
    (
        "RateLimit-Policy",
        "How many calls a caller may make, where they are limited",
    ),
    ("Request-Id", "The call's trace id"),
    ("Retry-After", "After how many seconds to send the call again"),
    ("WWW-Authenticate", "What is wrong with the token (RFC 6750)"),
];

/// The whole document.
pub fn complete(document: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["components"]["securitySchemes"] = json!({"token": {
        "type": "http",
        "scheme": "bearer",
        "description": "As `invoice-app token` makes them, each with some of the scopes invoices:read, invoices:write and invoices:pay",
    }});
    if let Some(written) = document["components"]["schemas"].as_object_mut() {
        schemas::refine(written);
    }
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                complete_operation(path, method, operation);
            }
        }
    }
    document
}

fn complete_operation(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let mut names = Vec::new();
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        names.extend(parameter["name"].as_str().map(str::to_owned));
        parameters::describe(path, parameter);
    }
    let has = |name: &str| names.iter().any(|other| other == name);
    examples::of_bodies(path, operation);
    let mut problems = problems::Slugs::of(method, path, has);
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return;
    };
    responses.retain(|_, response| !problems.take(response));
    for (status, response) in responses.iter_mut() {
        examples::of_response(path, status, response);
        if has("Idempotency-Key") {
            response["headers"]["Idempotent-Replayed"] = Value::Null;
        }
        if has("Prefer") {
            response["headers"]["Preference-Applied"] = Value::Null;
        }
    }
    problems.add_to(responses);
    for response in responses.values_mut() {
        for name in ["RateLimit", "RateLimit-Policy", "Request-Id"] {
            response["headers"][name] = Value::Null;
        }
        let headers = response["headers"].as_object_mut().into_iter().flatten();
        for (name, header) in headers {
            let described = HEADERS.iter().find(|(known, _)| known == name);
            *header = json!({"description": described.map(|(_, text)| *text), "schema": {"type": "string"}});
        }
    }
}
