//! Statements about invoices: create, get, list, void.

use payment_contract::{Currency, InvoiceId, Money};
use service::{
    database::{SHORT, in_time},
    fail_point,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, corrupt};
use crate::{
    invoice::{Invoice, LastPayment, Status},
    payment,
};

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this status.
    pub status: Option<Status>,
    /// Only this currency.
    pub currency: Option<Currency>,
    /// Only this number.
    pub number: Option<String>,
}

/// What became of an attempt to void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voided {
    /// It is void now, or was already.
    Void(Invoice),
    /// It is pending or paid.
    Refused(Status),
    /// No such invoice.
    Unknown,
}

struct Row {
    id: Uuid,
    number: String,
    amount_minor: i64,
    currency: String,
    status: Status,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    paid_at: Option<OffsetDateTime>,
    payment_id: Option<Uuid>,
    payment_status: Option<payment::Status>,
    payment_reason: Option<String>,
}

impl TryFrom<Row> for Invoice {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let amount = Currency::try_new(&row.currency)
            .and_then(|currency| Money::try_from_minor_units(row.amount_minor, currency))
            .map_err(|error| corrupt("amount", error))?;
        let last_payment = row
            .payment_id
            .zip(row.payment_status)
            .map(|(id, status)| LastPayment {
                id: id.into(),
                status,
                reason: row.payment_reason,
            });
        Ok(Self {
            id: row.id.into(),
            number: row.number,
            amount,
            status: row.status,
            created_at: row.created_at,
            updated_at: row.updated_at,
            paid_at: row.paid_at,
            last_payment,
        })
    }
}

/// One page of a list. A macro, since each status is found in another way: the condition must stand in the text for the
/// planner to see which one serves.
macro_rules! page {
    ($condition:tt, $after:expr, $currency:expr, $limit:expr) => {
        sqlx::query_as!(
            Row,
            r#"select i.id, i.number, i.amount_minor, i.currency, i.status as "status: _",
                      i.created_at, i.updated_at, i.paid_at,
                      p.id as "payment_id?", p.status as "payment_status?: _", p.reason as payment_reason
               from invoices i left join payments p on p.id = i.last_payment_id
               where i.id > $1 and ($2::text is null or i.currency = $2) and "#
                + $condition
                + " order by i.id limit $3",
            $after,
            $currency,
            $limit
        )
    };
}

impl Store {
    /// One invoice.
    pub async fn invoice(&self, id: InvoiceId) -> Result<Option<Invoice>, sqlx::Error> {
        let mut connection = self.database.acquire().await?;
        let invoice = in_time(SHORT, invoice_in(&mut connection, id)).await?;
        connection.release();
        Ok(invoice)
    }

    /// Invoices after `after`, oldest first.
    pub async fn list_invoices(
        &self,
        filter: &Filter,
        after: Option<InvoiceId>,
        limit: i64,
    ) -> Result<Vec<Invoice>, sqlx::Error> {
        let after = after.map_or(Uuid::nil(), InvoiceId::as_uuid);
        let currency = filter.currency.map(Currency::code);
        let rows = match (&filter.number, filter.status) {
            (Some(number), status) => self.by_number(number, status, currency, after, limit).await?,
            (None, None) => {
                page!("true", after, currency, limit)
                    .fetch_all(&self.database)
                    .await?
            }
            (None, Some(Status::Unpaid)) => {
                page!(
                    "i.status = 'unpaid' and i.id in (select invoice_id from unpaid_invoices)",
                    after,
                    currency,
                    limit
                )
                    .fetch_all(&self.database)
                    .await?
            }
            (None, Some(Status::Pending)) => {
                page!(
                    "i.status = 'pending' and i.id in (select invoice_id from payments where status = 'requested')",
                    after,
                    currency,
                    limit
                )
                    .fetch_all(&self.database)
                    .await?
            }
            (None, Some(Status::Paid)) => {
                page!("i.status = 'paid'", after, currency, limit)
                    .fetch_all(&self.database)
                    .await?
            }
            (None, Some(Status::Void)) => {
                page!("i.voided_at is not null", after, currency, limit)
                    .fetch_all(&self.database)
                    .await?
            }
        };
        rows.into_iter().map(Invoice::try_from).collect()
    }

    /// At most one: numbers are unique.
    async fn by_number(
        &self,
        number: &str,
        status: Option<Status>,
        currency: Option<&str>,
        after: Uuid,
        limit: i64,
    ) -> Result<Vec<Row>, sqlx::Error> {
        sqlx::query_as!(
            Row,
            r#"select i.id, i.number, i.amount_minor, i.currency, i.status as "status: _",
                      i.created_at, i.updated_at, i.paid_at,
                      p.id as "payment_id?", p.status as "payment_status?: _", p.reason as payment_reason
               from invoices i left join payments p on p.id = i.last_payment_id
               where i.number = $1 and i.id > $2 and ($3::text is null or i.currency = $3)
                 and ($4::text is null or i.status = $4)
               limit $5"#,
            number,
            after,
            currency,
            status.map(Status::as_str),
            limit
        )
        .fetch_all(&self.database)
        .await
    }

    /// Makes an unpaid invoice void.
    pub async fn void_invoice(&self, id: InvoiceId, voided_by: Option<&str>) -> Result<Voided, sqlx::Error> {
        let mut connection = self.database.acquire().await?;
        fail_point!(InvoiceVoiding);
        let voided = sqlx::query_scalar!(
            // The list of the unpaid first, like everybody: two that wait for each other in turn would never end.
            "with unlisted as (
                 delete from unpaid_invoices where invoice_id = $1 returning invoice_id
             ), voided as (
                 update invoices
                 set status = 'void', voided_by = $2, voided_at = clock_timestamp(), updated_at = clock_timestamp()
                 where id = $1 and status = 'unpaid' and (select count(*) from unlisted) >= 0
                 returning id, updated_at
             ), changed as (
                 insert into invoice_changes (kind, at, ids) select 'voided', updated_at, array[id] from voided
             )
             select id from voided",
            id.as_uuid(),
            voided_by
        )
        .fetch_optional(&mut *connection)
        .await?;
        fail_point!(InvoiceVoided);
        Ok(match invoice_in(&mut connection, id).await? {
            None => Voided::Unknown,
            Some(invoice) if voided.is_some() || invoice.status == Status::Void => Voided::Void(invoice),
            Some(invoice) => Voided::Refused(invoice.status),
        })
    }
}

/// One invoice, on this connection.
pub async fn invoice_in(
    connection: &mut PgConnection,
    id: InvoiceId,
) -> Result<Option<Invoice>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select i.id, i.number, i.amount_minor, i.currency, i.status as "status: _",
                  i.created_at, i.updated_at, i.paid_at,
                  p.id as "payment_id?", p.status as "payment_status?: _", p.reason as payment_reason
           from invoices i left join payments p on p.id = i.last_payment_id
           where i.id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?
    .map(Invoice::try_from)
    .transpose()
}

/// Creates an invoice under this number. `None` when the number is taken. Does not commit.
pub async fn create_in_tx(
    connection: &mut PgConnection,
    id: InvoiceId,
    number: &str,
    amount: Money,
    created_by: Option<&str>,
) -> Result<Option<Invoice>, sqlx::Error> {
    let created_at = sqlx::query_scalar!(
        "with created as (
             insert into invoices (id, number, amount_minor, currency, created_by, created_at, updated_at)
             values ($1, $2, $3, $4, $5, now(), now()) on conflict (number) do nothing returning id, created_at
         ), changed as (
             insert into invoice_changes (kind, at, ids) select 'created', created_at, array[id] from created
         )
         select created_at from created",
        id.as_uuid(),
        number,
        amount.minor_units(),
        amount.currency().code(),
        created_by
    )
    .fetch_optional(connection)
    .await?;
    Ok(created_at.map(|created_at| Invoice {
        id,
        number: number.to_owned(),
        amount,
        status: Status::Unpaid,
        created_at,
        updated_at: created_at,
        paid_at: None,
        last_payment: None,
    }))
}
