//! Numbers for invoices that come without one: the next free `I<n>`, however many are taken.

use sqlx::PgConnection;

use super::Store;

/// How many numbers a first search looks at; each further one looks at four times as many.
const FIRST_WINDOW: i64 = 1024;
/// Bounds what one statement looks at.
const LAST_WINDOW: i64 = 1 << 20;

impl Store {
    /// Moves the counter past `last`, unless it is further already, and returns the last number that is given now. A restored
    /// database has forgotten which numbers were given since; payment-provider has not.
    pub async fn skip_numbers(&self, last: i64) -> Result<i64, sqlx::Error> {
        let mut tx = self.begin().await?;
        lock_in_tx(&mut tx).await?;
        let given = last_in_tx(&mut tx).await?.max(last);
        if given > 0 {
            sqlx::query_scalar!("select setval('invoice_numbers', $1)", given)
                .fetch_one(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(given)
    }
}

/// The next number by the counter alone. It may be taken.
pub async fn next_in_tx(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(r#"select 'I' || nextval('invoice_numbers') as "number!""#)
        .fetch_one(connection)
        .await
}

/// Moves the counter before the next free number, looking at whole ranges at once: an import of `I1` to `I100000` costs
/// the next caller a few statements. Callers take turns; whoever takes numbers meanwhile is seen by the unique index.
pub async fn skip_taken_in_tx(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    lock_in_tx(connection).await?;
    let mut window = FIRST_WINDOW;
    loop {
        let from = last_in_tx(connection).await?;
        let free = sqlx::query_scalar!(
            r#"select n as "n!" from generate_series($1::bigint + 1, $1 + $2) n
               where not exists (select from invoices where number = 'I' || n) order by n limit 1"#,
            from,
            window
        )
        .fetch_optional(&mut *connection)
        .await?;
        // `false`: the next call of nextval gives exactly this number.
        let (next, found) = free.map_or((from + window, false), |n| (n, true));
        sqlx::query_scalar!("select setval('invoice_numbers', $1, $2)", next, !found)
            .fetch_one(&mut *connection)
            .await?;
        if found {
            return Ok(());
        }
        window = (window * 4).min(LAST_WINDOW);
    }
}

/// Serialises those who move the counter by more than one.
pub(super) async fn lock_in_tx(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended('invoice_numbers', 0))")
        .execute(connection)
        .await
        .map(|_| ())
}

/// The last number the counter gave.
pub(super) async fn last_in_tx(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select case when is_called then last_value else last_value - 1 end as "last!" from invoice_numbers"#
    )
    .fetch_one(connection)
    .await
}
