//! The changes of invoices, in an order that can be followed: what the statements that make them write down is read here.

use std::time::Duration;

use service::database::{SHORT, WarmPool, in_time};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Store, corrupt, money};
use crate::{
    batch_id::BatchId,
    event::{Event, Kind, Position},
    invoice::{Invoice, LastPayment, Status},
    payment,
};

/// Changes read by one statement.
pub const PAGE: usize = 500;
/// Groups looked at by one statement: a page, when each change is alone in its group, and the one that the last page ended in.
const GROUPS: i64 = 501;
/// How many groups before a place are looked through for batches whose last counts somebody may have missed.
const GROUPS_BEFORE: i64 = 16;
/// Whoever asks for what there is waits this long for what was committed beside a transaction that still runs.
const PRESENT_WITHIN: Duration = Duration::from_secs(2);
const PRESENT_POLL: Duration = Duration::from_millis(10);

/// A change, with its invoice as it is now.
struct Row {
    xid: String,
    group: i64,
    place: i64,
    kind: Kind,
    at: OffsetDateTime,
    invoice_id: Uuid,
    number: String,
    amount_minor: i64,
    currency: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    paid_at: Option<OffsetDateTime>,
    payment_id: Option<Uuid>,
    requested_at: Option<OffsetDateTime>,
    reason: Option<String>,
    batch_id: Option<Uuid>,
}

impl Row {
    /// The event, with the invoice as this change left it, whatever happened since.
    fn event(self, era: i64) -> Result<Event, sqlx::Error> {
        let amount = money(self.amount_minor, &self.currency)?;
        let (status, payment, updated_at) = match self.kind {
            Kind::Created => (Status::Unpaid, None, self.created_at),
            Kind::Pending => (
                Status::Pending,
                Some(payment::Status::Requested),
                self.requested_at.unwrap_or(self.at),
            ),
            Kind::Declined => (Status::Unpaid, Some(payment::Status::Declined), self.at),
            // Nothing happens to an invoice after these.
            Kind::Paid => (Status::Paid, Some(payment::Status::Succeeded), self.updated_at),
            Kind::Voided => (Status::Void, Some(payment::Status::Declined), self.updated_at),
        };
        let last_payment = self.payment_id.zip(payment).map(|(id, status)| LastPayment {
            id: id.into(),
            status,
            reason: self.reason.filter(|_| status == payment::Status::Declined),
        });
        Ok(Event {
            position: position(
                era,
                &self.xid,
                self.group,
                u32::try_from(self.place).map_err(|error| corrupt("place", error))?,
            )?,
            kind: self.kind,
            time: self.at,
            invoice: Invoice {
                id: self.invoice_id.into(),
                number: self.number,
                amount,
                status,
                created_at: self.created_at,
                updated_at,
                paid_at: self.paid_at.filter(|_| status == Status::Paid),
                last_payment,
            },
            batch_id: self.batch_id.map(BatchId::from),
        })
    }
}

/// What can be read.
struct Retention {
    era: i64,
    forgotten: Position,
    /// The oldest transaction that still runs.
    running: u64,
    /// The first one that is newer than all that have ended.
    next: u64,
}

impl Retention {
    /// Whether everything after a place is still there. One from the future was given out by a database that has gone back
    /// in time since.
    fn everything_after(&self, position: Position) -> bool {
        position.era == self.era && self.forgotten < position && position.transaction < self.running
    }

    /// Before the first change.
    fn oldest(&self) -> Position {
        Position {
            group: self.forgotten.group.saturating_add(1),
            place: 0,
            ..self.forgotten
        }
    }
}

impl Store {
    /// Up to a page of changes after a place, in order; nothing when some that came after it are no longer kept, or when it
    /// is no place in the history of this database. Only of transactions that are older than every one still running: so
    /// nothing ever appears before what was read.
    pub async fn changes_after(&self, after: Position) -> Result<Option<Vec<Event>>, sqlx::Error> {
        let rows = sqlx::query_as!(
            Row,
            r#"with changes as materialized (
                   select g.xid, g.id, e.place, g.kind, g.at, e.of
                   from (select xid, id, kind, at, ids from invoice_changes
                         where (xid, id) >= ($1::text::xid8, $2::bigint)
                           and xid < pg_snapshot_xmin(pg_current_snapshot())
                         order by xid, id limit $5) g
                   cross join lateral unnest(g.ids) with ordinality e (of, place)
                   where (g.xid, g.id) > ($1::text::xid8, $2::bigint) or e.place > $3
                   order by g.xid, g.id, e.place limit $4
               )
               select c.xid::text as "xid!", c.id as "group!", c.place as "place!", c.kind as "kind!: _", c.at as "at!",
                      i.id as "invoice_id!", i.number as "number!", i.amount_minor as "amount_minor!",
                      i.currency as "currency!", i.created_at as "created_at!", i.updated_at as "updated_at!", i.paid_at,
                      coalesce(p.id, l.id) as payment_id, p.created_at as "requested_at?",
                      coalesce(p.reason, l.reason) as reason, p.batch_id as "batch_id?"
               from changes c
               left join payments p on p.id = c.of and c.kind in ('pending', 'paid', 'declined')
               join invoices i on i.id = coalesce(p.invoice_id, c.of)
               left join payments l on l.id = i.last_payment_id and c.kind = 'voided'
               order by c.xid, c.id, c.place"#,
            after.transaction.to_string(),
            after.group.cast_signed(),
            i64::from(after.place),
            i64::try_from(PAGE).unwrap_or(i64::MAX),
            GROUPS
        )
        .fetch_all(&self.database)
        .await?;
        // After the changes were read: what was deleted before that shows.
        if !retention(&self.database).await?.everything_after(after) {
            return Ok(None);
        }
        let events = rows.into_iter().map(|row| row.event(after.era));
        events.collect::<Result<_, _>>().map(Some)
    }

    /// Whether everything after a place can still be read.
    pub async fn is_kept(&self, position: Position) -> Result<bool, sqlx::Error> {
        Ok(retention(&self.database).await?.everything_after(position))
    }

    /// The present, at the last change that can be read. Not at the oldest running transaction: one that leaves nothing
    /// behind is forgotten by a crash, and what comes then may be counted from before it.
    pub async fn present(&self) -> Result<Position, sqlx::Error> {
        let retention = retention(&self.database).await?;
        let last = sqlx::query!(
            r#"select xid::text as "xid!", id from invoice_changes
               where xid < pg_snapshot_xmin(pg_current_snapshot()) order by xid desc, id desc limit 1"#
        )
        .fetch_optional(&self.database)
        .await?;
        match last {
            None => Ok(retention.oldest()),
            Some(last) => position(retention.era, &last.xid, last.id, u32::MAX),
        }
    }

    /// Waits until everything that is committed by now can be read; for a moment, since a transaction that began before may
    /// take minutes.
    pub async fn wait_for_present(&self) -> Result<(), sqlx::Error> {
        let end = Instant::now() + PRESENT_WITHIN;
        let next = retention(&self.database).await?.next;
        while retention(&self.database).await?.running < next && Instant::now() < end {
            tokio::time::sleep(PRESENT_POLL).await;
        }
        Ok(())
    }

    /// Before the first change that is kept.
    pub async fn oldest_kept(&self) -> Result<Position, sqlx::Error> {
        Ok(retention(&self.database).await?.oldest())
    }

    /// Batches whose counts somebody who was cut off at a place may not have heard.
    pub async fn batches_before(&self, position: Position) -> Result<Vec<BatchId>, sqlx::Error> {
        let ids = sqlx::query_scalar!(
            r#"with before as materialized (
                   select ids from invoice_changes
                   where (xid, id) <= ($1::text::xid8, $2::bigint) and kind in ('pending', 'paid', 'declined')
                   order by xid desc, id desc limit $3
               )
               select distinct p.batch_id as "batch_id!"
               from before b cross join lateral unnest(b.ids) e (payment_id)
               join payments p on p.id = e.payment_id where p.batch_id is not null"#,
            position.transaction.to_string(),
            position.group.cast_signed(),
            GROUPS_BEFORE
        )
        .fetch_all(&self.database)
        .await?;
        Ok(ids.into_iter().map(BatchId::from).collect())
    }

    /// Forgets up to a thousand groups that are older than this many days, from the first on, and notes up to where; how
    /// many. Never the last one: whoever has read it has missed nothing, however long ago it was.
    pub async fn prune_changes(&self, kept_days: i32) -> Result<u64, sqlx::Error> {
        let done = sqlx::query!(
            "with first as materialized (
                 select xid, id, at from invoice_changes
                 where (xid, id) < (select xid, id from invoice_changes order by xid desc, id desc limit 1)
                   and xid < pg_snapshot_xmin(pg_current_snapshot())
                 order by xid, id limit 1000
             ), old as materialized (
                 select xid, id from (
                     select xid, id,
                            bool_and(at < clock_timestamp() - make_interval(days => $1)) over (order by xid, id) as is_old
                     from first
                 ) f where is_old
             ), noted as (
                 update invoice_changes_kept k set forgotten_xid = o.xid, forgotten_id = o.id
                 from (select xid, id from old order by xid desc, id desc limit 1) o
                 where (k.forgotten_xid, k.forgotten_id) < (o.xid, o.id)
             )
             delete from invoice_changes c using old o where c.xid = o.xid and c.id = o.id",
            kept_days
        )
        .execute(&self.database)
        .await?;
        Ok(done.rows_affected())
    }

    /// Forgets every change when they are those of another cluster, as after a dump was restored: transactions are counted
    /// anew in this one, and the old ones would stand after all that is to come. Whether it did.
    pub async fn forget_foreign_changes(&self) -> Result<bool, sqlx::Error> {
        in_time(SHORT, async {
            let mut tx = self.begin().await?;
            let foreign = sqlx::query_scalar!(
                "update invoice_changes_kept k
             set system_identifier = s.system_identifier, forgotten_xid = '0', forgotten_id = 0
             from pg_control_system() s where k.system_identifier <> s.system_identifier
             returning k.system_identifier"
            )
            .fetch_optional(&mut *tx)
            .await?
            .is_some();
            if foreign {
                sqlx::query!("truncate invoice_changes").execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(foreign)
        })
        .await
    }
}

/// What can be read, and whose history it is: a cluster's timeline, since each restore and each failover begins one.
async fn retention(database: &WarmPool) -> Result<Retention, sqlx::Error> {
    let row = sqlx::query!(
        r#"select s.system_identifier + ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int as "era!",
                  k.forgotten_xid::text as "forgotten_xid!", k.forgotten_id,
                  pg_snapshot_xmin(pg_current_snapshot())::text as "running!",
                  pg_snapshot_xmax(pg_current_snapshot())::text as "next!"
           from pg_control_system() s, invoice_changes_kept k"#
    )
    .fetch_one(database)
    .await?;
    Ok(Retention {
        era: row.era,
        forgotten: position(row.era, &row.forgotten_xid, row.forgotten_id, u32::MAX)?,
        running: xid(&row.running)?,
        next: xid(&row.next)?,
    })
}

fn position(era: i64, transaction: &str, group: i64, place: u32) -> Result<Position, sqlx::Error> {
    Ok(Position {
        era,
        transaction: xid(transaction)?,
        group: group.unsigned_abs(),
        place,
    })
}

fn xid(text: &str) -> Result<u64, sqlx::Error> {
    text.parse().map_err(|error| corrupt("xid", error))
}
