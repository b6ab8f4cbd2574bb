//! When NATS made the stream and the durables it keeps for us: how we notice that it has forgotten.

use service::fail_point;
use time::OffsetDateTime;

use super::Store;

/// What comparing creation times came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incarnation {
    /// All as last seen.
    Same,
    /// Something is seen for the first time ever. What was sent before it was there may have gone nowhere, and is due again.
    FirstSeen,
    /// NATS has forgotten, and we were the first to write that down: this many payments are due again.
    Forgot(u64),
}

impl Store {
    /// Compares creation times with those last seen. Whoever finds one changed makes everything requested due, in pages, and writes
    /// the change down after that: whoever dies in between leaves it to the next look.
    pub async fn compare_incarnation(
        &self,
        seen: &[(String, OffsetDateTime)],
    ) -> Result<Incarnation, sqlx::Error> {
        let (names, times): (Vec<String>, Vec<OffsetDateTime>) = seen.iter().cloned().unzip();
        let same = sqlx::query_scalar!(
            r#"select not exists (
                   select from unnest($1::text[], $2::timestamptz[]) s (name, created)
                   left join nats_created n using (name)
                   where n.created is distinct from s.created) as "same!""#,
            &names,
            &times
        )
        .fetch_one(&self.database)
        .await?;
        if same {
            return Ok(Incarnation::Same);
        }
        let due = self.release_sent(None).await?;
        let mut tx = self.database.pool().begin().await?;
        let first = sqlx::query!(
            "insert into nats_created (name, created)
             select * from unnest($1::text[], $2::timestamptz[]) o (name, created) order by name
             on conflict do nothing",
            &names,
            &times
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let changed = sqlx::query!(
            "with known as (
                 select name from nats_created where name = any($1) order by name for no key update
             ), seen as (
                 select name, created from unnest($1::text[], $2::timestamptz[]) s (name, created)
             )
             update nats_created n set created = s.created from known k join seen s using (name)
             where n.name = k.name and n.created <> s.created",
            &names,
            &times
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        fail_point!(ForgottenCommitting);
        tx.commit().await?;
        fail_point!(ForgottenCommitted);
        Ok(match (first, changed) {
            // Another replica was faster.
            (0, 0) => Incarnation::Same,
            (_, 0) => Incarnation::FirstSeen,
            _ => Incarnation::Forgot(due),
        })
    }
}
