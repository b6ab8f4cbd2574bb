//! Work done in batches: whoever comes while a batch is being done is part of the next one. One commit, or one round trip,
//! then serves everybody who waits, and a lone caller waits for nobody. What is wrong with one of a batch fails alone.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    database::{ErrorKind, error_kind},
    lock,
    telemetry::chain,
};

type Work<I, O> = Box<dyn Fn(Vec<I>) -> BoxFuture<'static, Vec<O>> + Send + Sync>;

/// Collects items and does them in batches. Cheap to clone. Needs no task of its own: the first to come starts one, and it
/// ends when nobody waits any more.
pub struct Batcher<I, O>(Arc<Inner<I, O>>);

struct Inner<I, O> {
    waiting: Mutex<VecDeque<(I, oneshot::Sender<O>)>>,
    turns: Arc<Semaphore>,
    largest: usize,
    /// Shows how many wait.
    queue: Gauge,
    work: Work<I, O>,
}

/// The batch this item was in ended without an answer (a bug made it panic): whether it was done is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch ended without an answer")]
pub struct BatchPanicked;

impl<I, O> fmt::Debug for Batcher<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").finish_non_exhaustive()
    }
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// At most `batches` batches of at most `largest` items at a time. `work` answers every item, in order; `queue` shows how many wait.
    pub fn new<S, F>(queue: Gauge, largest: usize, batches: usize, state: S, work: F) -> Self
    where
        S: Send + Sync + 'static,
        F: for<'a> Fn(&'a S, Vec<I>) -> BoxFuture<'a, Vec<O>> + Send + Sync + 'static,
    {
        let shared = Arc::new((state, work));
        let work = move |items| {
            let shared = Arc::clone(&shared);
            async move {
                let (state, work) = &*shared;
                work(state, items).await
            }
            .boxed()
        };
        Self(Arc::new(Inner {
            waiting: Mutex::default(),
            turns: Arc::new(Semaphore::new(batches)),
            largest,
            queue,
            work: Box::new(work),
        }))
    }

    /// Has one item done. Dropping the future does not undo it: it may be done all the same.
    pub async fn submit(&self, item: I) -> Result<O, BatchPanicked> {
        let (answer, answered) = oneshot::channel();
        self.0.queue.increment(1.0);
        self.0.waiting().push_back((item, answer));
        self.0.start();
        answered.await.map_err(|_| BatchPanicked)
    }
}

impl<I: Send + 'static, O: Send + 'static> Inner<I, O> {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<(I, oneshot::Sender<O>)>> {
        lock(&self.waiting)
    }

    /// Starts a turn if one is free; if none is, those who have it look again before they end.
    fn start(self: &Arc<Self>) {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            tokio::spawn(Arc::clone(self).take_turn(turn));
        }
    }

    async fn take_turn(self: Arc<Self>, turn: OwnedSemaphorePermit) {
        loop {
            // Lets those who are about to submit join this batch.
            tokio::task::yield_now().await;
            let (items, answers) = self.next_batch();
            if items.is_empty() {
                break;
            }
            // A task of its own, so that a panic costs one batch and not everybody who waits behind it.
            if let Ok(done) = tokio::spawn((self.work)(items)).await {
                for (answer, done) in answers.into_iter().zip(done) {
                    // Nobody listens any more when the caller gave up.
                    let _ = answer.send(done);
                }
            }
        }
        drop(turn);
        // Somebody may have come between the last look and the end of the turn.
        if !self.waiting().is_empty() {
            self.start();
        }
    }

    fn next_batch(&self) -> (Vec<I>, Vec<oneshot::Sender<O>>) {
        let mut waiting = self.waiting();
        let size = waiting.len().min(self.largest);
        self.queue.decrement(counted(size));
        waiting.drain(..size).unzip()
    }
}

/// An error that may be one item's alone.
pub trait MaybeOfOne: std::error::Error + Clone {
    /// Whether data is at fault, so that the rest may well succeed without whoever's it is.
    fn is_of_data(&self) -> bool;
}

impl MaybeOfOne for Arc<sqlx::Error> {
    fn is_of_data(&self) -> bool {
        error_kind(self) == ErrorKind::Data
    }
}

/// Works on items together; where their data makes that fail, on each half by itself, and so on, until what is bad fails alone.
/// The parts in which it was done, in order, and what each came to.
pub async fn isolate<'a, I, T, E, Fut>(
    items: &'a [I],
    work: impl Fn(&'a [I]) -> Fut,
) -> Vec<(&'a [I], Result<T, E>)>
where
    E: MaybeOfOne,
    Fut: Future<Output = Result<T, E>>,
{
    let mut done = Vec::with_capacity(1);
    let mut left = vec![items];
    while let Some(part) = left.pop() {
        if part.is_empty() {
            continue;
        }
        match work(part).await {
            Err(error) if error.is_of_data() && part.len() > 1 => {
                tracing::warn!(
                    items = part.len(),
                    error = chain(&error),
                    "a batch failed on its data; each half by itself now"
                );
                let (first, second) = part.split_at(part.len() / 2);
                left.extend([second, first]);
            }
            result => done.push((part, result)),
        }
    }
    done
}

/// [`isolate`] for work that has an output for each item, in order.
pub async fn isolate_each<'a, I, T, E, Fut>(
    items: &'a [I],
    work: impl Fn(&'a [I]) -> Fut,
) -> Vec<Result<T, E>>
where
    E: MaybeOfOne,
    Fut: Future<Output = Result<Vec<T>, E>>,
{
    let mut each = Vec::with_capacity(items.len());
    for (part, result) in isolate(items, work).await {
        match result {
            Ok(outputs) => each.extend(outputs.into_iter().map(Ok)),
            Err(error) => each.extend(part.iter().map(|_| Err(error.clone()))),
        }
    }
    each
}

#[expect(
    clippy::cast_precision_loss,
    reason = "gauges are floats; queues this long do not occur"
)]
fn counted(items: usize) -> f64 {
    items as f64
}

#[cfg(test)]
mod tests {
    //! Without a database.

    use std::{
        future::{Ready, ready},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::future::join_all;

    use super::*;

    fn doubling(batches: &Arc<AtomicUsize>) -> Batcher<u32, u32> {
        Batcher::new(Gauge::noop(), 100, 1, Arc::clone(batches), |batches, items| {
            batches.fetch_add(1, Ordering::SeqCst);
            let doubled = |item: u32| item.checked_mul(2).expect("small");
            async move { items.into_iter().map(doubled).collect() }.boxed()
        })
    }

    /// Fails together with whatever it is done with.
    const BAD: usize = 700;

    fn add_up(calls: &AtomicUsize, items: &[usize]) -> Ready<Result<Vec<usize>, Arc<sqlx::Error>>> {
        calls.fetch_add(1, Ordering::SeqCst);
        if items.contains(&BAD) {
            return ready(Err(Arc::new(sqlx::Error::Encode("bad".into()))));
        }
        ready(Ok(items.iter().map(|item| item + 1).collect()))
    }

    #[tokio::test]
    async fn what_is_bad_fails_alone_and_all_others_are_done() {
        let (items, calls): (Vec<usize>, _) = ((0..1_000).collect(), AtomicUsize::new(0));
        let each = isolate_each(&items, |part| add_up(&calls, part)).await;
        assert_eq!(each.len(), items.len());
        for (item, result) in items.iter().zip(&each) {
            assert_eq!(result.as_ref().ok().copied(), (*item != BAD).then_some(item + 1));
        }
        assert!(calls.into_inner() < 25, "a search by halves");
    }

    #[tokio::test]
    async fn what_is_nobodys_fault_is_not_tried_again() {
        let calls = AtomicUsize::new(0);
        let away = |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            ready(Err::<Vec<usize>, _>(Arc::new(sqlx::Error::PoolTimedOut)))
        };
        let each = isolate_each(&[1, 2, 3], away).await;
        assert_eq!(each.iter().filter(|result| result.is_err()).count(), 3);
        assert_eq!(calls.into_inner(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everybody_gets_their_own_answer_in_few_batches() {
        let count = Arc::new(AtomicUsize::new(0));
        let batcher = doubling(&count);
        let answers = join_all((0..1_000).map(|item| batcher.submit(item))).await;
        assert!(
            answers
                .iter()
                .zip(0..)
                .all(|(answer, item)| *answer == Ok(item * 2))
        );
        assert!(
            (10..100).contains(&count.load(Ordering::SeqCst)),
            "1,000 items in batches of at most 100"
        );
    }

    #[tokio::test]
    async fn panic_costs_one_batch_only() {
        let batcher = doubling(&Arc::default());
        assert_eq!(batcher.submit(u32::MAX).await, Err(BatchPanicked));
        assert_eq!(batcher.submit(4).await, Ok(8));
    }
}
