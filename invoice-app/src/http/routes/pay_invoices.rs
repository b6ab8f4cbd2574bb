//! `POST /invoices/pay`: pays every unpaid invoice, or those named.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{extract::State, response::Response};
use payment_contract::Currency;
use serde::Deserialize;

use crate::http::{
    Api, Error,
    access::Payer,
    body,
    fields::{Fields, without_name},
    openapi::{parameters, schemas},
    post::{Post, ReadPost},
    representation::BatchView,
    responses::{repeated, settled_or_not},
};
use crate::{
    idempotency::{Called, SavedResponse},
    metrics,
    paying::{TotalsChanged, Wanted},
    payment::Batch,
    totals::{self, Expected},
    waiters::Waiter,
};

/// The most ids one call may name.
const MAX_IDS: usize = 100_000;

/// Pays several invoices, and waits for the outcomes.
#[utoipa::path(
    post, path = "/invoices/pay", tag = "Payments", security(("token" = ["invoices:pay"])),
    params(parameters::Keyed, parameters::Prefer), request_body = Option<schemas::PayInvoices>,
    responses(
        (status = 200, description = "Everything is settled", body = BatchView, links(
            ("get_payment_batch" = (operation_id = "get_payment_batch", parameters(("id" = "$response.body#/batch_id")))),
        )),
        (status = 202, description = "Some are under way", body = BatchView, links(
            ("get_payment_batch" = (operation_id = "get_payment_batch", parameters(("id" = "$response.body#/batch_id")))),
        )),
        (status = 409, description = "totals-changed"),
    ),
)]
pub async fn pay_invoices(
    State(api): State<Arc<Api>>,
    Payer(caller): Payer,
    post: Post,
) -> Result<Response, Error> {
    let claims_json = post.claims_json();
    let ReadPost {
        body,
        call,
        trace,
        prefer,
        slot,
    } = post.read(&caller, body::MANY_IDS, &api).await?;
    if claims_json && body.is_empty() {
        // As from a client whose file was missing: it did not mean to pay everything.
        let problem = "the body says it is JSON and is empty; to pay every unpaid invoice, send {}, or neither body nor type";
        return Err(Error::Malformed(problem.to_owned()));
    }
    let wanted = wanted(&body)?;
    drop(body);
    let asked = Instant::now();
    let (batch, waiter, is_repeat) = match api.paying.pay_many(wanted, caller.actor, call, trace).await? {
        Called::Ran(Ok(paid)) => {
            metrics::accepted(metrics::MANY, asked.elapsed());
            (paid.batch, paid.waiter, false)
        }
        Called::Ran(Err(TotalsChanged(totals))) => {
            return Err(Error::TotalsChanged(totals::summary(&totals)));
        }
        Called::NotRun(why) => repeat(&api, repeated(why)?).await?,
    };
    let batch = api
        .paying
        .wait_for_batch(batch, waiter, prefer.deadline(&api, &slot))
        .await;
    let open = batch.pending > 0;
    Ok(settled_or_not(BatchView::from(batch), open, &prefer, is_repeat))
}

/// The batch a repeated call made.
async fn repeat(api: &Api, answer: SavedResponse) -> Result<(Batch, Waiter, bool), Error> {
    let SavedResponse::Batch(id) = answer else {
        return Err(Error::KeyReused);
    };
    let waiter = api.paying.batch_waiter(id);
    let batch = api
        .store
        .batch(id)
        .await?
        .ok_or(Error::Database(sqlx::Error::RowNotFound))?;
    Ok((batch, waiter, true))
}

/// What is asked for; nothing at all means every unpaid invoice. `null` is refused: it looks like a mistake, and would pay
/// everything.
fn wanted(body: &[u8]) -> Result<Wanted, Error> {
    if body.is_empty() {
        return Ok(Wanted::default());
    }
    let mut fields = Fields::parse(body)?;
    let mut wanted = Wanted {
        ids: ids(&mut fields),
        currency: currency(&mut fields),
        expected: None,
    };
    if let Some(mut expect) = fields.object("expect") {
        wanted.expected = Some(expected(&mut expect));
        fields.merge(expect);
    }
    if wanted.ids.is_some() && wanted.currency.is_some() {
        fields.wrong("currency", "cannot be given beside ids");
    }
    let errors = fields.finish();
    if errors.is_empty() {
        Ok(wanted)
    } else {
        Err(Error::Invalid(errors))
    }
}

fn ids(fields: &mut Fields) -> Option<Vec<String>> {
    let raw = fields.take_even_null("ids")?;
    match serde_json::from_str::<Vec<String>>(raw.get()) {
        Ok(ids) if ids.len() <= MAX_IDS => return Some(ids),
        Ok(_) => fields.wrong("ids", format!("must have at most {MAX_IDS} entries")),
        Err(_) => fields.wrong("ids", "must be an array of strings"),
    }
    None
}

fn currency(fields: &mut Fields) -> Option<Currency> {
    let raw = fields.take_even_null("currency")?;
    let code = serde_json::from_str::<String>(raw.get()).unwrap_or_default();
    match Currency::try_new(&code) {
        Ok(currency) => Some(currency),
        Err(error) => {
            fields.wrong("currency", without_name("currency", &error.to_string()));
            None
        }
    }
}

fn expected(expect: &mut Fields) -> Expected {
    let count = expect.take_even_null("count").map(|raw| {
        let count = raw.get().parse::<i64>().ok().filter(|count| *count >= 0);
        count.ok_or("must be a whole number, zero or more")
    });
    let sums = expect.take_even_null("totals").map(|raw| sums(raw.get()));
    let mut note = |name, problem: &str| expect.wrong(name, problem);
    let count = count.and_then(|count| count.map_err(|problem| note("count", problem)).ok());
    let sums = sums.and_then(|sums| sums.map_err(|problem| note("totals", &problem)).ok());
    if count.is_none() && sums.is_none() {
        note("count", "is missing: say what count, totals, or both you expect");
    }
    Expected { count, sums }
}

/// One of them. `count` is accepted, so that what `GET /invoices/totals` answers can be sent back as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSum {
    currency: String,
    value: String,
    #[serde(default, rename = "count")]
    _count: Option<i64>,
}

fn sums(raw: &str) -> Result<BTreeMap<&'static str, i128>, String> {
    let given: Vec<ExpectedSum> = serde_json::from_str(raw)
        .map_err(|_| "must be an array of {\"currency\", \"value\"}, both strings".to_owned())?;
    let mut sums = BTreeMap::new();
    for sum in given {
        let currency = Currency::try_new(&sum.currency).map_err(|error| error.to_string())?;
        let minor_units = currency
            .minor_units(&sum.value)
            .map_err(|error| error.to_string())?;
        if sums.insert(currency.code(), minor_units).is_some() {
            return Err(format!("has {currency} twice"));
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &[u8]) -> Result<Option<Vec<String>>, Error> {
        wanted(body).map(|wanted| wanted.ids)
    }

    #[test]
    fn what_is_expected_is_read_as_it_is_answered() {
        let body = br#"{"currency": "EUR", "expect": {"count": 2, "totals": [{"currency": "EUR", "count": 2, "value": "24.30"}]}}"#;
        let wanted = wanted(body).unwrap();
        assert_eq!(wanted.currency.map(Currency::code), Some("EUR"));
        let expected = wanted.expected.unwrap();
        assert_eq!(
            (expected.count, expected.sums),
            (Some(2), Some(BTreeMap::from([("EUR", 2430)])))
        );
        for mistake in [
            r#"{"currency": "eur"}"#,
            r#"{"currency": null}"#,
            r#"{"currency": "EUR", "ids": []}"#,
            r#"{"expect": {}}"#,
            r#"{"expect": 3}"#,
            r#"{"expect": 1e999}"#,
            r#"{"expect": {"count": -1}}"#,
            r#"{"expect": {"count": 1.5}}"#,
            r#"{"expect": {"count": "2"}}"#,
            r#"{"expect": {"count": 2, "total": []}}"#,
            r#"{"expect": {"totals": [{"currency": "EUR", "value": 1}]}}"#,
            r#"{"expect": {"totals": [{"currency": "EUR", "value": "1.001"}]}}"#,
            r#"{"expect": {"totals": [{"currency": "EUR", "value": "1"}, {"currency": "EUR", "value": "1"}]}}"#,
        ] {
            assert!(
                matches!(super::wanted(mistake.as_bytes()), Err(Error::Invalid(_))),
                "{mistake}"
            );
        }
    }

    #[test]
    fn only_an_absent_list_pays_everything() {
        for everything in ["", "{}", " {} "] {
            assert_eq!(ids(everything.as_bytes()).unwrap(), None, "{everything:?}");
        }
        assert_eq!(ids(br#"{"ids": []}"#).unwrap(), Some(vec![]));
        assert_eq!(
            ids(br#"{"ids": ["a", "\u0000"]}"#).unwrap(),
            Some(vec!["a".to_owned(), "\0".to_owned()])
        );
        for mistake in [
            r#"{"ids": null}"#,
            r#"{"ids": "a"}"#,
            r#"{"ids": [1]}"#,
            r#"{"id": ["a"]}"#,
            "[]",
            "null",
            r#"{"ids": ["a"], "ids": ["b"]}"#,
        ] {
            assert!(
                matches!(ids(mistake.as_bytes()), Err(Error::Invalid(_))),
                "{mistake}"
            );
        }
    }
}
