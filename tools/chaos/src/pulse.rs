//! Whether processes get their turn. On a busy machine one may wait for it for as long as if it had been stopped, between its
//! last look at the clock and its call to the bank too.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::world::World;
use acceptance::Result;

/// Between two looks at a process.
const EVERY: Duration = Duration::from_millis(100);
/// An answer that does nothing takes a few milliseconds. A process that takes so much longer was late for everything else too.
const LATE: Duration = Duration::from_millis(250);
/// A frozen process does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// When a payment-provider, the bank, or the proxies between them, were late.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    late: Mutex<Vec<(SystemTime, SystemTime)>>,
}

impl Pulse {
    /// Looks until dropped.
    pub(super) async fn watch(&self, world: &World) -> Result<()> {
        let providers = world
            .providers()
            .map(|node| format!("{}/livez", node.service.admin_url()));
        let urls: Vec<String> = providers.chain([world.bank.faults_url()]).collect();
        let looking = urls.iter().map(|url| self.watch_one(url));
        tokio::try_join!(try_join_all(looking), self.watch_self())?;
        Ok(())
    }

    async fn watch_one(&self, url: &str) -> Result<()> {
        let http = local_stack::http_client(PATIENCE)?;
        loop {
            let (since, began) = (SystemTime::now(), Instant::now());
            // One that has been killed refuses at once.
            let _ = http.get(url).send().await;
            if began.elapsed() > LATE {
                self.note(since);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// The proxies run in this process.
    async fn watch_self(&self) -> Result<()> {
        loop {
            let (since, began) = (SystemTime::now(), Instant::now());
            tokio::time::sleep(EVERY).await;
            if began.elapsed() > EVERY + LATE {
                self.note(since);
            }
        }
    }

    fn note(&self, since: SystemTime) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.push((since, SystemTime::now()));
    }

    /// From when to when.
    pub(super) fn late(&self) -> Vec<(SystemTime, SystemTime)> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
