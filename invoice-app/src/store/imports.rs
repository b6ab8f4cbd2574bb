//! Imports: lines are put aside as they arrive, each page in a statement of its own, and become invoices all together
//! when the last has arrived. So an import holds little memory, no lock and no snapshot while its client is sending.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, numbers};
use crate::invoice;

/// With more lines than this the whole of a table is read rather than looked up line by line.
const MANY_LINES: i64 = 1000;

/// A line that can become an invoice.
#[derive(Clone, Debug)]
pub struct ImportLine {
    /// Counts from 1.
    pub line: i64,
    pub invoice: invoice::New,
}

/// What became of an import's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub created: i64,
    /// Lines whose number was taken, the first of them, in order.
    pub taken: Vec<(i64, String)>,
    /// All lines whose number was taken.
    pub taken_total: i64,
}

impl Store {
    /// Puts lines aside and commits.
    pub async fn stage_lines(&self, import: Uuid, lines: Vec<ImportLine>) -> Result<(), sqlx::Error> {
        let mut numbers_of_lines = Vec::with_capacity(lines.len());
        let mut numbers = Vec::with_capacity(lines.len());
        let mut amounts = Vec::with_capacity(lines.len());
        let mut currencies = Vec::with_capacity(lines.len());
        for ImportLine { line, invoice } in lines {
            numbers_of_lines.push(line);
            numbers.push(invoice.number.map(invoice::Number::into_string));
            amounts.push(invoice.amount.minor_units());
            currencies.push(invoice.amount.currency().code().to_owned());
        }
        sqlx::query!(
            "insert into import_lines (import_id, line, number, amount_minor, currency)
             select $1, * from unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[])",
            import,
            &numbers_of_lines,
            &numbers as &[Option<String>],
            &amounts,
            &currencies
        )
        .execute(&self.database)
        .await
        .map(|_| ())
    }

    /// Forgets an import that will not be finished.
    pub async fn forget_lines(&self, import: Uuid) -> Result<(), sqlx::Error> {
        sqlx::query!("delete from import_lines where import_id = $1", import)
            .execute(&self.database)
            .await
            .map(|_| ())
    }

    /// Forgets lines of imports that were cut off.
    pub async fn prune_lines(&self) -> Result<u64, sqlx::Error> {
        sqlx::query!("delete from import_lines where received_at < clock_timestamp() - interval '2 hours'")
            .execute(&self.database)
            .await
            .map(|done| done.rows_affected())
    }
}

/// Lets the transaction be idle for as long as an import may take: it holds the import's key, and nothing else.
pub async fn idle_in_tx(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("set local idle_in_transaction_session_timeout = '1h'")
        .execute(connection)
        .await
        .map(|_| ())
}

/// Makes the lines put aside into invoices, at most `most_taken` of the refused ones told. Does not commit.
pub async fn import_in_tx(
    connection: &mut PgConnection,
    import: Uuid,
    created_by: Option<&str>,
    most_taken: i64,
) -> Result<Imported, sqlx::Error> {
    // Millions of lines are one statement.
    service::database::allow_time_in_tx(&mut *connection).await?;
    if count_lines(connection, import).await? > MANY_LINES {
        // The planner cannot know how many lines there are; compared each with each they would take minutes.
        sqlx::query!("set local enable_nestloop = 'off'")
            .execute(&mut *connection)
            .await?;
    }
    let mut imported = create_numbered(connection, import, created_by, most_taken).await?;
    imported.created += create_unnumbered(connection, import, created_by).await?;
    sqlx::query!("delete from import_lines where import_id = $1", import)
        .execute(connection)
        .await?;
    Ok(imported)
}

async fn count_lines(connection: &mut PgConnection, import: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from import_lines where import_id = $1"#,
        import
    )
    .fetch_one(connection)
    .await
}

/// Lines with a number. Ids follow the lines; rows are inserted in the order of their numbers, so that two imports of the
/// same numbers wait for each other instead of deadlocking, and so that the first of two equal lines wins.
async fn create_numbered(
    connection: &mut PgConnection,
    import: Uuid,
    created_by: Option<&str>,
    most_taken: i64,
) -> Result<Imported, sqlx::Error> {
    let created = sqlx::query!(
        "with identified as materialized (
             select uuidv7() as id, l.* from (
                 select line, number, amount_minor, currency from import_lines
                 where import_id = $1 and number is not null order by line
             ) l
         ), created as (
             insert into invoices (id, number, amount_minor, currency, created_by, created_at, updated_at)
             select id, number, amount_minor, currency, $2, statement_timestamp(), statement_timestamp() from identified order by number, line
             on conflict (number) do nothing
             returning id
         ), changed as (
             insert into invoice_changes (kind, at, ids)
             select 'created', statement_timestamp(), array_agg(id)
             from (select id, (row_number() over () - 1) / 1000 as part from created) c group by part
         )
         delete from import_lines d using identified i, created c
         where d.import_id = $1 and d.line = i.line and i.id = c.id",
        import,
        created_by
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    let taken = sqlx::query!(
        r#"select line, number as "number!", count(*) over () as "total!" from import_lines
           where import_id = $1 and number is not null order by line limit $2"#,
        import,
        most_taken
    )
    .fetch_all(connection)
    .await?;
    Ok(Imported {
        created: i64::try_from(created).unwrap_or(i64::MAX),
        taken_total: taken.first().map_or(0, |row| row.total),
        taken: taken.into_iter().map(|row| (row.line, row.number)).collect(),
    })
}

/// Lines without a number get the next free ones, as many as are found at a time.
async fn create_unnumbered(
    connection: &mut PgConnection,
    import: Uuid,
    created_by: Option<&str>,
) -> Result<i64, sqlx::Error> {
    let mut created = 0;
    let mut window = 0;
    loop {
        let missing = sqlx::query_scalar!(
            r#"select count(*) as "count!" from import_lines where import_id = $1 and number is null"#,
            import
        )
        .fetch_one(&mut *connection)
        .await?;
        if missing == 0 {
            return Ok(created);
        }
        numbers::lock_in_tx(connection).await?;
        let from = numbers::last_in_tx(connection).await?;
        window = (window * 4).max(missing + 1024).min(1 << 22);
        created += create_unnumbered_from(connection, import, created_by, from, window).await?;
    }
}

/// Numbers and creates what fits into the free numbers of one range, and moves the counter behind those used.
async fn create_unnumbered_from(
    connection: &mut PgConnection,
    import: Uuid,
    created_by: Option<&str>,
    from: i64,
    window: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with lines as materialized (
               select line, amount_minor, currency, row_number() over (order by line) as place
               from import_lines where import_id = $1 and number is null
           ), free as materialized (
               select n, row_number() over (order by n) as place
               from generate_series($2::bigint + 1, $2 + $3) n
               where not exists (select from invoices where number = 'I' || n)
               order by n limit (select count(*) from lines)
           ), moved as materialized (
               select setval('invoice_numbers',
                   case when (select count(*) from free) < (select count(*) from lines) then $2 + $3
                        else (select max(n) from free) end)
           ), identified as materialized (
               select uuidv7() as id, p.* from (
                   select l.line, l.amount_minor, l.currency, 'I' || f.n as number
                   from lines l join free f using (place), moved order by l.line
               ) p
           ), created as (
               insert into invoices (id, number, amount_minor, currency, created_by, created_at, updated_at)
               select id, number, amount_minor, currency, $4, statement_timestamp(), statement_timestamp() from identified order by number
               on conflict (number) do nothing
               returning id
           ), changed as (
               insert into invoice_changes (kind, at, ids)
               select 'created', statement_timestamp(), array_agg(id)
               from (select id, (row_number() over () - 1) / 1000 as part from created) c group by part
           ), done as (
               delete from import_lines d using identified i, created c
               where d.import_id = $1 and d.line = i.line and i.id = c.id
               returning 1
           )
           select count(*) as "count!" from done"#,
        import,
        from,
        window,
        created_by
    )
    .fetch_one(connection)
    .await
}
