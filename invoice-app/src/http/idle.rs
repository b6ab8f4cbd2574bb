//! Connections nobody is asking anything over just now. Where there are as many as may be, the one that has been idle for longest
//! gives way to a new one: whoever holds thousands open and says nothing, or never comes to an end of what it says, keeps nobody out.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use service::lock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The idle connections, in the order in which they became idle. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleConnections {
    waiting: Arc<Mutex<Waiting>>,
    became_idle: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

/// One connection, and its place among the idle.
#[derive(Debug)]
pub(super) struct IdleConnection {
    of: IdleConnections,
    place: Mutex<Option<u64>>,
    /// Told when it has to give way.
    give_way: CancellationToken,
}

/// While this lives, the connection is not idle.
#[derive(Debug)]
pub(super) struct Busy(Arc<IdleConnection>);

impl IdleConnections {
    /// A new connection, which is idle.
    pub(super) fn add(&self) -> Arc<IdleConnection> {
        let connection = Arc::new(IdleConnection {
            of: self.clone(),
            place: Mutex::default(),
            give_way: CancellationToken::new(),
        });
        connection.become_idle();
        connection
    }

    /// Makes the oldest give way, now or as soon as one is idle. Whoever waits for its place stops waiting here once it has it.
    pub(super) async fn make_room(&self) -> Infallible {
        loop {
            let became_idle = self.became_idle.notified();
            let oldest = lock(&self.waiting).by_age.pop_first();
            match oldest {
                Some((_, oldest)) => {
                    oldest.cancel();
                    return std::future::pending().await;
                }
                None => became_idle.await,
            }
        }
    }
}

impl IdleConnection {
    /// Until it has to give way.
    pub(super) async fn gave_way(&self) {
        self.give_way.cancelled().await;
    }

    /// It is asked something.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.leave();
        Busy(Arc::clone(self))
    }

    fn become_idle(&self) {
        let place = {
            let mut waiting = lock(&self.of.waiting);
            waiting.last += 1;
            let place = waiting.last;
            waiting.by_age.insert(place, self.give_way.clone());
            place
        };
        *lock(&self.place) = Some(place);
        self.of.became_idle.notify_one();
    }

    fn leave(&self) {
        let place = lock(&self.place).take();
        if let Some(place) = place {
            lock(&self.of.waiting).by_age.remove(&place);
        }
    }
}

impl Drop for IdleConnection {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.become_idle();
    }
}
