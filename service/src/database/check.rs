//! Whether a connection is worth keeping.

use std::time::Duration;

use sqlx::PgConnection;

use super::in_time;

/// A server that does not answer a question this small is frozen or gone, or busy with a statement that was given up.
const CHECK_LIMIT: Duration = Duration::from_millis(500);

/// An error, or no answer in time, closes a connection. So does `false`: after a switchover it still leads to the server that
/// may only read now.
pub(super) async fn can_write(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let asking = sqlx::query_scalar("select current_setting('transaction_read_only') = 'off'");
    in_time(CHECK_LIMIT, asking.fetch_one(connection)).await
}
