//! What invoices add up to.

use payment_contract::Currency;
use service::database::{SHORT, in_time, plan_for_many_in_tx};
use sqlx::PgConnection;

use super::{Store, corrupt};
use crate::{batch_id::BatchId, invoice::Status, totals::Total};

struct Row {
    currency: String,
    count: i64,
    minor_units: String,
}

impl TryFrom<Row> for Total {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            currency: Currency::try_new(&row.currency).map_err(|error| corrupt("currency", error))?,
            count: row.count,
            minor_units: row.minor_units.parse().map_err(|error| corrupt("sum", error))?,
        })
    }
}

impl Store {
    /// The totals of all invoices, or of those of a status and a currency; by currency code.
    pub async fn totals(
        &self,
        status: Option<Status>,
        currency: Option<Currency>,
    ) -> Result<Vec<Total>, sqlx::Error> {
        let adding = async {
            let _place = self.list_place().await?;
            let mut tx = self.begin().await?;
            // Of most it reads all.
            plan_for_many_in_tx(&mut tx).await?;
            let rows = sqlx::query_as!(
                Row,
                r#"select currency, count(*) as "count!", sum(amount_minor)::text as "minor_units!" from invoices
                   where ($1::text is null or status = $1) and ($2::text is null or currency = $2)
                     and ($1 is distinct from 'unpaid' or id in (select invoice_id from unpaid_invoices))
                   group by currency order by currency"#,
                status.map(Status::as_str),
                currency.map(Currency::code)
            )
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            rows.into_iter().map(Total::try_from).collect()
        };
        in_time(SHORT, adding).await
    }
}

/// What a call that is about to commit pays.
pub async fn totals_of_batch_in_tx(
    connection: &mut PgConnection,
    batch: BatchId,
) -> Result<Vec<Total>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select i.currency, count(*) as "count!", sum(i.amount_minor)::text as "minor_units!"
           from payments p join invoices i on i.id = p.invoice_id where p.batch_id = $1
           group by i.currency order by i.currency"#,
        batch.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Total::try_from).collect()
}
