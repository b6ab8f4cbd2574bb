//! Leases: who may call the bank for a row, until when. By the database's clock, so that replicas' clocks do not matter.

use service::database::{SHORT, retry_conflicts};
use uuid::Uuid;

use super::{Error, Store};

impl Store {
    /// Takes the leases of those rows that are open and that nobody has leased; returns those it got. Of a row that waits for an
    /// operator only if it is asked for by one.
    pub async fn take_leases(
        &self,
        payment_ids: &[Uuid],
        token: Uuid,
        by_operator: bool,
    ) -> Result<Vec<Uuid>, Error> {
        let free = retry_conflicts(SHORT, || async {
            sqlx::query_scalar!(
                "update ledger
                 set lease_token = $2, lease_until = clock_timestamp() + make_interval(secs => $3),
                     updated_at = clock_timestamp()
                 from (select payment_id from ledger
                       where payment_id = any($1) and settled_at is null
                         and coalesce(lease_until, '-infinity') < clock_timestamp()
                         and ($4 or held_reason is null or released_at is not null)
                       order by payment_id
                       for update) as free
                 where ledger.payment_id = free.payment_id
                 returning ledger.payment_id",
                payment_ids,
                token,
                self.lease.as_secs_f64(),
                by_operator,
            )
            .fetch_all(&self.database)
            .await
        })
        .await?;
        Ok(free)
    }

    /// Prolongs leases that are still their tokens'; returns the payments of those that were.
    pub async fn renew_leases(&self, payment_ids: &[Uuid], tokens: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        let renewed = retry_conflicts(SHORT, || async {
            sqlx::query_scalar!(
                "update ledger
                 set lease_until = clock_timestamp() + make_interval(secs => $3), updated_at = clock_timestamp()
                 from (select payment_id from ledger
                       join unnest($1::uuid[], $2::uuid[]) as mine (payment_id, token) using (payment_id)
                       where settled_at is null and lease_token = mine.token
                       order by payment_id
                       for update of ledger) as held
                 where ledger.payment_id = held.payment_id
                 returning ledger.payment_id",
                payment_ids,
                tokens,
                self.lease.as_secs_f64(),
            )
            .fetch_all(&self.database)
            .await
        })
        .await?;
        Ok(renewed)
    }

    /// Gives leases back, where they are still their tokens', so that the next delivery need not wait for their end, and
    /// adds `tries` (0 or 1 each) to what the rows count.
    pub async fn release_leases(&self, ids: &[Uuid], tokens: &[Uuid], tries: &[i32]) -> Result<(), Error> {
        retry_conflicts(SHORT, || async {
            sqlx::query!(
                "update ledger
                 set lease_token = null, lease_until = clock_timestamp(), tries = ledger.tries + held.tried,
                     updated_at = clock_timestamp()
                 from (select payment_id, mine.tried from ledger
                       join unnest($1::uuid[], $2::uuid[], $3::int[]) as mine (payment_id, token, tried) using (payment_id)
                       where settled_at is null and lease_token = mine.token
                       order by payment_id
                       for update of ledger) as held
                 where ledger.payment_id = held.payment_id",
                ids,
                tokens,
                tries,
            )
            .execute(&self.database)
            .await
        })
        .await?;
        Ok(())
    }
}
