//! When NATS made the stream and the durables it keeps for us: how we notice that it has forgotten.

use service::fail_point;
use time::OffsetDateTime;

use super::{Store, outbox::make_due};

/// What comparing creation times came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incarnation {
    /// All as last seen.
    Same,
    /// Something is seen for the first time ever. What was sent before it was there may have gone nowhere: this many
    /// payments are due again.
    FirstSeen(u64),
    /// NATS has forgotten, and we were the first to write that down: this many payments are due again.
    Forgot(u64),
}

impl Store {
    /// Compares creation times with those last seen. Whoever changes one makes everything requested due, in the same
    /// transaction: so it happens once, whoever else looks.
    pub async fn compare_incarnation(
        &self,
        seen: &[(String, OffsetDateTime)],
    ) -> Result<Incarnation, sqlx::Error> {
        let (names, times): (Vec<String>, Vec<OffsetDateTime>) = seen.iter().cloned().unzip();
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
        let incarnation = if first + changed == 0 {
            Incarnation::Same
        } else {
            let due = make_due!(
                "select id from payments where status = 'requested' order by id",
                ""
            )
            .execute(&mut *tx)
            .await?;
            match changed {
                0 => Incarnation::FirstSeen(due.rows_affected()),
                _ => Incarnation::Forgot(due.rows_affected()),
            }
        };
        fail_point!(ForgottenCommitting);
        tx.commit().await?;
        fail_point!(ForgottenCommitted);
        Ok(incarnation)
    }
}
