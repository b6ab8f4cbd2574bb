//! `GET /invoices`: invoices by creation, filtered, in pages; or all that match, as CSV.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{IntoResponse as _, Response},
};
use payment_contract::InvoiceId;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use unicode_normalization::UnicodeNormalization as _;
use utoipa::ToSchema;

use crate::http::{
    Api, Error,
    access::Reader,
    csv_export, cursor,
    openapi::parameters,
    query::{Parameters, RawQuery},
    representation::InvoiceView,
};
use crate::{
    invoice::Status,
    store::invoices::{Filter, SortOrder},
};

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvoicesPage)]
pub struct Page {
    invoices: Vec<InvoiceView>,
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What was asked for.
#[derive(Debug)]
struct InvoicesQuery {
    filter: Filter,
    after: Option<InvoiceId>,
    limit: usize,
}

/// Lists invoices.
#[utoipa::path(
    get, path = "/invoices", tag = "Invoices", security(("token" = ["invoices:read"])),
    params(parameters::Invoices),
    responses((status = 200, description = "Those that match", content((Page = "application/json"), (String = "text/csv")), headers(("Link")))),
)]
pub async fn list_invoices(
    State(api): State<Arc<Api>>,
    _: Reader,
    uri: Uri,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Error> {
    let InvoicesQuery { filter, after, limit } = InvoicesQuery::parse(Parameters::try_new(query)?)?;
    if csv_export::is_asked_for(&headers) {
        let place = Arc::clone(&api.exports).try_acquire_owned();
        let place = place.map_err(|_| Error::TooManyRequests)?;
        let (store, stop) = (api.store.clone(), api.stop.clone());
        return Ok(csv_export::export(store, filter, after, place, stop));
    }
    // One more tells whether there is a next page.
    let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let mut invoices = api.store.list_invoices(&filter, after, more).await?;
    let is_last = invoices.len() <= limit;
    invoices.truncate(limit);
    let last = invoices.last().filter(|_| !is_last);
    let next_cursor = last.map(|last| cursor::to(&filter, last.id));
    let link = next_cursor.as_deref().and_then(|cursor| next_link(&uri, cursor));
    let page = Page {
        invoices: invoices.into_iter().map(InvoiceView::from).collect(),
        next_cursor,
    };
    let mut response = ([(header::VARY, "accept")], Json(page)).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

impl InvoicesQuery {
    fn parse(mut parameters: Parameters) -> Result<Self, Error> {
        // No invoice has a number with NUL in it, and Postgres cannot be query.
        let storable = |text: &str| Ok::<_, &str>(text.nfc().collect::<String>().replace('\0', "\u{FFFD}"));
        let filter = Filter {
            status: parameters.take("status", Status::try_new),
            currency: parameters.currency(),
            number: parameters.take("number", storable),
            number_prefix: parameters.take("number_prefix", storable),
            created_after: parameters.take("created_after", time),
            created_before: parameters.take("created_before", time),
            declined: parameters.take("declined", |word| match word {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err("must be true or false"),
            }),
            order: parameters.take("order", SortOrder::try_new).unwrap_or_default(),
        };
        let limit = parameters.limit();
        let after = parameters.take("cursor", |text| {
            cursor::parse(&filter, text)
                .ok_or("must be a next_cursor as it was answered, with the same filters and the same order")
        });
        parameters.finish()?;
        Ok(Self { filter, after, limit })
    }
}

fn time(text: &str) -> Result<OffsetDateTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "must be a time like 2026-01-31T12:00:00Z; write + in an offset as %2B")
}

/// The same list, from there on (RFC 8288).
fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let kept = uri.query().unwrap_or_default().split('&');
    let kept = kept.filter(|part| !part.is_empty() && !part.starts_with("cursor="));
    let query: String = kept.flat_map(|part| [part, "&"]).collect();
    HeaderValue::try_from(format!("<{}?{query}cursor={cursor}>; rel=\"next\"", uri.path())).ok()
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;

    use super::*;
    use crate::http::problem::FieldError;

    fn parse(pairs: &[(&str, &str)]) -> Result<InvoicesQuery, Vec<FieldError>> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let parameters = Parameters::try_new(Ok(Query(pairs.collect()))).unwrap();
        match InvoicesQuery::parse(parameters) {
            Ok(query) => Ok(query),
            Err(Error::Invalid(errors)) => Err(errors),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_next_page_is_linked_with_the_same_filter() {
        let uri = Uri::from_static("/invoices?status=unpaid&cursor=old&limit=2");
        let link = next_link(&uri, "new").unwrap();
        assert_eq!(link, "</invoices?status=unpaid&limit=2&cursor=new>; rel=\"next\"");
        let link = next_link(&Uri::from_static("/invoices"), "new").unwrap();
        assert_eq!(link, "</invoices?cursor=new>; rel=\"next\"");
    }

    #[test]
    fn every_bad_parameter_is_named() {
        let errors = parse(&[
            ("status", "Paid"),
            ("currency", "eur"),
            ("created_after", "yesterday"),
            ("declined", "yes"),
            ("order", "random"),
            ("limit", "0"),
            ("cursor", "?"),
            ("stauts", "paid"),
            ("number", "1"),
            ("number", "2"),
        ]);
        let mut fields: Vec<String> = errors.unwrap_err().into_iter().map(|error| error.field).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "created_after",
                "currency",
                "cursor",
                "declined",
                "limit",
                "number",
                "order",
                "status",
                "stauts"
            ]
        );
        for limit in ["1001", "-1", "1.5", "", "99999999999999999999"] {
            assert!(parse(&[("limit", limit)]).is_err(), "{limit}");
        }
        assert_eq!(parse(&[("limit", "1000")]).unwrap().limit, 1000);
    }
}
