//! One listener's stream of server-sent events: what it has missed from the database, then what is new from the feed.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use payment_contract::InvoiceId;
use serde::Serialize;
use time::{OffsetDateTime, serde::rfc3339};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, broadcast::error::RecvError},
    time::Instant,
};
use tracing::debug;
use utoipa::ToSchema;

use super::representation::{BatchView, InvoiceView};
use crate::{
    batch_id::BatchId,
    event::{Event, Kind, Position},
    event_feed::{Feed, FeedPage},
    metrics,
    payment::Batch,
    store::{Store, changes::PAGE},
};

/// A comment is sent this often, so that nobody between takes the connection for dead.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// How long a client waits before it comes back, in milliseconds.
const RETRY_MS: u32 = 2000;
/// The type of what is told of a batch.
pub const BATCH: &str = "batch";
/// After the database failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What a listener wants to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub invoice_id: Option<InvoiceId>,
    pub batch_id: Option<BatchId>,
    /// Only these, where there are any.
    pub types: Vec<Type>,
}

/// What there is to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Something happened to an invoice.
    Invoice(Kind),
    /// How a batch stands.
    Batch,
}

impl Type {
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            BATCH => Some(Self::Batch),
            _ => Kind::parse(word).map(Self::Invoice),
        }
    }
}

impl EventFilter {
    /// Whether it lets an event through.
    pub fn wants(&self, event: &Event) -> bool {
        self.wants_type(Type::Invoice(event.kind))
            && self.invoice_id.is_none_or(|id| id == event.invoice.id)
            && self.batch_id.is_none_or(|id| Some(id) == event.batch_id)
    }

    /// Whether it lets a batch through.
    pub fn wants_batch(&self, batch: BatchId) -> bool {
        self.wants_batches() && self.batch_id.is_none_or(|id| id == batch)
    }

    fn wants_batches(&self) -> bool {
        self.wants_type(Type::Batch) && self.invoice_id.is_none()
    }

    fn wants_type(&self, kind: Type) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }
}

/// An event, with the attributes of `CloudEvents`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    specversion: &'static str,
    id: String,
    source: &'static str,
    r#type: &'static str,
    #[schema(value_type = uuid::Uuid)]
    subject: InvoiceId,
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    time: OffsetDateTime,
    data: InvoiceView,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            specversion: "1.0",
            id: event.position.to_string(),
            source: "/invoices",
            r#type: event.kind.as_str(),
            subject: event.invoice.id,
            time: event.time,
            data: event.invoice.into(),
        }
    }
}

/// Whoever reads a stream of events.
pub struct Listener {
    store: Store,
    feed: Feed,
    filter: EventFilter,
    /// How far it has read.
    position: Position,
    /// Once it has read everything, it has read at least up to here.
    until: Position,
    /// Where its client would go on from.
    told: Position,
    /// Batches it may not know the counts of.
    touched: BTreeSet<BatchId>,
    state: State,
    comment_at: Instant,
    out: String,
    _place: Place,
}

/// A place among the listeners.
struct Place(#[expect(dead_code, reason = "held until the listener has gone")] OwnedSemaphorePermit);

impl Drop for Place {
    fn drop(&mut self) {
        metrics::LISTENERS.add(-1.0);
    }
}

enum State {
    /// Reads what it has missed, and stops at the present.
    Finite,
    /// Reads what it has missed, and then hears what is new.
    Behind(broadcast::Receiver<Arc<FeedPage>>),
    /// Hears what is new.
    Live(broadcast::Receiver<Arc<FeedPage>>),
    Ended,
}

/// Why a stream breaks off.
enum Broken {
    Database(sqlx::Error),
    /// What came next is no longer kept. The client learns that when it comes back.
    Forgotten,
}

impl Listener {
    /// Hears what came after a place; for ever, or up to the present.
    pub async fn init(
        store: Store,
        feed: Feed,
        filter: EventFilter,
        after: Position,
        follow: bool,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, sqlx::Error> {
        metrics::LISTENERS.add(1.0);
        let state = if follow {
            State::Behind(feed.subscribe())
        } else {
            State::Finite
        };
        let mut listener = Self {
            store,
            feed,
            filter,
            position: after,
            until: after,
            told: after,
            touched: BTreeSet::new(),
            state,
            comment_at: Instant::now() + COMMENT_EVERY,
            // With an id, so that whoever is cut off before the first event misses nothing either.
            out: format!("retry: {RETRY_MS}\nid: {after}\n\n"),
            _place: Place(place),
        };
        listener.touched.extend(listener.filter.batch_id);
        listener.touch_batches_before().await?;
        Ok(listener)
    }

    /// What is sent, until the listener ends. One that breaks off is cut off, so that its client comes back.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes, io::Error>> {
        stream::try_unfold(self, |mut listener| async move {
            match listener.next().await {
                Ok(Some(bytes)) => Ok(Some((bytes, listener))),
                Ok(None) => Ok(None),
                Err(Broken::Forgotten) => Err(io::Error::other("the events that follow are no longer kept")),
                Err(Broken::Database(error)) => Err(io::Error::other(error)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if self.out.is_empty() && Instant::now() >= self.comment_at {
                self.comment();
            }
            if !self.out.is_empty() {
                return Ok(Some(std::mem::take(&mut self.out).into()));
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Finite => {
                    if self.read().await? {
                        self.state = State::Finite;
                    }
                }
                State::Behind(pages) => {
                    self.state = match self.read().await {
                        Ok(true) => State::Behind(pages),
                        Ok(false) => State::Live(pages),
                        Err(Broken::Forgotten) => return Err(Broken::Forgotten),
                        Err(Broken::Database(error)) => {
                            debug!(error = %service::telemetry::chain(&error), "a listener waits for the database");
                            tokio::time::sleep(PAUSE).await;
                            State::Behind(pages)
                        }
                    };
                }
                State::Live(pages) => self.state = self.hear(pages).await,
                State::Ended => return Ok(None),
            }
        }
    }

    /// Reads one page of what it has missed; whether there is more.
    async fn read(&mut self) -> Result<bool, Broken> {
        let events = {
            let _turn = self.feed.turn().await;
            let events = self.store.changes_after(self.position).await;
            events.map_err(Broken::Database)?.ok_or(Broken::Forgotten)?
        };
        let more = events.len() >= PAGE;
        if let Some(last) = events.last() {
            self.position = last.position;
        }
        if self.filter.wants_batches() {
            self.touched
                .extend(events.iter().filter_map(|event| event.batch_id));
        }
        for event in events {
            self.write(event);
        }
        if !more && self.until.era == self.position.era {
            self.position = self.position.max(self.until);
        }
        if !more && !self.touched.is_empty() {
            let batches = self.store.batches(self.touched.iter().copied()).await;
            for batch in batches.map_err(Broken::Database)? {
                self.write_batch(batch);
            }
            self.touched.clear();
        }
        Ok(more)
    }

    /// Hears one page, or waits until it is time for a comment.
    async fn hear(&mut self, mut pages: broadcast::Receiver<Arc<FeedPage>>) -> State {
        let Ok(heard) = tokio::time::timeout_at(self.comment_at, pages.recv()).await else {
            return State::Live(pages);
        };
        let page = match heard {
            Ok(page) => page,
            Err(RecvError::Lagged(_)) => return self.fall_behind(pages).await,
            Err(RecvError::Closed) => return State::Ended,
        };
        if page.from.era != self.position.era || page.from > self.position {
            self.touched.extend(page.batches.iter().map(|batch| batch.id));
            self.until = page.upto;
            return self.fall_behind(pages).await;
        }
        for event in &page.events {
            if event.position > self.position {
                self.write(event.clone());
            }
        }
        self.position = self.position.max(page.upto);
        for batch in &page.batches {
            self.write_batch(batch.clone());
        }
        State::Live(pages)
    }

    async fn fall_behind(&mut self, pages: broadcast::Receiver<Arc<FeedPage>>) -> State {
        while let Err(error) = self.touch_batches_before().await {
            debug!(error = %service::telemetry::chain(&error), "a listener waits for the database");
            tokio::time::sleep(PAUSE).await;
        }
        State::Behind(pages)
    }

    /// Its client may have missed the last counts of batches whose events it has.
    async fn touch_batches_before(&mut self) -> Result<(), sqlx::Error> {
        if self.filter.wants_batches() {
            let _turn = self.feed.turn().await;
            self.touched
                .extend(self.store.batches_before(self.position).await?);
        }
        Ok(())
    }

    fn write(&mut self, event: Event) {
        if self.filter.wants(&event) {
            self.told = event.position;
            let id = event.position.to_string();
            self.write_out("invoice", &id, &EventView::from(event));
        }
    }

    fn write_batch(&mut self, batch: Batch) {
        if self.filter.wants_batch(batch.id) {
            self.told = self.position;
            let id = self.position.batch_event_id(batch.id);
            self.write_out("batch", &id, &BatchView::from(batch));
        }
    }

    fn write_out(&mut self, name: &str, id: &str, data: &impl Serialize) {
        // Strings, numbers and times of this age always serialize, and on one line.
        let data = serde_json::to_string(data).unwrap_or_default();
        self.out
            .extend(["event: ", name, "\nid: ", id, "\ndata: ", &data, "\n\n"]);
    }

    /// A sign of life; and with it, a place to go on from that is not older than what is kept, however much was passed over.
    fn comment(&mut self) {
        self.comment_at = Instant::now() + COMMENT_EVERY;
        self.out.push_str(":\n");
        if self.told < self.position {
            self.told = self.position;
            self.out.extend(["id: ", &self.position.to_string(), "\n"]);
        }
        self.out.push('\n');
    }
}
