//! Sends pay requests straight after the commit that made them, grouped by what is ready. Whatever it cannot send becomes
//! due at once, and the sweep sends it: nothing depends on this task but speed.

use std::{collections::VecDeque, time::Duration};

use jetstream::{connection::Connection, publish::Publisher};
use payment_contract::PaymentId;
use service::fail_point;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{
    batch_id::BatchId,
    metrics,
    payment::OutboxRequest,
    store::Store,
    window::{LOOK_AGAIN, Window},
};

/// Calls whose requests wait to be sent, at most; more fall to the sweep.
const QUEUE: usize = 1024;
/// Requests published together, at most.
const GROUP: usize = 1000;
/// What the database is given to recover before a batch is read on.
const AFTER_AN_ERROR: Duration = Duration::from_millis(250);
/// A call that made more payments than this hands over its batch, not its rows.
pub const ROWS_HANDED_OVER: usize = 200;

/// What is to be sent.
#[derive(Debug)]
pub enum Job {
    Requests(Vec<OutboxRequest>),
    /// Every open payment of a batch, read back in pages.
    Batch(BatchId),
}

/// Hands jobs to the sender. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
    store: Store,
}

pub struct Sender {
    store: Store,
    publisher: Publisher,
    window: Window,
    jobs: mpsc::Receiver<Job>,
    batches: VecDeque<Progress>,
    /// No page of a batch is sent or made due before.
    not_before: Instant,
    sweep: std::sync::Arc<Notify>,
}

/// How far a batch has been sent, or made due where it cannot be.
#[derive(Clone, Copy, Debug)]
struct Progress {
    batch: BatchId,
    after: Option<PaymentId>,
    /// A page was not sent: the rest is the sweep's.
    given_up: bool,
}

/// A sender and the way to reach it. `sweep` is woken when rows were left to it.
pub fn channel(store: Store, connection: Connection, sweep: std::sync::Arc<Notify>) -> (Handle, Sender) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    let handle = Handle {
        jobs: sender,
        store: store.clone(),
    };
    (
        handle,
        Sender {
            store,
            publisher: Publisher::new(connection.clone()),
            window: Window::new(connection),
            jobs,
            batches: VecDeque::new(),
            not_before: Instant::now(),
            sweep,
        },
    )
}

impl Handle {
    /// Hands over a job; never waits for the sender. When its queue is full the rows are made due, for the sweep.
    pub async fn hand_over(&self, job: Job) {
        let Err(refused) = self.jobs.try_send(job) else {
            return;
        };
        metrics::OVERFLOW.add(1);
        let released = match refused.into_inner() {
            Job::Requests(requests) => {
                let ids: Vec<PaymentId> = requests.iter().map(|request| request.payment_id).collect();
                self.store.release(&ids).await
            }
            Job::Batch(batch) => self.store.release_batch(batch, None).await,
        };
        if let Err(error) = released {
            // The lease ends by itself.
            warn!(error = %service::telemetry::chain(&error), "could not make unsent requests due; they are sent when their lease ends");
        }
    }
}

impl Sender {
    /// Sends until `stop`, then what was handed over before.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let job = if self.batches.is_empty() {
                let job = tokio::select! {
                    biased;
                    job = self.jobs.recv() => job,
                    () = stop.cancelled() => None,
                };
                if job.is_none() {
                    // Nobody is left to hand over: the calls have ended, and our turn to stop comes.
                    return stop.cancelled().await;
                }
                job
            } else {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {
                        // What single calls handed over is still sent, by the other branch.
                        self.leave_rest().await;
                        continue;
                    }
                    Some(job) = self.jobs.recv() => Some(job),
                    () = tokio::time::sleep_until(self.not_before) => None,
                }
            };
            self.step(job).await;
        }
    }

    /// Sends what small calls have handed over by now, and a page of one large one if the window has room, or makes one due:
    /// neither waits for the other's end.
    pub async fn step(&mut self, first: Option<Job>) {
        let mut group = Vec::new();
        let mut next = first.or_else(|| self.jobs.try_recv().ok());
        while let Some(job) = next.take() {
            match job {
                Job::Requests(requests) => group.extend(requests),
                Job::Batch(batch) => self.batches.push_back(Progress {
                    batch,
                    after: None,
                    given_up: false,
                }),
            }
            if group.len() < GROUP {
                next = self.jobs.try_recv().ok();
            }
        }
        if !group.is_empty() {
            self.send_group(group).await;
        }
        self.next_page().await;
    }

    async fn send_group(&mut self, group: Vec<OutboxRequest>) {
        let ids: Vec<PaymentId> = group.iter().map(|request| request.payment_id).collect();
        if !send(&self.publisher, group).await {
            self.released(self.store.release(&ids).await);
        }
    }

    async fn next_page(&mut self) {
        if Instant::now() < self.not_before {
            return;
        }
        let Some(progress) = self.batches.pop_front() else {
            return;
        };
        let left = if progress.given_up {
            self.release_page(progress).await
        } else {
            match self.window.room().await {
                0 => {
                    self.batches.push_front(progress);
                    self.not_before = Instant::now() + LOOK_AGAIN;
                    return;
                }
                room => self.send_page(progress, room).await,
            }
        };
        match left {
            // To the back: several large calls share the way out.
            Ok(left) => self.batches.extend(left),
            Err(error) => {
                let error = service::telemetry::chain(&error);
                warn!(batch.id = %progress.batch, %error, "could not go on with a batch; trying again");
                self.batches.push_back(progress);
                self.not_before = Instant::now() + AFTER_AN_ERROR;
            }
        }
    }

    /// Sends the next page; what is left to be done.
    async fn send_page(&self, progress: Progress, size: usize) -> Result<Option<Progress>, sqlx::Error> {
        let limit = i64::try_from(size).unwrap_or(i64::MAX);
        let page = self
            .store
            .batch_page(progress.batch, progress.after, limit)
            .await?;
        fail_point!(BatchPageRead);
        let Some(last) = page.last().map(|request| request.payment_id) else {
            return Ok(None);
        };
        let whole = page.len() == size;
        if !send(&self.publisher, page).await {
            return Ok(Some(Progress {
                given_up: true,
                ..progress
            }));
        }
        let after = Some(last);
        Ok(whole.then_some(Progress { after, ..progress }))
    }

    /// Makes the next page due; what is left to be done.
    async fn release_page(&self, progress: Progress) -> Result<Option<Progress>, sqlx::Error> {
        let after = self
            .store
            .release_batch_page(progress.batch, progress.after)
            .await?;
        self.sweep.notify_one();
        Ok(after.map(|_| Progress { after, ..progress }))
    }

    /// On stop: what is left of large batches falls to another replica, or to the next start.
    async fn leave_rest(&mut self) {
        for progress in std::mem::take(&mut self.batches) {
            self.released(self.store.release_batch(progress.batch, progress.after).await);
        }
    }

    fn released(&self, released: Result<(), sqlx::Error>) {
        match released {
            Ok(()) => {
                debug!("requests were not sent and are due now");
                self.sweep.notify_one();
            }
            Err(error) => {
                warn!(error = %service::telemetry::chain(&error), "could not make unsent requests due; they are sent when their lease ends");
            }
        }
    }
}

/// Publishes requests; false when they may not have been sent.
pub(crate) async fn send(publisher: &Publisher, requests: Vec<OutboxRequest>) -> bool {
    let count = requests.len();
    let mut messages = Vec::with_capacity(count);
    for request in requests {
        let payment_id = request.payment_id;
        match request.outgoing() {
            Ok(message) => messages.push(message),
            Err(error) => error!(
                payment.id = %payment_id, %error,
                "an invoice has an amount that cannot be sent; correct it in the database"
            ),
        }
    }
    fail_point!(RequestsPublishing);
    match publisher.send(messages).await {
        Ok(()) => {
            fail_point!(RequestsPublished);
            metrics::SENT.add(count as u64);
            true
        }
        Err(error) => {
            debug!(requests = count, error = %service::telemetry::chain(&error), "requests not sent");
            false
        }
    }
}
