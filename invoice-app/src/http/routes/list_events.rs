//! `GET /events`: every change of every invoice, as a stream to follow or in pages.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    event::Position,
    http::{
        Api, Error,
        accept::quality,
        access::Reader,
        event_stream::{EventFilter, EventView, Listener, Type},
        openapi::parameters,
        query::{Parameters, RawQuery},
        representation::BatchView,
    },
    store::changes::PAGE,
};

/// How often one call reads on to fill its page: a filter may let little through.
const READS: usize = 20;

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventsPage)]
struct Page {
    events: Vec<EventView>,
    /// Those that the events are about, as they stand.
    batches: Vec<BatchView>,
    #[schema(required)]
    next_cursor: Option<String>,
    /// Where to go on from later: the last event, whether or not it was let through.
    last_event_id: String,
}

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct EventsQuery {
    filter: EventFilter,
    follow: Option<bool>,
    cursor: Option<Position>,
    limit: usize,
}

/// Tells what happens to invoices.
#[utoipa::path(
    get, path = "/events", tag = "Events", security(("token" = ["invoices:read"])),
    params(parameters::Events, parameters::LastEventId),
    responses(
        (status = 200, description = "What happened", content((String = "text/event-stream"), (Page = "application/json"))),
        (status = 410, description = "events-forgotten"),
    ),
)]
pub async fn list_events(
    State(api): State<Arc<Api>>,
    _: Reader,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Response, Error> {
    let query = EventsQuery::parse(Parameters::try_new(query)?)?;
    let place = Arc::clone(&api.listeners)
        .try_acquire_owned()
        .map_err(|_| Error::TooManyRequests)?;
    let json = prefers_json(&headers);
    let follow = !json && query.follow.unwrap_or(true);
    let sent = last_event_id(&headers)?;
    let after = match query.cursor.or(sent) {
        Some(after) if api.store.is_kept(after).await? => after,
        Some(_) => return Err(Error::EventsForgotten),
        None if follow => api.store.present().await?,
        None => api.store.oldest_kept().await?,
    };
    if !follow {
        api.store.wait_for_present().await?;
    }
    if json {
        let page = page(&api, &query.filter, after, query.limit).await?;
        return Ok(([(header::VARY, "accept")], Json(page)).into_response());
    }
    let (store, feed) = (api.store.clone(), api.feed.clone());
    let listener = Listener::init(store, feed, query.filter, after, follow, place).await?;
    let stop = api.stop.clone();
    let stream = listener.stream().take_until(stop.cancelled_owned());
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("accept")),
        // Said to nginx, which would else keep events until it has a buffer full.
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

async fn page(api: &Api, filter: &EventFilter, after: Position, limit: usize) -> Result<Page, Error> {
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
    quality(headers, "application/json") > quality(headers, "text/event-stream")
}

impl EventsQuery {
    fn parse(mut parameters: Parameters) -> Result<Self, Error> {
        let types = |text: &str| {
            text.split(',').map(Type::parse).collect::<Option<Vec<_>>>().ok_or(
                "must be invoice.created, invoice.pending, invoice.paid, invoice.declined, invoice.voided or batch, or several, with commas",
            )
        };
        let query = Self {
            filter: EventFilter {
                invoice_id: parameters.take("invoice_id", |text| {
                    text.parse().map_err(|_| "must be an invoice's id, a UUID")
                }),
                batch_id: parameters.take("batch_id", |text| {
                    text.parse().map_err(|_| "must be a batch's id, a UUID")
                }),
                types: parameters.take("type", types).unwrap_or_default(),
            },
            follow: parameters.take("follow", |text| text.parse().map_err(|_| "must be true or false")),
            cursor: parameters.take("cursor", |text| {
                text.parse()
                    .map_err(|_| "must be a next_cursor as it was answered")
            }),
            limit: parameters.limit(),
        };
        parameters.finish()?;
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use axum::extract::Query;

    use super::*;
    use crate::event::Kind;

    fn parse(pairs: &[(&str, &str)]) -> Result<EventsQuery, Error> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        EventsQuery::parse(Parameters::try_new(Ok(Query(pairs.iter().map(owned).collect())))?)
    }

    #[test]
    fn parameters_are_read_and_every_bad_one_is_named() {
        let query = parse(&[("type", "invoice.paid,batch"), ("follow", "false")]).unwrap();
        assert_eq!(query.filter.types, [Type::Invoice(Kind::Paid), Type::Batch]);
        assert_eq!(query.follow, Some(false));
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
        let Err(Error::Invalid(errors)) = errors else {
            panic!("accepted: {errors:?}");
        };
        let fields: HashSet<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let wrong = [
            "type",
            "follow",
            "invoice_id",
            "batch_id",
            "cursor",
            "limit",
            "last_event_id",
        ];
        assert_eq!(fields, wrong.into());
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
