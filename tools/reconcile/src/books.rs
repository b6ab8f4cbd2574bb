//! The four books and how each is read: one snapshot a database, row by row, in order of ids.

use std::{fmt, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use payment_contract::{Currency, Money};
use sqlx::{Connection, Executor, FromRow, PgConnection};
use uuid::Uuid;

use crate::{Error, Result};

/// Rows of a book as they come.
pub(super) type Rows<'a, T> = BoxStream<'a, Result<T>>;

/// Rows that are there already.
pub(super) fn in_memory<T: Send + 'static>(rows: Vec<T>) -> Rows<'static, T> {
    stream::iter(rows.into_iter().map(Ok)).boxed()
}

/// How a payment stands in one of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Requested, started or pending.
    Open,
    /// The money moved.
    Succeeded,
    /// It did not and will not.
    Declined,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
        })
    }
}

impl Status {
    /// From the word in a book. `open` is that book's word for what has not ended.
    pub fn try_new(status: &str, open: &str) -> Result<Self> {
        match status {
            "succeeded" => Ok(Self::Succeeded),
            "declined" => Ok(Self::Declined),
            other if other == open => Ok(Self::Open),
            other => Err(Error::new(format!("no payment can be {other:?}"))),
        }
    }
}

/// An invoice with what invoice-app's payments say about it.
#[derive(Clone, Debug)]
pub struct Invoice {
    /// Its id.
    pub id: Uuid,
    /// `unpaid`, `pending`, `paid` or `void`.
    pub status: String,
    /// What is owed.
    pub amount: Money,
    /// Its payments that succeeded.
    pub paid_by: Vec<Uuid>,
    /// How many of its payments are requested.
    pub open: i64,
}

/// A payment in invoice-app's books.
#[derive(Clone, Debug)]
pub struct Payment {
    /// Its id, under which all books know it.
    pub id: Uuid,
    /// The invoice it pays.
    pub invoice: Uuid,
    /// How it stands.
    pub status: Status,
    /// The invoice's amount; `None` when there is no such invoice.
    pub amount: Option<Money>,
    /// Why it was declined.
    pub reason: Option<String>,
    /// The bank's reference.
    pub reference: Option<String>,
    /// Since it was made.
    pub age: Duration,
}

/// An entry of the provider's ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The payment.
    pub id: Uuid,
    /// The invoice it pays.
    pub invoice: Uuid,
    /// How it stands.
    pub status: Status,
    /// What was ordered from the bank.
    pub amount: Money,
    /// Why it was declined.
    pub reason: Option<String>,
    /// The bank's reference.
    pub reference: Option<String>,
    /// An operator ended it.
    pub by_hand: bool,
    /// Since it was written.
    pub age: Duration,
}

/// A charge, or a decline, in the bank's books.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The idempotency key.
    pub key: Uuid,
    /// How it stands.
    pub status: Status,
    /// How much.
    pub amount: Money,
    /// The bank's reference.
    pub reference: String,
    /// Since it was entered.
    pub age: Duration,
}

/// Where the bank's side comes from.
#[derive(Clone, Debug)]
pub enum BankBooks {
    /// The simulated bank's books, in payment-provider's database.
    Simulated,
    /// A record that the bank itself kept; held in memory.
    Record(Vec<Charge>),
    /// Nobody has its books: the ledger is believed.
    Unknown,
}

/// Connections, each in one snapshot for as long as it lasts.
pub(super) struct Databases {
    invoices: PgConnection,
    ledger: PgConnection,
    charges: PgConnection,
}

impl Databases {
    /// Connects, and takes the snapshots against the flow of a payment.
    pub(super) async fn open(invoice_database_url: &str, payment_database_url: &str) -> Result<Self> {
        let invoices = snapshot(invoice_database_url)
            .await
            .map_err(|error| error.during("reading invoice-app's database"))?;
        let of_provider = |error: Error| error.during("reading payment-provider's database");
        Ok(Self {
            invoices,
            ledger: snapshot(payment_database_url).await.map_err(of_provider)?,
            charges: snapshot(payment_database_url).await.map_err(of_provider)?,
        })
    }

    pub(super) fn by_payment(&mut self) -> (&mut PgConnection, &mut PgConnection, &mut PgConnection) {
        (&mut self.invoices, &mut self.ledger, &mut self.charges)
    }

    /// In good order: a server logs a session that breaks off within a transaction.
    pub(super) async fn close(self) {
        for connection in [self.invoices, self.ledger, self.charges] {
            // A courtesy; what was read is read.
            let _ = connection.close().await;
        }
    }

    pub(super) fn by_invoice(&mut self) -> &mut PgConnection {
        &mut self.invoices
    }
}

/// A transaction that sees one moment and may change nothing. It ends with its connection.
async fn snapshot(database_url: &str) -> Result<PgConnection> {
    let mut connection = PgConnection::connect(database_url).await?;
    connection
        .execute("begin isolation level repeatable read, read only")
        .await?;
    // The moment is that of the first query.
    connection.execute("select 1").await?;
    Ok(connection)
}

#[derive(FromRow)]
struct InvoiceRow {
    id: Uuid,
    status: String,
    amount_minor: i64,
    currency: String,
    paid_by: Vec<Uuid>,
    open: i64,
}

/// Invoices by id.
pub(super) fn invoices(database: &mut PgConnection) -> Rows<'_, Invoice> {
    let rows = sqlx::query_as(
        "select i.id, i.status, i.amount_minor, i.currency,
                coalesce(array_agg(p.id) filter (where p.status = 'succeeded'), '{}') as paid_by,
                count(*) filter (where p.status = 'requested') as open
         from invoices i left join payments p on p.invoice_id = i.id
         group by i.id order by i.id",
    )
    .fetch(database);
    convert(rows, |row: InvoiceRow| {
        Ok(Invoice {
            amount: money(row.amount_minor, &row.currency)?,
            id: row.id,
            status: row.status,
            paid_by: row.paid_by,
            open: row.open,
        })
    })
}

#[derive(FromRow)]
struct PaymentRow {
    id: Uuid,
    invoice_id: Uuid,
    status: String,
    amount_minor: Option<i64>,
    currency: Option<String>,
    reason: Option<String>,
    reference: Option<String>,
    age_s: f64,
}

/// invoice-app's payments by id.
pub(super) fn payments(database: &mut PgConnection) -> Rows<'_, Payment> {
    let rows = sqlx::query_as(
        "select p.id, p.invoice_id, p.status, i.amount_minor, i.currency, p.reason, p.provider_reference as reference,
                extract(epoch from clock_timestamp() - p.created_at)::float8 as age_s
         from payments p left join invoices i on i.id = p.invoice_id
         order by p.id",
    )
    .fetch(database);
    convert(rows, |row: PaymentRow| {
        let amount = row.amount_minor.zip(row.currency);
        Ok(Payment {
            id: row.id,
            invoice: row.invoice_id,
            status: Status::try_new(&row.status, "requested")?,
            amount: amount
                .map(|(minor, currency)| money(minor, &currency))
                .transpose()?,
            reason: row.reason,
            reference: row.reference,
            age: seconds(row.age_s),
        })
    })
}

#[derive(FromRow)]
struct EntryRow {
    payment_id: Uuid,
    invoice_id: Uuid,
    status: String,
    amount_minor: i64,
    currency: String,
    reason: Option<String>,
    reference: Option<String>,
    by_hand: bool,
    age_s: f64,
}

/// The provider's ledger by payment.
pub(super) fn ledger(database: &mut PgConnection) -> Rows<'_, Entry> {
    let rows = sqlx::query_as(
        "select l.payment_id, l.invoice_id, l.status, l.amount_minor, l.currency, l.reason,
                l.gateway_reference as reference,
                exists (select from ledger_resolutions r
                        where r.payment_id = l.payment_id and r.status <> 'released') as by_hand,
                extract(epoch from clock_timestamp() - l.created_at)::float8 as age_s
         from ledger l order by l.payment_id",
    )
    .fetch(database);
    convert(rows, |row: EntryRow| {
        Ok(Entry {
            id: row.payment_id,
            invoice: row.invoice_id,
            status: Status::try_new(&row.status, "started")?,
            amount: money(row.amount_minor, &row.currency)?,
            reason: row.reason,
            reference: row.reference,
            by_hand: row.by_hand,
            age: seconds(row.age_s),
        })
    })
}

#[derive(FromRow)]
struct ChargeRow {
    key: Uuid,
    status: String,
    value: String,
    currency: String,
    reference: String,
    age_s: f64,
}

/// The bank's charges by key, wherever they come from.
pub(super) fn charges(database: &mut PgConnection, bank: BankBooks) -> Rows<'_, Charge> {
    match bank {
        BankBooks::Unknown => stream::empty().boxed(),
        BankBooks::Record(mut charges) => {
            charges.sort_by_key(|charge| charge.key);
            stream::iter(charges.into_iter().map(Ok)).boxed()
        }
        BankBooks::Simulated => {
            let rows = sqlx::query_as(
                "select key, status, value, currency, reference,
                        extract(epoch from clock_timestamp() - created_at)::float8 as age_s
                 from simulated_charges order by key",
            )
            .fetch(database);
            convert(rows, |row: ChargeRow| {
                Ok(Charge {
                    key: row.key,
                    status: Status::try_new(&row.status, "pending")?,
                    amount: Money::parse(&row.value, &row.currency)?,
                    reference: row.reference,
                    age: seconds(row.age_s),
                })
            })
        }
    }
}

fn convert<'a, R: Send + 'a, T: Send + 'a>(
    rows: BoxStream<'a, sqlx::Result<R>>,
    convert: impl Fn(R) -> Result<T> + Send + 'a,
) -> Rows<'a, T> {
    rows.map_err(Error::from)
        .and_then(move |row| std::future::ready(convert(row)))
        .boxed()
}

fn money(minor_units: i64, currency: &str) -> Result<Money> {
    Ok(Money::try_from_minor_units(
        minor_units,
        Currency::try_new(currency)?,
    )?)
}

/// Clocks that disagree a little make nothing older than zero.
fn seconds(age: f64) -> Duration {
    Duration::try_from_secs_f64(age).unwrap_or_default()
}
