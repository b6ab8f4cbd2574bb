//! `POST /invoices/pay`: pays every unpaid invoice, or those named.

use std::sync::Arc;

use axum::{extract::State, response::Response};

use crate::http::{
    Api, Error,
    access::Payer,
    answer::settled_or_not,
    body,
    call::{Post, Read},
    fields::Fields,
    problem::FieldError,
    representation::BatchView,
};
use crate::{
    idempotency::{Answer, Called},
    payment::Batch,
    waiters::Waiter,
};

/// The most ids one call may name.
const MAX_IDS: usize = 100_000;

/// Pays several invoices, and waits for the outcomes.
pub async fn pay_invoices(
    State(api): State<Arc<Api>>,
    Payer(caller): Payer,
    post: Post,
) -> Result<Response, Error> {
    let claims_json = post.claims_json();
    let Read {
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
    let ids = ids(&body)?;
    drop(body);
    let (batch, waiter, repeated) = match api.paying.pay_many(ids, caller.actor, call, trace).await? {
        Called::Ran(paid) => (paid.batch, paid.waiter, false),
        Called::Repeated(answer) => repeat(&api, answer).await?,
        Called::InUse => return Err(Error::KeyInUse),
        Called::OtherCall => return Err(Error::KeyReused),
    };
    let batch = api
        .paying
        .wait_for_batch(batch, waiter, prefer.patience(&api, &slot))
        .await;
    let open = batch.pending > 0;
    Ok(settled_or_not(BatchView::from(batch), open, &prefer, repeated))
}

/// The batch a repeated call made.
async fn repeat(api: &Api, answer: Answer) -> Result<(Batch, Waiter, bool), Error> {
    let Answer::Batch(id) = answer else {
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

/// The ids asked for; none at all means every unpaid invoice. `"ids": null` is refused: it looks like a mistake, and
/// would pay everything.
fn ids(body: &[u8]) -> Result<Option<Vec<String>>, Error> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut fields = Fields::parse(body)?;
    let ids = fields
        .take_even_null("ids")
        .map(|raw| serde_json::from_str::<Vec<String>>(raw.get()));
    let mut errors = fields.finish();
    match ids {
        Some(Err(_)) => errors.push(FieldError::new("ids", "must be an array of strings")),
        Some(Ok(ids)) if ids.len() > MAX_IDS => {
            errors.push(FieldError::new(
                "ids",
                format!("must have at most {MAX_IDS} entries"),
            ));
        }
        Some(Ok(ids)) if errors.is_empty() => return Ok(Some(ids)),
        None if errors.is_empty() => return Ok(None),
        Some(Ok(_)) | None => {}
    }
    Err(Error::Invalid(errors))
}

#[cfg(test)]
mod tests {
    use super::*;

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
