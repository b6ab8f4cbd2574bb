//! Connections that stay out of the pool between two uses. The pool asks every connection that comes back whether it still
//! lives, which is a second round trip for each statement and wakes its backend once more; and it hands them out in turn,
//! so that a lone payment meets five backends with cold caches.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{
    Connection as _, IntoArguments, PgConnection, PgPool, Postgres, pool::PoolConnection, postgres::PgRow,
    query::Map,
};

use super::TRUSTED_IDLE;

/// The most that are kept: more than there are groups at work at a time.
const MOST: usize = 8;
/// Of a smaller pool none are kept: whoever waits for one of the pool's gets none of these.
const SMALL_POOL: u32 = 8;
/// A connection that was taken out of the pool, or was used last, this long ago is not kept any longer.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Lends the connection used last. Cheap to clone. While any is kept, closing the pool waits: drop this first.
#[derive(Clone, Debug)]
pub struct WarmPool {
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
pub struct WarmConnection {
    connection: PoolConnection<Postgres>,
    taken: Instant,
    of: WarmPool,
}

impl WarmPool {
    /// Keeps connections of this pool: up to half of them, and none of a small one.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let size = pool.options().get_max_connections();
        let most = if size < SMALL_POOL {
            0
        } else {
            usize::try_from(size / 2).map_or(MOST, |half| half.min(MOST))
        };
        Self {
            pool,
            idle: Arc::default(),
            most,
        }
    }

    /// The pool.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Runs one statement, committed by itself.
    pub async fn fetch_all<O, F, A>(&self, query: Map<'_, Postgres, F, A>) -> Result<Vec<O>, sqlx::Error>
    where
        O: Send + Unpin,
        F: FnMut(PgRow) -> Result<O, sqlx::Error> + Send,
        A: IntoArguments<Postgres> + Send,
    {
        let mut connection = self.acquire().await?;
        let rows = query.fetch_all(&mut *connection).await?;
        connection.release();
        Ok(rows)
    }

    /// One that is kept, or else one of the pool's. Fails, as that does, within the time to acquire one.
    pub async fn acquire(&self) -> Result<WarmConnection, sqlx::Error> {
        let latest = self.idle().pop();
        if let Some(idle) = latest {
            let mut warm = WarmConnection {
                connection: idle.connection,
                taken: idle.taken,
                of: self.clone(),
            };
            if idle.used.elapsed() < TRUSTED_IDLE || warm.lives().await {
                return Ok(warm);
            }
            // Not through the pool, which would ask once more, and without a limit. The others have been idle for longer.
            warm.connection.close_on_drop();
            self.close_idle(Duration::ZERO);
        }
        Ok(WarmConnection {
            connection: self.pool.acquire().await?,
            taken: Instant::now(),
            of: self.clone(),
        })
    }

    /// Ends those that were used last this long ago.
    fn close_idle(&self, age: Duration) {
        let old = self
            .idle()
            .extract_if(.., |idle| idle.used.elapsed() >= age)
            .collect::<Vec<_>>();
        for mut idle in old {
            idle.connection.close_on_drop();
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WarmConnection {
    /// Keeps it for the next use: for when all went well, and nothing was left open.
    pub fn release(self) {
        self.of.close_idle(KEPT_FOR);
        let mut idle = self.of.idle();
        if idle.len() < self.of.most && self.taken.elapsed() < KEPT_FOR && !self.of.pool.is_closed() {
            idle.push(Idle {
                connection: self.connection,
                taken: self.taken,
                used: Instant::now(),
            });
        }
    }

    async fn lives(&mut self) -> bool {
        let limit = self.of.pool.options().get_acquire_timeout();
        matches!(
            tokio::time::timeout(limit, self.connection.ping()).await,
            Ok(Ok(()))
        )
    }
}

impl Deref for WarmConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for WarmConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
