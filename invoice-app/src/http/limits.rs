//! How much is handled at once, and for how long.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use service::lock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Api, Error};
use crate::metrics;

/// A request's place among those in flight. A call that waits gives it up for one among the waiting.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Slot {
    /// Changes over to waiting; false when too many wait already.
    pub fn wait(&self, waiting: &Arc<Semaphore>) -> bool {
        let Ok(permit) = Arc::clone(waiting).try_acquire_owned() else {
            return false;
        };
        *lock(&self.0) = Some(permit);
        true
    }
}

/// How long a request waits for its turn: a burst is worked off rather than refused.
const TURN: Duration = Duration::from_secs(1);

/// Handles a bounded number of requests at once. Others wait a moment, and are then told to come back.
pub async fn in_flight(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let Some(permit) = turn(&api.in_flight).await else {
        return Error::TooManyRequests.into_response();
    };
    let slot = Slot(Arc::new(Mutex::new(Some(permit))));
    request.extensions_mut().insert(slot.clone());
    let response = next.run(request).await;
    drop(slot);
    response
}

/// One of the permits, unless none is free in time.
async fn turn(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        return Some(permit);
    }
    let came = Instant::now();
    let permit = tokio::time::timeout(TURN, Arc::clone(permits).acquire_owned()).await;
    metrics::TURN_SECONDS.record(came.elapsed());
    permit.ok()?.ok()
}

/// Answers 503 until the database's schema is there.
pub async fn when_open(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if api.open.is_cancelled() {
        next.run(request).await
    } else {
        Error::Starting.into_response()
    }
}

/// Gives a request up after `limit`.
pub async fn within(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| Error::TimedOut.into_response())
}
