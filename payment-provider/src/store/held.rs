//! Payments that are held: how they come to be, beside the switch that holds all new ones, and how an operator releases them.

use service::database::{LONG, in_time};
use uuid::Uuid;

use super::{Error, Intent, Store};
use crate::ledger::{Entry, Held};

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
        held.retain(|intent| taken.contains(&intent.invoice_number));
        for intent in &mut held {
            intent.held = Some(Held::NumberPaid);
        }
        self.insert_intents(&held, Uuid::nil()).await?;
        Ok(())
    }

    /// Lets held payments go on: these, and all that are held for `all` reason. Records who decided so; returns which they
    /// are. Commits.
    pub async fn release_held(
        &self,
        payment_ids: &[Uuid],
        all: Option<Held>,
        reason: &str,
        released_by: Option<&str>,
    ) -> Result<Vec<Uuid>, Error> {
        let released = in_time(LONG, async {
            sqlx::query_scalar!(
                "with released as (
                     update ledger set released_at = clock_timestamp(), updated_at = clock_timestamp()
                     where status = 'started' and held_reason is not null and released_at is null
                       and (payment_id = any($1) or held_reason = $2)
                     returning payment_id)
                 insert into ledger_resolutions (payment_id, status, reason, resolved_by, bank_said)
                 select payment_id, 'released', $3, coalesce($4, session_user::text), 'it was not asked' from released
                 returning payment_id",
                payment_ids,
                all.map(Held::as_str),
                reason,
                released_by,
            )
            .fetch_all(&self.database)
            .await
        })
        .await?;
        Ok(released)
    }
}

fn numbers(intents: &[Intent]) -> Vec<String> {
    intents
        .iter()
        .map(|intent| intent.invoice_number.clone())
        .collect()
}
