//! `peer.skip_locked`: a table of jobs, and a few connections that each take what nobody else holds, do it, and take it off the
//! table, all in one transaction: the loop that is written first, and often for good.

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::books::{Books, PAY};
use crate::usage::Run;
use acceptance::Result;

const QUEUE: &str = "create table jobs (
    id         bigint      generated always as identity primary key,
    invoice_id uuid        not null,
    created_at timestamptz not null default clock_timestamp()
)";
const ENQUEUE: &str = "insert into jobs (invoice_id) select id from invoices order by id";
const TAKE: &str = "select id, invoice_id from jobs order by id limit $1 for update skip locked";
const DELETE: &str = "delete from jobs where id = any($1)";
/// As many as graphile-worker's documentation takes: nothing documents a loop of one's own.
const CONNECTIONS: u32 = 24;
/// Enough to keep two cores busy when each transaction holds many jobs, and fewer rows to step over.
const CONNECTIONS_FOR_MANY: u32 = 4;

/// Puts every invoice on the table, then works it off, `at_once` jobs in a transaction.
pub(super) async fn measure(books: &Books<'_>, at_once: i64) -> Result<Run> {
    let connections = if at_once == 1 {
        CONNECTIONS
    } else {
        CONNECTIONS_FOR_MANY
    };
    books
        .work_off(QUEUE, ENQUEUE, connections, move |connection| {
            work(connection, at_once)
        })
        .await
}

/// Until there is nothing that nobody else has in flight.
async fn work(mut database: PgConnection, at_once: i64) -> Result<()> {
    loop {
        let mut tx = database.begin().await?;
        let jobs: Vec<(i64, Uuid)> = sqlx::query_as(TAKE).bind(at_once).fetch_all(&mut *tx).await?;
        if jobs.is_empty() {
            break;
        }
        let (jobs, invoices): (Vec<i64>, Vec<Uuid>) = jobs.into_iter().unzip();
        sqlx::query(PAY).bind(invoices).execute(&mut *tx).await?;
        sqlx::query(DELETE).bind(jobs).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(database.close().await?)
}
