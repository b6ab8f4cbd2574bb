//! Connections that stay out of the pool between two uses. The pool asks every connection that comes back whether it still
//! lives, which is a round trip for each statement and wakes a backend once more; and it hands them out in turn, so that a
//! lone payment meets five backends with cold caches.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection, PgPool, Postgres, pool::PoolConnection};

use super::TRUSTED_IDLE;

/// Kept at most, and at most half of the pool: more than there are groups at work at a time.
const MOST: usize = 8;
/// After this long a connection goes through the pool once, which ends those that are too old.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Lends the connection used last. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Kept {
    pool: PgPool,
    idle: Arc<Mutex<Vec<Idle>>>,
    most: usize,
}

#[derive(Debug)]
struct Idle {
    connection: PoolConnection<Postgres>,
    /// When it came out of the pool.
    taken: Instant,
    /// When it was used last.
    used: Instant,
}

/// A connection in use. Dropped, it goes back to the pool, which finds out what has become of it.
#[derive(Debug)]
pub struct Lent {
    connection: PoolConnection<Postgres>,
    taken: Instant,
    of: Kept,
}

impl Kept {
    /// Keeps connections of this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let half = pool.options().get_max_connections() / 2;
        Self {
            pool,
            idle: Arc::default(),
            most: usize::try_from(half).map_or(MOST, |half| half.min(MOST)),
        }
    }

    /// The pool.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// One that is kept, or else one of the pool's.
    pub async fn lend(&self) -> Result<Lent, sqlx::Error> {
        loop {
            let Some(idle) = self.idle().pop() else {
                return Ok(Lent {
                    connection: self.pool.acquire().await?,
                    taken: Instant::now(),
                    of: self.clone(),
                });
            };
            let mut lent = Lent {
                connection: idle.connection,
                taken: idle.taken,
                of: self.clone(),
            };
            if idle.used.elapsed() < TRUSTED_IDLE || lent.connection.ping().await.is_ok() {
                return Ok(lent);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// Keeps it for the next use: for when all went well, and nothing was left open.
    pub fn keep(self) {
        let mut idle = self.of.idle();
        if idle.len() < self.of.most && self.taken.elapsed() < KEPT_FOR {
            idle.push(Idle {
                connection: self.connection,
                taken: self.taken,
                used: Instant::now(),
            });
        }
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
