//! Payments that are held: how they come to be, beside the switch that holds all new ones, and how an operator releases them.

use service::database::{SHORT, retry_conflicts};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Intent, Store};
use crate::ledger::{Entry, Held};

/// So many are released in one transaction: in far less time than a statement has.
const PAGE: i64 = 2_000;

/// A payment that is held for its invoice number, and another that has the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub payment_id: Uuid,
    pub by: Uuid,
    /// How the other one stands.
    pub status: String,
}

impl Store {
    /// The open rows of earlier attempts at the same invoices.
    pub async fn earlier_attempts(&self, intents: &[Intent]) -> Result<Vec<Entry>, Error> {
        let invoice_ids: Vec<Uuid> = intents.iter().map(|intent| intent.invoice_id.as_uuid()).collect();
        let attempts: Vec<i64> = intents.iter().map(|intent| i64::from(intent.attempt)).collect();
        let ids = sqlx::query_scalar!(
            "select ledger.payment_id from ledger
             join unnest($1::uuid[], $2::text[], $3::bigint[]) as i (invoice_id, number, attempt)
                  on ledger.invoice_number = i.number and ledger.invoice_id = i.invoice_id and ledger.attempt < i.attempt
             where ledger.status = 'started'
               and (ledger.held_reason is null or ledger.held_reason = 'hold_new_payments')",
            &invoice_ids,
            &numbers(intents),
            &attempts,
        )
        .fetch_all(&self.database)
        .await?;
        self.entries(&ids).await
    }

    /// Writes those intents as held whose invoice numbers other payments have. The others' numbers are free by now: their
    /// requests come again soon. Commits.
    pub async fn hold_numbers_paid(&self, intents: &[Intent]) -> Result<(), Error> {
        let taken = sqlx::query_scalar!(
            "select invoice_number from ledger
             where invoice_number = any($1) and status <> 'declined'
               and (held_reason is null or held_reason = 'hold_new_payments')",
            &numbers(intents),
        )
        .fetch_all(&self.database)
        .await?;
        let mut held: Vec<Intent> = intents.to_vec();
        held.retain(|intent| taken.contains(&intent.order.invoice_number));
        for intent in &mut held {
            intent.held = Some(Held::NumberPaid);
        }
        self.insert_intents(&held, Uuid::nil()).await?;
        Ok(())
    }

    /// Other payments with the invoice numbers of those of these that are held for theirs: that succeeded, or are open.
    pub async fn numbers_taken(&self, payment_ids: &[Uuid]) -> Result<Vec<Taken>, Error> {
        let taken = sqlx::query_as!(
            Taken,
            r#"select held.payment_id as "payment_id!", other.payment_id as "by!", other.status as "status!"
               from ledger as held
               cross join lateral (
                   select payment_id, status from ledger
                   where invoice_number = held.invoice_number and status <> 'declined'
                     and (held_reason is null or held_reason = 'hold_new_payments')
                   union all
                   select payment_id, status from ledger
                   where invoice_number = held.invoice_number and status = 'started' and held_reason = 'number_paid') as other
               where held.payment_id = any($1) and held.status = 'started' and held.held_reason = 'number_paid'
                 and held.released_at is null and other.payment_id <> held.payment_id"#,
            payment_ids,
        )
        .fetch_all(&self.database)
        .await?;
        Ok(taken)
    }

    /// Lets these go on, of those that are held, and records who decided so; which they are. One that was held for its invoice
    /// number has that number from now on, unless it is one of the `beside` others. Commits.
    pub async fn release_held(
        &self,
        payment_ids: &[Uuid],
        beside: &[Uuid],
        reason: &str,
        released_by: Option<&str>,
    ) -> Result<Vec<Uuid>, Error> {
        let released = retry_conflicts(SHORT, || async {
            sqlx::query_scalar!(
                "with held as (
                     select payment_id from ledger
                     where payment_id = any($1) and status = 'started' and held_reason is not null and released_at is null
                     order by payment_id
                     for update),
                 released as (
                     update ledger
                     set released_at = clock_timestamp(), updated_at = clock_timestamp(),
                         held_reason = case when held_reason <> 'number_paid' or ledger.payment_id = any($2)
                                            then held_reason end
                     from held where ledger.payment_id = held.payment_id
                     returning ledger.payment_id)
                 insert into ledger_resolutions (payment_id, status, reason, resolved_by, bank_said)
                 select payment_id, 'released', $3, coalesce($4, session_user::text), 'it was not asked' from released
                 returning payment_id",
                payment_ids,
                beside,
                reason,
                released_by,
            )
            .fetch_all(&self.database)
            .await
        })
        .await?;
        Ok(released)
    }

    /// Lets all go on that are held as new ones, page by page, and records who decided so; how many. Tells how many they are after
    /// each page. Each page commits, so that what was released stays so whatever becomes of the rest.
    pub async fn release_new(
        &self,
        reason: &str,
        released_by: Option<&str>,
        mut tell: impl FnMut(usize),
    ) -> Result<usize, Error> {
        let (mut after, mut released) = (OffsetDateTime::UNIX_EPOCH, 0);
        loop {
            let page = sqlx::query!(
                "select payment_id, created_at from ledger
                 where status = 'started' and held_reason = 'hold_new_payments' and released_at is null
                   and created_at >= $1
                 order by created_at limit $2",
                after,
                PAGE,
            )
            .fetch_all(&self.database)
            .await?;
            let ids: Vec<Uuid> = page.iter().map(|row| row.payment_id).collect();
            released += self.release_held(&ids, &[], reason, released_by).await?.len();
            tell(released);
            match page.last() {
                Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => {
                    after = last.created_at;
                }
                _ => return Ok(released),
            }
        }
    }
}

fn numbers(intents: &[Intent]) -> Vec<String> {
    intents
        .iter()
        .map(|intent| intent.order.invoice_number.clone())
        .collect()
}
