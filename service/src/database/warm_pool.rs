//! Connections that stay out of the pool between two uses. The pool asks every connection that comes back whether it still
//! lives, which is a second round trip for each statement and wakes its backend once more; and it hands them out in turn,
//! so that a lone payment meets five backends with cold caches.

use std::{
    ops::{Deref, DerefMut},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use jetstream::metric_types::Gauge;
use sqlx::{
    Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::sync::Notify;

use super::{
    check::can_write,
    limits::{SHORT, in_time},
    session::TRUSTED_IDLE,
};
use crate::lock;

/// The most that are kept: more than there are batches at work at a time.
const MOST: usize = 8;
/// Of a smaller pool none are kept: whoever waits for one of the pool's gets none of these.
const SMALL_POOL: u32 = 8;
/// A connection that was taken out of the pool, or was used last, this long ago is not kept any longer.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Gives out the connection used last. Cheap to clone. While any is kept, closing the pool waits: drop this first.
#[derive(Clone, Debug)]
pub struct WarmPool {
    pool: PgPool,
    idle: Arc<Mutex<Vec<Idle>>>,
    /// One more is idle.
    released: Arc<Notify>,
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

/// A connection in use. Dropped without [`release`](Self::release), it goes back to the pool, which finds out what has become
/// of it; and since that may have become of the whole server, the others are not kept either.
#[derive(Debug)]
pub struct WarmConnection {
    /// Until it is released.
    connection: Option<PoolConnection<Postgres>>,
    taken: Instant,
    of: WarmPool,
}

impl WarmPool {
    /// Keeps connections of this pool: up to half of them, and none of a small one.
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
            released: Arc::default(),
            most,
        }
    }

    /// The pool.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Shows how many connections there are now, by state: idle, used.
    #[expect(
        clippy::cast_precision_loss,
        reason = "gauges are floats; pools this large do not occur"
    )]
    pub fn show_connections(&self, gauge: Gauge) {
        // One that is kept counts as used for the pool.
        let idle = self.pool.num_idle() + self.idle().len();
        let all = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        for (state, connections) in [("idle", idle), ("used", all.saturating_sub(idle))] {
            metrics::gauge!(gauge, "state" => state).set(connections as f64);
        }
    }

    /// One that is kept, or else one of the pool's. Fails, as that does, within the time to acquire one.
    pub async fn acquire(&self) -> Result<WarmConnection, sqlx::Error> {
        let latest = self.idle().pop();
        if let Some(idle) = latest {
            let mut connection = idle.connection;
            if idle.used.elapsed() < TRUSTED_IDLE || matches!(can_write(&mut connection).await, Ok(true)) {
                return Ok(self.in_use(connection, idle.taken));
            }
            // The others have been idle for longer.
            connection.close_on_drop();
            self.close_idle(Duration::ZERO);
        }
        // Boxed, since it is rare and large, and everybody who wraps it would have room for it.
        Box::pin(self.wait()).await
    }

    /// One of the pool's, or one that is kept meanwhile: the pool may have none for long, and never learns of those.
    async fn wait(&self) -> Result<WarmConnection, sqlx::Error> {
        let mut acquiring = pin!(self.pool.acquire());
        loop {
            tokio::select! {
                biased;
                acquired = &mut acquiring => return Ok(self.in_use(acquired?, Instant::now())),
                () = self.released.notified() => {
                    let latest = self.idle().pop();
                    if let Some(idle) = latest {
                        return Ok(self.in_use(idle.connection, idle.taken));
                    }
                }
            }
        }
    }

    fn in_use(&self, connection: PoolConnection<Postgres>, taken: Instant) -> WarmConnection {
        WarmConnection {
            connection: Some(connection),
            taken,
            of: self.clone(),
        }
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
        lock(&self.idle)
    }
}

/// Runs one statement, committed by itself, within [`SHORT`].
impl<'p> Executor<'p> for &'p WarmPool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let fetched = async move {
            let mut connection = self.acquire().await?;
            let fetching = connection.fetch_many(query).try_collect::<Vec<_>>();
            let fetched = in_time(SHORT, fetching).await?;
            connection.release();
            Ok(stream::iter(fetched.into_iter().map(Ok)))
        };
        fetched.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let fetched = async move {
            let mut connection = self.acquire().await?;
            let fetched = in_time(SHORT, connection.fetch_optional(query)).await?;
            connection.release();
            Ok(fetched)
        };
        fetched.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        self.pool.describe(sql)
    }
}

impl WarmConnection {
    /// Keeps it for the next use: for when all went well, and nothing was left open.
    pub fn release(mut self) {
        self.of.close_idle(KEPT_FOR);
        let Some(connection) = self.connection.take() else {
            return;
        };
        let mut idle = self.of.idle();
        if idle.len() < self.of.most && self.taken.elapsed() < KEPT_FOR && !self.of.pool.is_closed() {
            idle.push(Idle {
                connection,
                taken: self.taken,
                used: Instant::now(),
            });
            self.of.released.notify_one();
        }
    }
}

impl Drop for WarmConnection {
    fn drop(&mut self) {
        if self.connection.is_some() {
            self.of.close_idle(Duration::ZERO);
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "it is there until `release`, which takes it whole"
)]
impl Deref for WarmConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("not released")
    }
}

#[expect(
    clippy::expect_used,
    reason = "it is there until `release`, which takes it whole"
)]
impl DerefMut for WarmConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("not released")
    }
}
