//! Statements about invoices: create, get, list, void.

use payment_contract::{Currency, InvoiceId};
use service::{database::unless_held, fail_point};
use sqlx::{Executor, PgConnection, Postgres};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, money};
use crate::{
    invoice::{IfMatch, Invoice, LastPayment, New, Status},
    payment,
};

/// What a list is narrowed to, and how it is sorted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub currency: Option<Currency>,
    pub number: Option<String>,
    pub number_prefix: Option<String>,
    pub created_after: Option<OffsetDateTime>,
    pub created_before: Option<OffsetDateTime>,
    /// Only those whose last payment was declined, or only the others.
    pub declined: Option<bool>,
    /// Which come first.
    pub order: SortOrder,
}

/// By creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    #[default]
    Oldest,
    Newest,
}

impl SortOrder {
    pub fn try_new(word: &str) -> Result<Self, &'static str> {
        match word {
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            _ => Err("must be oldest or newest"),
        }
    }
}

/// What became of an attempt to void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voided {
    /// It is void now, or was already.
    Void(Invoice),
    /// It is pending or paid.
    Refused(Status),
    /// It is not as the caller believed.
    Changed,
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
        let amount = money(row.amount_minor, &row.currency)?;
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

/// Invoices with their last payments, by what follows `where`.
macro_rules! select_invoices {
    ([$($condition:tt)+] $(, $value:expr)+) => {
        sqlx::query_as!(
            Row,
            r#"select i.id, i.number, i.amount_minor, i.currency, i.status as "status: _",
                      i.created_at, i.updated_at, i.paid_at,
                      p.id as "payment_id?", p.status as "payment_status?: _", p.reason as payment_reason
               from invoices i left join payments p on p.id = i.last_payment_id
               where "# $(+ $condition)+
            $(, $value)+
        )
    };
}

/// One page of a list. A macro, since each status is found in another way, and each order goes through an index in another
/// direction: both must stand in the text for the planner to see what serves.
macro_rules! page {
    ($store:expr, $filter:expr, $after:expr, $limit:expr, $condition:tt $(, $more:expr)*) => {
        match $filter.order {
            SortOrder::Oldest => page!(
                @ $store, $filter, $after, $limit, $condition, " and i.id > $1 order by i.id limit $2" $(, $more)*
            ),
            SortOrder::Newest => page!(
                @ $store, $filter, $after, $limit, $condition, " and i.id < $1 order by i.id desc limit $2" $(, $more)*
            ),
        }
    };
    (@ $store:expr, $filter:expr, $after:expr, $limit:expr, $condition:tt, $order:tt $(, $more:expr)*) => {
        select_invoices!(
            [
                "($3::text is null or i.currency = $3)
                 and ($4::text is null or starts_with(i.number, $4))
                 and ($5::timestamptz is null or i.created_at > $5)
                 and ($6::timestamptz is null or i.created_at < $6)
                 and ($7::bool is null or (p.status is not distinct from 'declined') = $7) and "
                $condition
                $order
            ],
            $after,
            $limit,
            $filter.currency.map(Currency::code),
            $filter.number_prefix.as_deref(),
            $filter.created_after,
            $filter.created_before,
            $filter.declined
            $(, $more)*
        )
        .fetch_all(&$store.database)
        .await?
    };
}

impl Store {
    pub async fn invoice(&self, id: InvoiceId) -> Result<Option<Invoice>, sqlx::Error> {
        invoice_in(&self.database, id).await
    }

    /// Invoices after `after`, in the filter's order.
    pub async fn list_invoices(
        &self,
        filter: &Filter,
        after: Option<InvoiceId>,
        limit: i64,
    ) -> Result<Vec<Invoice>, sqlx::Error> {
        let _place = self.list_place().await?;
        let begin = match filter.order {
            SortOrder::Oldest => Uuid::nil(),
            SortOrder::Newest => Uuid::max(),
        };
        let after = after.map_or(begin, InvoiceId::as_uuid);
        let rows = match (&filter.number, filter.status) {
            // At most one: numbers are unique.
            (Some(number), status) => page!(
                self,
                filter,
                after,
                limit,
                "i.number = $8 and ($9::text is null or i.status = $9)",
                number,
                status.map(Status::as_str)
            ),
            (None, None) => page!(self, filter, after, limit, "true"),
            (None, Some(Status::Unpaid)) => page!(
                self,
                filter,
                after,
                limit,
                "i.status = 'unpaid' and i.id in (select invoice_id from unpaid_invoices)"
            ),
            (None, Some(Status::Pending)) => page!(
                self,
                filter,
                after,
                limit,
                "i.status = 'pending' and i.id in (select invoice_id from payments where status = 'requested')"
            ),
            (None, Some(Status::Paid)) => page!(self, filter, after, limit, "i.status = 'paid'"),
            (None, Some(Status::Void)) => page!(self, filter, after, limit, "i.voided_at is not null"),
        };
        rows.into_iter().map(Invoice::try_from).collect()
    }

    /// Makes an unpaid invoice void, if it is as the caller believes. One that somebody else holds is being paid.
    pub async fn void_invoice(
        &self,
        id: InvoiceId,
        voided_by: Option<&str>,
        if_match: Option<&IfMatch>,
    ) -> Result<Voided, sqlx::Error> {
        let voided = unless_held(|| self.void_free_invoice(id, voided_by, if_match)).await?;
        Ok(voided.unwrap_or(Voided::Refused(Status::Pending)))
    }

    async fn void_free_invoice(
        &self,
        id: InvoiceId,
        voided_by: Option<&str>,
        if_match: Option<&IfMatch>,
    ) -> Result<Voided, sqlx::Error> {
        let mut tx = self.begin().await?;
        let version = version_in_tx(&mut tx, id).await?;
        if let (Some(if_match), Some(version)) = (if_match, version)
            && !if_match.is_met(&version)
        {
            tx.rollback().await?;
            return Ok(Voided::Changed);
        }
        let voided = sqlx::query_scalar!(
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
        .fetch_optional(&mut *tx)
        .await?;
        let invoice = invoice_in(&mut *tx, id).await?;
        fail_point!(InvoiceVoiding);
        tx.commit().await?;
        fail_point!(InvoiceVoided);
        Ok(match invoice {
            None => Voided::Unknown,
            Some(invoice) if voided.is_some() || invoice.status == Status::Void => Voided::Void(invoice),
            Some(invoice) => Voided::Refused(invoice.status),
        })
    }
}

/// The invoice's version, its rows locked: nobody changes it before this transaction ends. Fails at once when somebody else holds
/// them (see `unless_held`). The list of the unpaid comes first, like everywhere. See [`Invoice::version`].
pub async fn version_in_tx(
    connection: &mut PgConnection,
    id: InvoiceId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with listed as materialized (
               select invoice_id from unpaid_invoices where invoice_id = $1 for update nowait
           )
           select status || '-' || (extract(epoch from updated_at) * 1000000)::bigint as "version!"
           from invoices where id = $1 and (select count(*) from listed) >= 0 for update nowait"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await
}

async fn invoice_in(
    executor: impl Executor<'_, Database = Postgres>,
    id: InvoiceId,
) -> Result<Option<Invoice>, sqlx::Error> {
    select_invoices!(["i.id = $1"], id.as_uuid())
        .fetch_optional(executor)
        .await?
        .map(Invoice::try_from)
        .transpose()
}

/// Creates an invoice under this number. `None` when the number is taken. Does not commit.
pub async fn create_in_tx(
    connection: &mut PgConnection,
    id: InvoiceId,
    number: &str,
    new: &New,
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
        new.amount.minor_units(),
        new.amount.currency().code(),
        created_by
    )
    .fetch_optional(connection)
    .await?;
    Ok(created_at.map(|created_at| Invoice {
        id,
        number: number.to_owned(),
        amount: new.amount,
        status: Status::Unpaid,
        created_at,
        updated_at: created_at,
        paid_at: None,
        last_payment: None,
    }))
}
