//! `GET /invoices`: invoices oldest first, filtered, in pages.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use payment_contract::{Currency, InvoiceId};
use serde::Serialize;
use uuid::Uuid;

use crate::http::{
    Api, Error, access::Reader, fields::without_name, problem::FieldError, representation::InvoiceView,
};
use crate::{invoice::Status, store::invoices::Filter};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// One page.
#[derive(Debug, Serialize)]
pub struct Page {
    invoices: Vec<InvoiceView>,
    next_cursor: Option<String>,
}

/// What was asked for.
#[derive(Debug, Default)]
struct Asked {
    filter: Filter,
    after: Option<InvoiceId>,
    limit: Option<usize>,
}

type Pairs = Vec<(String, String)>;

/// Lists invoices.
pub async fn list_invoices(
    State(api): State<Arc<Api>>,
    _: Reader,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<Page>, Error> {
    let Ok(Query(pairs)) = query else {
        return Err(Error::Malformed("the query cannot be read".to_owned()));
    };
    let asked = Asked::parse(pairs).map_err(Error::Invalid)?;
    let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
    // One more tells whether there is a next page.
    let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut invoices = api.store.list_invoices(&asked.filter, asked.after, more).await?;
    let is_last = invoices.len() <= limit;
    invoices.truncate(limit);
    let next_cursor = invoices.last().filter(|_| !is_last).map(|last| cursor(last.id));
    Ok(Json(Page {
        invoices: invoices.into_iter().map(InvoiceView::from).collect(),
        next_cursor,
    }))
}

impl Asked {
    /// Reads the parameters, or says what is wrong with each. Unknown ones are refused: a filter misspelt would answer with
    /// everything.
    fn parse(pairs: Pairs) -> Result<Self, Vec<FieldError>> {
        let (mut asked, mut errors, mut seen) = (Self::default(), Vec::new(), Vec::new());
        for (name, value) in pairs {
            let problem = if seen.contains(&name) {
                Some("is given twice".to_owned())
            } else {
                asked.set(&name, &value).err()
            };
            if let Some(problem) = problem {
                errors.push(FieldError::new(
                    name.chars().take(64).collect::<String>(),
                    problem,
                ));
            }
            seen.push(name);
        }
        if errors.is_empty() { Ok(asked) } else { Err(errors) }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "status" => {
                let status = Status::parse(value).ok_or("must be unpaid, pending, paid or void")?;
                self.filter.status = Some(status);
            }
            "currency" => {
                let currency = Currency::try_new(value);
                self.filter.currency =
                    Some(currency.map_err(|error| without_name(name, &error.to_string()))?);
            }
            // No invoice has a number with NUL in it, and Postgres cannot be asked.
            "number" => self.filter.number = Some(value.replace('\0', "\u{FFFD}")),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit =
                    Some(limit.ok_or_else(|| format!("must be a whole number from 1 to {MAX_LIMIT}"))?);
            }
            "cursor" => {
                self.after = Some(parse_cursor(value).ok_or("must be a next_cursor as it was answered")?);
            }
            _ => return Err("is not known".to_owned()),
        }
        Ok(())
    }
}

fn cursor(last: InvoiceId) -> String {
    URL_SAFE_NO_PAD.encode(last.as_uuid().as_bytes())
}

fn parse_cursor(text: &str) -> Option<InvoiceId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Uuid::from_slice(&bytes).ok().map(InvoiceId::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Asked, Vec<FieldError>> {
        Asked::parse(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let id = InvoiceId::generate();
        assert_eq!(parse_cursor(&cursor(id)), Some(id));
        for bad in ["", "x", "AAAA", "!!", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            assert_eq!(parse_cursor(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_bad_parameter_is_named() {
        let errors = parse(&[
            ("status", "Paid"),
            ("currency", "eur"),
            ("limit", "0"),
            ("cursor", "?"),
            ("stauts", "paid"),
            ("number", "1"),
            ("number", "2"),
        ]);
        let fields: Vec<String> = errors.unwrap_err().into_iter().map(|error| error.field).collect();
        assert_eq!(
            fields,
            ["status", "currency", "limit", "cursor", "stauts", "number"]
        );
        for limit in ["1001", "-1", "1.5", "", "99999999999999999999"] {
            assert!(parse(&[("limit", limit)]).is_err(), "{limit}");
        }
        assert_eq!(parse(&[("limit", "1000")]).unwrap().limit, Some(1000));
    }
}
