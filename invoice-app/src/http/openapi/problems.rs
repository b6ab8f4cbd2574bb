//! Which problems an operation can have, described by the documents that the code answers with.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::header;
use serde_json::{Map, Value, json};

use crate::{
    http::{Error, body::PLAIN, problem::FieldError},
    invoice::Status,
    tokens::Scope,
};

/// Those of one operation.
pub(super) struct Slugs(BTreeSet<String>);

/// What can happen to every call.
const ALWAYS: [&str; 7] = [
    "database-unavailable",
    "forbidden",
    "internal",
    "starting",
    "timed-out",
    "too-many-requests",
    "unauthorized",
];
/// And to one that can be written wrongly.
const WITH_INPUT: [&str; 2] = ["invalid-request", "malformed-request"];
const WITH_BODY: [&str; 3] = ["body-too-large", "request-timeout", "unsupported-media-type"];
const WITH_KEY: [&str; 2] = ["idempotency-key-in-use", "idempotency-key-reused"];

impl Slugs {
    /// By what an operation takes.
    pub(super) fn of(method: &str, path: &str, has: impl Fn(&str) -> bool) -> Self {
        let mut slugs: Vec<&str> = ALWAYS.to_vec();
        if method == "post" || !path.ends_with('}') {
            slugs.extend(WITH_INPUT);
        }
        if path.contains('{') {
            slugs.push("malformed-request");
        }
        if method == "post" {
            slugs.extend(WITH_BODY);
        }
        if has("Idempotency-Key") {
            slugs.extend(WITH_KEY);
        }
        if has("If-Match") {
            slugs.push("precondition-failed");
        }
        Self(slugs.into_iter().map(str::to_owned).collect())
    }

    /// Takes over what a handler says that is a problem: its slug stands as the description.
    pub(super) fn take(&mut self, response: &Value) -> bool {
        let slug = response["description"].as_str().unwrap_or_default();
        let known = sample(slug).is_some();
        if known {
            self.0.insert(slug.to_owned());
        }
        known
    }

    /// Adds a response for each status.
    pub(super) fn add_to(self, responses: &mut Map<String, Value>) {
        let mut by_status = BTreeMap::<u16, Vec<(String, Error)>>::new();
        for slug in self.0 {
            if let Some(error) = sample(&slug) {
                by_status
                    .entry(error.status().as_u16())
                    .or_default()
                    .push((slug, error));
            }
        }
        for (status, errors) in by_status {
            let mut headers = Map::new();
            let (mut examples, mut titles) = (Map::new(), Vec::new());
            for (slug, error) in errors {
                if let Some(name) = error.header_name().filter(|name| *name != header::CONNECTION) {
                    headers.insert(canonical(name.as_str()), Value::Null);
                }
                let document = error.document();
                titles.extend(document["title"].as_str().map(str::to_owned));
                examples.insert(slug, json!({"value": document}));
            }
            responses.insert(
                status.to_string(),
                json!({
                    "description": titles.join("; "),
                    "headers": headers,
                    "content": {"application/problem+json": {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": examples,
                    }},
                }),
            );
        }
    }
}

/// `retry-after` as people write it.
fn canonical(name: &str) -> String {
    match name {
        "www-authenticate" => "WWW-Authenticate".to_owned(),
        _ => name
            .split('-')
            .map(|word| {
                word.chars()
                    .take(1)
                    .map(|c| c.to_ascii_uppercase())
                    .chain(word.chars().skip(1))
                    .collect()
            })
            .collect::<Vec<String>>()
            .join("-"),
    }
}

/// One error of each kind that an operation can have.
fn sample(slug: &str) -> Option<Error> {
    let id = "019aa1f0-7c00-7a3b-9d58-6b1f0c1d2e3f".to_owned();
    Some(match slug {
        "body-too-large" => Error::TooLarge(PLAIN),
        "database-unavailable" => Error::Database(sqlx::Error::PoolTimedOut),
        "events-forgotten" => Error::EventsForgotten,
        "forbidden" => Error::Forbidden(Scope::Pay),
        "idempotency-key-in-use" => Error::KeyInUse,
        "idempotency-key-reused" => Error::KeyReused,
        "internal" => Error::Panicked(String::new()),
        "invalid-request" => Error::Invalid(vec![FieldError::new(
            "limit",
            "must be a whole number from 1 to 1000",
        )]),
        "invoice-not-found" => Error::NoInvoice(id),
        "invoice-not-payable" => Error::NotPayable(Status::Paid),
        "invoice-not-voidable" => Error::NotVoidable(Status::Paid),
        "malformed-request" => Error::Malformed("the query cannot be read".to_owned()),
        "number-taken" => Error::NumberTaken("I1".to_owned()),
        "payment-batch-not-found" => Error::NoBatch(id),
        "precondition-failed" => Error::PreconditionFailed,
        "request-timeout" => Error::BodyTimeout,
        "starting" => Error::Starting,
        "stopping" => Error::Stopping,
        "timed-out" => Error::TimedOut,
        "too-many-requests" => Error::TooManyRequests,
        "totals-changed" => Error::TotalsChanged("3 invoices, 88.53 EUR".to_owned()),
        "unauthorized" => Error::Unauthorized,
        "unsupported-media-type" => Error::UnsupportedMediaType("application/json"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{problem::PREFIX, problem_texts::slugs};

    #[test]
    fn every_problem_of_an_operation_is_shown_as_it_is_answered() {
        for slug in slugs() {
            // No operation is answered with the first two, and the last is for whoever deploys.
            if ["method-not-allowed", "not-found", "schema-missing"].contains(&slug) {
                continue;
            }
            let error = sample(slug).unwrap_or_else(|| panic!("{slug} has no example"));
            assert_eq!(error.document()["type"], format!("{PREFIX}{slug}"));
        }
    }
}
