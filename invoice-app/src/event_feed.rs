//! The feed of changes: one reader in each process, while anybody listens, and any number of listeners that it serves. What a
//! listener has missed it reads for itself.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, broadcast},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    event::{Event, Position},
    payment::Batch,
    store::{Store, changes::PAGE},
};

/// Looks for changes this often, since most are told by nobody and events get lost.
const POLL: Duration = Duration::from_millis(100);
/// And no more often than this, however many come: changes are cheaper by the dozen.
const BREATH: Duration = Duration::from_millis(20);
/// A batch is told at most four times a second.
const BATCHES_EVERY: Duration = Duration::from_millis(250);
/// After the database failed.
const RETRY: Duration = Duration::from_secs(1);
/// Pages that a slow listener may be behind, before it reads for itself: bounds what is kept in memory for it.
const PAGES: usize = 32;
/// Listeners that read for themselves at once: a few connections, even when hundreds come back together.
const READS: usize = 3;

/// What came after one place, up to another.
#[derive(Debug)]
pub struct FeedPage {
    /// After this place.
    pub from: Position,
    /// Up to this one.
    pub upto: Position,
    /// Every change between, in order.
    pub events: Vec<Event>,
    /// Batches with changes since they were told last, as they stand.
    pub batches: Vec<Batch>,
}

/// Where listeners hear of changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    pages: broadcast::Sender<Arc<FeedPage>>,
    wake: Arc<Notify>,
    reads: Arc<Semaphore>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            pages: broadcast::Sender::new(PAGES),
            wake: Arc::default(),
            reads: Arc::new(Semaphore::new(READS)),
        }
    }
}

impl Feed {
    /// Starts to listen. What comes before the first page has to be read; no page follows on what is read before this call.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<FeedPage>> {
        let pages = self.pages.subscribe();
        self.wake.notify_one();
        pages
    }

    pub fn wake(&self) {
        if self.is_heard() {
            self.wake.notify_one();
        }
    }

    /// A listener's turn to read for itself.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.reads.acquire().await.ok()
    }

    pub fn listeners(&self) -> usize {
        self.pages.receiver_count()
    }

    fn is_heard(&self) -> bool {
        self.listeners() > 0
    }

    /// Reads what changes and tells it, until `stop`; only while anybody listens.
    pub async fn run(self, store: Store, stop: CancellationToken) {
        let reading = async {
            loop {
                while !self.is_heard() {
                    self.wake.notified().await;
                }
                if let Err(error) = self.follow(&store).await {
                    warn!(error = %service::telemetry::chain(&error), "could not read what changed; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        stop.run_until_cancelled(reading).await;
    }

    /// From the present on, while anybody listens and the history goes on.
    async fn follow(&self, store: &Store) -> Result<(), sqlx::Error> {
        let mut position = store.present().await?;
        // Whoever listens and is not as far has missed something, or waits for the first page.
        self.tell(position, position, Vec::new(), Vec::new());
        let mut touched = BTreeSet::new();
        let mut told_batches = None::<Instant>;
        while self.is_heard() {
            // A history that ended: whoever listens reads for itself next, and finds that out.
            let Some(events) = store.changes_after(position).await? else {
                return Ok(());
            };
            let is_last = events.len() < PAGE;
            if let Some(last) = events.last() {
                let upto = last.position;
                touched.extend(events.iter().filter_map(|event| event.batch_id));
                self.tell(position, upto, events, Vec::new());
                position = upto;
            }
            if !touched.is_empty() && told_batches.is_none_or(|told| told.elapsed() >= BATCHES_EVERY) {
                let batches = store.batches(std::mem::take(&mut touched)).await?;
                self.tell(position, position, Vec::new(), batches);
                told_batches = Some(Instant::now());
            }
            if is_last {
                tokio::time::sleep(BREATH).await;
                let _ = tokio::time::timeout(POLL, self.wake.notified()).await;
            }
        }
        Ok(())
    }

    fn tell(&self, from: Position, upto: Position, events: Vec<Event>, batches: Vec<Batch>) {
        // An error: the last listener has just gone.
        let _ = self.pages.send(Arc::new(FeedPage {
            from,
            upto,
            events,
            batches,
        }));
    }
}
