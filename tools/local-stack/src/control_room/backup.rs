//! Copies of invoice-app's database, as a backup makes them, and the way back to one.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use local_stack::{Error, Result, tool};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::process::Command;

use super::{Room, database, lock};
use crate::commands::progress;

const EVERY: Duration = Duration::from_mins(1);
const LIMIT: Duration = Duration::from_mins(2);
/// One call names no more.
const IDS_IN_A_CALL: usize = 50_000;
/// Clocks of databases and this process are the same machine's; a transaction may be a little older than its rows.
const MARGIN: Duration = Duration::from_secs(10);
/// invoice-app has to find its database again first.
const TRIES: usize = 30;

#[derive(Clone, Debug)]
struct Copy {
    file: PathBuf,
    at: SystemTime,
}

/// The last two, of which the older one is a minute old or more.
pub(super) struct Copies {
    directory: PathBuf,
    kept: Mutex<Vec<Copy>>,
    /// One at a time.
    copying: tokio::sync::Mutex<u64>,
}

impl Copies {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            kept: Mutex::default(),
            copying: tokio::sync::Mutex::default(),
        }
    }

    fn oldest(&self) -> Option<Copy> {
        lock(&self.kept).first().cloned()
    }

    /// In place of the oldest; of all, when `alone`.
    fn keep(&self, copy: Copy, alone: bool) {
        let mut kept = lock(&self.kept);
        let stay = usize::from(!alone);
        while kept.len() > stay {
            // Removed with the stack's directory at the latest.
            let _ = std::fs::remove_file(kept.remove(0).file);
        }
        kept.push(copy);
    }
}

pub(super) async fn keep_copying(room: Arc<Room>) {
    loop {
        if let Err(error) = copy(&room, false).await {
            room.diary
                .say(&format!("no copy of invoice-app's database now: {error}"));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// After new invoices were made here, no older copy is of use: going back to it would lose them for good.
pub(super) async fn copy_with_new_invoices(room: &Room) -> Result<()> {
    copy(room, true).await
}

async fn copy(room: &Room, alone: bool) -> Result<()> {
    let copies = &room.copies;
    let mut number = copies.copying.lock().await;
    *number += 1;
    std::fs::create_dir_all(&copies.directory).map_err(|source| Error::File {
        action: "make the directory",
        path: copies.directory.clone(),
        source,
    })?;
    let copy = Copy {
        file: copies.directory.join(format!("invoices-{number}.dump")),
        at: SystemTime::now(),
    };
    let mut dump = Command::new(postgres_tool("pg_dump")?);
    dump.args(["--format=custom", "--compress=0", "--file"])
        .arg(&copy.file)
        .arg(format!("--dbname={}", room.stack.invoice_database_url()));
    run(dump).await?;
    copies.keep(copy, alone);
    Ok(())
}

/// Puts the older copy in the place of the database, and then pays again what was paid since, as its callers would.
pub(super) async fn go_back(room: &Arc<Room>) -> Result<String> {
    let _one_at_a_time = room.copies.copying.lock().await;
    let copy = room
        .copies
        .oldest()
        .ok_or_else(|| Error::Usage("there is no copy yet: try again in a moment".to_owned()))?;
    let age = copy.at.elapsed().unwrap_or_default().as_secs();
    restore(room, &copy.file).await?;
    let again = pay_again(room, copy.at).await?;
    Ok(format!(
        "invoice-app's database is as it was {age} s ago; invoices paid again since then, under the same names: {again}"
    ))
}

async fn restore(room: &Room, file: &Path) -> Result<()> {
    let postgres = room.stack.postgres();
    let mut admin = PgConnection::connect(&postgres.url("postgres"))
        .await
        .map_err(database("reach Postgres"))?;
    execute(&mut admin, "drop database if exists invoices_copy with (force)").await?;
    postgres.create_database("invoices_copy").await?;
    let mut restore = Command::new(postgres_tool("pg_restore")?);
    restore
        .arg(format!("--dbname={}", postgres.url("invoices_copy")))
        .args(["--exit-on-error", "--single-transaction"])
        .arg(file);
    run(restore).await?;
    execute(&mut admin, "drop database if exists invoices_before with (force)").await?;
    execute(&mut admin, "alter database invoices with allow_connections false").await?;
    let mut tries = 0;
    // It may not be named anew while anybody is connected; nobody can come back meanwhile.
    while let Err(error) = replace(&mut admin).await {
        tries += 1;
        if tries == TRIES {
            execute(&mut admin, "alter database invoices with allow_connections true").await?;
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    execute(&mut admin, "alter database invoices_copy rename to invoices").await?;
    // Closing is a courtesy to the server.
    let _ = admin.close().await;
    Ok(())
}

async fn replace(admin: &mut PgConnection) -> Result<()> {
    let end_sessions = "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'invoices'";
    execute(admin, end_sessions).await?;
    execute(admin, "alter database invoices rename to invoices_before").await
}

/// Those whose payments the ledger has from after the copy, as far as they are unpaid; how many that are.
async fn pay_again(room: &Room, since: SystemTime) -> Result<u64> {
    let since = since.checked_sub(MARGIN).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut payments = PgConnection::connect(&room.stack.payment_database_url())
        .await
        .map_err(database("reach the ledger"))?;
    let ids: Vec<String> =
        sqlx::query_scalar("select distinct invoice_id::text from ledger where created_at >= $1")
            .bind(time::OffsetDateTime::from(since))
            .fetch_all(&mut payments)
            .await
            .map_err(database("read the ledger"))?;
    // As above.
    let _ = payments.close().await;
    let mut again = 0;
    for ids in ids.chunks(IDS_IN_A_CALL) {
        let mut tries = 0;
        loop {
            match room.client.post("/invoices/pay", &json!({"ids": ids})).await {
                Ok(batch) => {
                    again += progress::count(&batch, "requested");
                    break;
                }
                Err(error) if tries == TRIES => return Err(error),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(again)
}

async fn execute(admin: &mut PgConnection, statement: &str) -> Result<()> {
    let done = admin.execute(AssertSqlSafe(statement.to_owned())).await;
    done.map(drop).map_err(database(statement))
}

/// Beside the server that runs.
fn postgres_tool(name: &str) -> Result<PathBuf> {
    let server = tool("postgres")?;
    let server = server.canonicalize().unwrap_or(server);
    let path = server.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing {
        name: name.to_owned(),
        path,
        hint: "it belongs to Postgres's own tools",
    })
}

async fn run(mut command: Command) -> Result<()> {
    let name = command.as_std().get_program().display().to_string();
    let failed = |source| Error::Spawn {
        name: name.clone(),
        source,
    };
    let output = tokio::time::timeout(LIMIT, command.kill_on_drop(true).output())
        .await
        .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Error::Usage(format!("{name} failed: {}", why.trim())))
}
