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
        fail_point!(ForgottenCommitting);
        let written = sqlx::query_scalar!(
            r#"insert into nats_created as n (name, created)
               select * from unnest($1::text[], $2::timestamptz[]) o (name, created) order by name
               on conflict (name) do update set created = excluded.created where n.created <> excluded.created
               returning old.name is null as "first!""#,
            &names,
            &times
        )
        .fetch_all(&self.database)
        .await?;
        fail_point!(ForgottenCommitted);
        Ok(if written.is_empty() {
            // Another replica was faster.
            Incarnation::Same
        } else if written.into_iter().all(|first| first) {
            Incarnation::FirstSeen
        } else {
            Incarnation::Forgot(due)
        })
    }
}
