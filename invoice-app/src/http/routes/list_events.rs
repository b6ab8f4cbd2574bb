//! `GET /events`: every change of every invoice, as a stream to follow or in pages.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use payment_contract::InvoiceId;
use serde::Serialize;

use crate::{
    batch_id::BatchId,
    event::Position,
    http::{
        Api, Error,
        access::Reader,
        event_stream::{EventView, Filter, Listener, Type},
        problem::FieldError,
        representation::BatchView,
    },
    store::changes::PAGE,
};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// How often one call reads on to fill its page: a filter may let little through.
const READS: usize = 20;

/// One page.
#[derive(Debug, Serialize)]
struct Page {
    events: Vec<EventView>,
    /// Those that the events are about, as they stand.
    batches: Vec<BatchView>,
    next_cursor: Option<String>,
    /// Where to go on from later: the last event, whether or not it was let through.
    last_event_id: String,
}

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    filter: Filter,
    follow: Option<bool>,
    cursor: Option<Position>,
    limit: Option<usize>,
}

type Pairs = Vec<(String, String)>;

/// Tells what happens to invoices.
pub async fn list_events(
    State(api): State<Arc<Api>>,
    _: Reader,
    headers: HeaderMap,
    query: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Error> {
    let Ok(Query(pairs)) = query else {
        return Err(Error::Malformed("the query cannot be read".to_owned()));
    };
    let asked = Asked::parse(pairs).map_err(Error::Invalid)?;
    let place = Arc::clone(&api.listeners)
        .try_acquire_owned()
        .map_err(|_| Error::TooManyRequests)?;
    let json = prefers_json(&headers);
    let follow = !json && asked.follow.unwrap_or(true);
    let after = match asked
        .cursor
        .map_or_else(|| last_event_id(&headers), |cursor| Ok(Some(cursor)))?
    {
        Some(after) if api.store.is_kept(after).await? => after,
        Some(_) => return Err(Error::EventsForgotten),
        None if follow => api.store.present().await?,
        None => api.store.oldest_kept().await?,
    };
    if !follow {
        api.store.wait_for_present().await?;
    }
    if json {
        let page = page(&api, &asked.filter, after, asked.limit.unwrap_or(DEFAULT_LIMIT)).await?;
        return Ok(Json(page).into_response());
    }
    let (store, feed) = (api.store.clone(), api.feed.clone());
    let listener = Listener::init(store, feed, asked.filter, after, follow, place).await?;
    let stop = api.stop.clone();
    let stream = listener.stream().take_until(stop.cancelled_owned());
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Said to nginx, which would else keep events until it has a buffer full.
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

async fn page(api: &Api, filter: &Filter, after: Position, limit: usize) -> Result<Page, Error> {
    let (mut position, mut more) = (after, true);
    let (mut events, mut touched) = (Vec::new(), BTreeSet::new());
    touched.extend(filter.batch_id);
    for _ in 0..READS {
        let found = {
            let _turn = api.feed.turn().await;
            api.store.changes_after(position).await?
        };
        let found = found.ok_or(Error::EventsForgotten)?;
        let mut left = found.len();
        more = left >= PAGE;
        for event in found {
            left -= 1;
            position = event.position;
            touched.extend(event.batch_id.filter(|_| filter.wants(&event)));
            if filter.wants(&event) {
                events.push(EventView::from(event));
            }
            if events.len() == limit {
                break;
            }
        }
        if !more || events.len() == limit {
            more |= left > 0;
            break;
        }
    }
    touched.retain(|batch| filter.wants_batch(*batch));
    let batches = api.store.batches(touched).await?;
    Ok(Page {
        events,
        batches: batches.into_iter().map(BatchView::from).collect(),
        next_cursor: more.then(|| position.to_string()),
        last_event_id: position.to_string(),
    })
}

/// The place a client was cut off at.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Error> {
    let Some(sent) = headers.get("last-event-id").filter(|sent| !sent.is_empty()) else {
        return Ok(None);
    };
    let parsed = sent.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        Error::Malformed("Last-Event-ID must be the id of an event, as it was sent".to_owned())
    })
}

/// Whether JSON is wanted, and wanted more than a stream of events.
fn prefers_json(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter();
    let ranges = ranges
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let (mut json, mut stream) = (0.0, 0.0);
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        match named.as_str() {
            "application/json" => json = quality.unwrap_or(1.0),
            "text/event-stream" => stream = quality.unwrap_or(1.0),
            _ => {}
        }
    }
    json > stream
}

impl Asked {
    /// Reads the parameters, or says what is wrong with each.
    fn parse(pairs: Pairs) -> Result<Self, Vec<FieldError>> {
        let (mut asked, mut errors, mut seen) = (Self::default(), Vec::new(), Vec::new());
        for (name, value) in pairs {
            let problem = if seen.contains(&name) {
                Some("is given twice")
            } else {
                asked.set(&name, &value).err()
            };
            if let Some(problem) = problem {
                let name = name.chars().take(64).collect::<String>();
                errors.push(FieldError::new(name, problem));
            }
            seen.push(name);
        }
        if errors.is_empty() { Ok(asked) } else { Err(errors) }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "invoice_id" => {
                let id = value
                    .parse::<InvoiceId>()
                    .map_err(|_| "must be an invoice's id, a UUID")?;
                self.filter.invoice_id = Some(id);
            }
            "batch_id" => {
                let id = value
                    .parse::<BatchId>()
                    .map_err(|_| "must be a batch's id, a UUID")?;
                self.filter.batch_id = Some(id);
            }
            "type" => {
                let types = value.split(',').map(Type::parse).collect::<Option<_>>();
                self.filter.types = types.ok_or(
                    "must be invoice.created, invoice.pending, invoice.paid, invoice.declined, invoice.voided or batch, or several, with commas",
                )?;
            }
            "follow" => self.follow = Some(value.parse().map_err(|_| "must be true or false")?),
            "cursor" => {
                let cursor = value
                    .parse()
                    .map_err(|_| "must be a next_cursor as it was answered")?;
                self.cursor = Some(cursor);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit = Some(limit.ok_or("must be a whole number from 1 to 1000")?);
            }
            _ => return Err("is not known"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn parse(pairs: &[(&str, &str)]) -> Result<Asked, Vec<FieldError>> {
        Asked::parse(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn parameters_are_read_and_every_bad_one_is_named() {
        let asked = parse(&[("type", "invoice.paid,batch"), ("follow", "false")]).unwrap();
        assert_eq!(asked.filter.types, [Type::Invoice(Kind::Paid), Type::Batch]);
        assert_eq!(asked.follow, Some(false));
        let errors = parse(&[
            ("type", "invoice.paid,"),
            ("follow", "yes"),
            ("invoice_id", "I1"),
            ("batch_id", ""),
            ("cursor", "1"),
            ("limit", "1001"),
            ("last_event_id", "1"),
            ("follow", "true"),
        ]);
        let fields: Vec<String> = errors.unwrap_err().into_iter().map(|error| error.field).collect();
        assert_eq!(
            fields,
            [
                "type",
                "follow",
                "invoice_id",
                "batch_id",
                "cursor",
                "limit",
                "last_event_id",
                "follow"
            ]
        );
    }

    #[test]
    fn json_is_sent_only_to_those_who_prefer_it() {
        for (accept, json) in [
            ("", false),
            ("*/*", false),
            ("text/event-stream", false),
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json;q=0.5, text/event-stream", false),
            ("application/json, text/event-stream", false),
            ("application/json, text/event-stream;q=0.9", true),
            ("application/json;q=0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(prefers_json(&headers), json, "{accept}");
        }
    }
}
