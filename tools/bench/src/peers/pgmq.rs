//! `peer.pgmq`: a queue as pgmq keeps it, by its statements and without its extension: a message that was read is invisible for
//! a while, and comes again if nobody has deleted it by then. Messages are read and deleted by the hundred; each payment commits
//! alone, since a message that is read twice must find it done.

use serde_json::Value;
use sqlx::{Connection, PgConnection, types::Json};
use uuid::Uuid;

use super::books::{Books, PAY};
use crate::usage::Run;
use acceptance::{Error, Result, client::text};

const QUEUE: &str = "create table q_pay (
    msg_id       bigint      primary key generated always as identity,
    read_ct      integer     not null default 0,
    enqueued_at  timestamptz not null default now(),
    last_read_at timestamptz,
    vt           timestamptz not null,
    message      jsonb,
    headers      jsonb
);
create index q_pay_vt on q_pay (vt asc)";
const SEND: &str = "insert into q_pay (vt, message)
    select clock_timestamp(), jsonb_build_object('invoice_id', id) from invoices order by id";
const READ: &str = "with next as (
    select msg_id from q_pay where vt <= clock_timestamp() order by msg_id limit $1 for update skip locked
)
update q_pay as message
set last_read_at = clock_timestamp(), vt = clock_timestamp() + interval '30 seconds', read_ct = read_ct + 1
from next where message.msg_id = next.msg_id
returning message.msg_id, message.message";
const DELETE: &str = "delete from q_pay where msg_id = any($1)";
/// Messages read together.
const READ_AT_ONCE: i64 = 100;
/// As many as for single jobs taken by `skip locked`.
const CONSUMERS: u32 = 24;

/// Sends a message for every invoice, then consumes them.
pub(super) async fn measure(books: &Books<'_>) -> Result<Run> {
    books.work_off(QUEUE, SEND, CONSUMERS, consume).await
}

/// Until nothing is visible.
async fn consume(mut database: PgConnection) -> Result<()> {
    loop {
        let messages: Vec<(i64, Json<Value>)> = sqlx::query_as(READ)
            .bind(READ_AT_ONCE)
            .fetch_all(&mut database)
            .await?;
        if messages.is_empty() {
            break;
        }
        let mut done = Vec::with_capacity(messages.len());
        for (id, Json(message)) in messages {
            let invoice: Uuid = text(&message, "/invoice_id")
                .parse()
                .map_err(|_| Error::new(format!("no invoice in {message}")))?;
            sqlx::query(PAY)
                .bind(vec![invoice])
                .execute(&mut database)
                .await?;
            done.push(id);
        }
        sqlx::query(DELETE).bind(done).execute(&mut database).await?;
    }
    Ok(database.close().await?)
}
