//! Banks: the two calls every bank answers, and the guard that bounds each call in time and all of them in number.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

pub use self::breaker::Away;
use self::breaker::Breaker;
use crate::{
    metrics,
    order::{Answer, CallError, IdempotencyKey, Order},
};

mod breaker;
pub mod credentials;
pub mod http;
pub mod simulated;

impl From<Away> for CallError {
    fn from(away: Away) -> Self {
        Self::Retryable(away.to_string())
    }
}

pub trait Gateway: Send + Sync + 'static {
    /// Pays. The same key pays at most once, and answers alike every time.
    fn pay<'a>(&'a self, key: IdempotencyKey, order: &'a Order) -> BoxFuture<'a, Result<Answer, CallError>>;

    /// Looks a payment up by its key. `None`: the bank has never seen the key, or has forgotten it.
    fn find(&self, key: IdempotencyKey) -> BoxFuture<'_, Result<Option<Answer>, CallError>>;
}

/// A bank behind its limits: no call lasts longer, and no more run at a time, than configured. Cheap to clone.
#[derive(Clone)]
pub struct Bank {
    gateway: Arc<dyn Gateway>,
    permits: Arc<Semaphore>,
    breaker: Arc<Breaker>,
    timeout: Duration,
}

/// The right to one call at a time, so that whoever waited for it can check what time it is before the call.
pub struct Permit<'a> {
    bank: &'a Bank,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Bank {
    pub fn new(gateway: Arc<dyn Gateway>, timeout: Duration, max_concurrent: usize) -> Self {
        Self {
            gateway,
            permits: Arc::new(Semaphore::new(max_concurrent)),
            breaker: Arc::default(),
            timeout,
        }
    }

    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether a permit could be had now, but for those who wait for one.
    pub fn is_there(&self) -> Result<(), Away> {
        self.breaker.look()
    }

    /// Waits for a permit. While the bank is away there is none, nor any wait.
    pub async fn acquire(&self) -> Result<Permit<'_>, Away> {
        self.is_there()?;
        let slot = if let Ok(slot) = Arc::clone(&self.permits).try_acquire_owned() {
            Some(slot)
        } else {
            let came = Instant::now();
            let slot = Arc::clone(&self.permits).acquire_owned().await;
            metrics::TURN_SECONDS.record(came.elapsed());
            // Nobody closes it.
            slot.ok()
        };
        self.breaker.pass()?;
        Ok(Permit {
            bank: self,
            _slot: slot,
        })
    }

    async fn bounded<T>(
        &self,
        call: &'static str,
        answer: BoxFuture<'_, Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let started = Instant::now();
        let answer = timeout(self.timeout, answer).await.unwrap_or_else(|_| {
            Err(CallError::Unknown(format!(
                "no answer within {} ms",
                self.timeout.as_millis()
            )))
        });
        let result = match &answer {
            Ok(_) => "answered",
            Err(CallError::Retryable(_)) => "retryable",
            Err(CallError::Unknown(_) | CallError::Undocumented(_)) => "unknown",
            Err(CallError::Busy { .. }) => "busy",
        };
        metrics::gateway_call(call, result, started.elapsed());
        match &answer {
            Ok(_) | Err(CallError::Undocumented(_)) => self.breaker.answered(started),
            Err(CallError::Busy { pause, .. }) => self.breaker.unanswered(started, Some(*pause)),
            Err(CallError::Retryable(_) | CallError::Unknown(_)) => self.breaker.unanswered(started, None),
        }
        answer
    }
}

impl Permit<'_> {
    /// [`Gateway::pay`], within the timeout; one that is over is an unknown result.
    pub async fn pay(&self, key: IdempotencyKey, order: &Order) -> Result<Answer, CallError> {
        self.bank.bounded("pay", self.bank.gateway.pay(key, order)).await
    }

    /// [`Gateway::find`], within the timeout.
    pub async fn find(&self, key: IdempotencyKey) -> Result<Option<Answer>, CallError> {
        self.bank.bounded("find", self.bank.gateway.find(key)).await
    }
}
