//! Dead letters: messages nobody could handle, kept as they came, listed, shown, replayed or discarded by an operator.
//!
//! Both services have the same table (their own migrations make it):
//!
//! ```sql
#![doc = include_str!("../tests/migrations/0001_dead_letters.sql")]
#![doc = include_str!("../tests/migrations/0002_dead_letters_once.sql")]
//! ```

use std::sync::Arc;

use jetstream::delivery::{Decision, Handler, Origin, handle_one};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    database::{SHORT, in_time},
    output,
};

mod keeping;
mod pruning;
mod shown;

pub use keeping::{insert, insert_in_tx, keep, latest_with};
pub use pruning::{keep_pruned, prune};

/// `dead-letters list|show|replay|discard`, for clap.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the unresolved ones, oldest first (--all: resolved ones too).
    List {
        /// Resolved ones too.
        #[arg(long)]
        all: bool,
        /// For programs: a JSON list.
        #[arg(long)]
        json: bool,
    },
    /// Shows one: reason, headers and body.
    Show {
        /// Its id, as `list` shows it.
        id: i64,
        /// For programs: a JSON object; bytes that are no UTF-8 are replaced.
        #[arg(long)]
        json: bool,
    },
    /// Hands letters to the consumer again, here and now, and marks those replayed that were handled.
    Replay(Chosen),
    /// Marks letters as not to be handled, also when they come again.
    Discard(Chosen),
}

/// Which letters.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Chosen {
    /// Their ids, as `list` shows them.
    pub ids: Vec<i64>,
    /// All unresolved ones.
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// All unresolved ones with this text in their reason.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["ids", "all"])]
    pub reason: Option<String>,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such letter.
    #[error("there is no dead letter {0}")]
    Unknown(i64),
    /// Replayed or discarded before.
    #[error("dead letter {id} was {resolution} already, at {at}")]
    Resolved {
        /// Its id.
        id: i64,
        /// `replayed` or `discarded`.
        resolution: String,
        /// When.
        at: String,
    },
    /// The consumer still cannot handle it.
    #[error("dead letter {id} still cannot be handled: {why}")]
    Refused {
        /// Its id.
        id: i64,
        /// The consumer's reason.
        why: String,
    },
    /// Of several, some were not handled; each was told.
    #[error("{failed} of {of} dead letters are as they were")]
    Some {
        /// So many.
        failed: usize,
        /// Of these.
        of: usize,
    },
    /// The database.
    #[error("could not read or change the dead letters")]
    Database(#[from] sqlx::Error),
}

/// Runs a command and prints its result. `replay` gets the stored subject, headers and body and handles the message as the
/// consumer would: `Ok(())` when it is handled for good, `Err(why)` when it still cannot be.
pub async fn run<R>(pool: &PgPool, command: Command, replay: R) -> Result<(), Error>
where
    R: AsyncFn(Origin) -> Result<(), String>,
{
    match command {
        Command::List { all, json } => {
            let letters = list(pool, all).await?;
            let summaries = || letters.iter().map(Letter::summary).collect();
            output::show(json, summaries, || shown::table(&letters));
        }
        Command::Show { id, json } => {
            let letter = find(pool, id).await?;
            output::show(json, || letter.whole(), || shown::letter(&letter));
        }
        Command::Replay(chosen) => {
            each(pool, chosen, async |id| replay_one(pool, id, &replay).await).await?;
        }
        Command::Discard(chosen) => {
            each(pool, chosen, async |id| {
                resolve(pool, open(pool, id).await?.id, "discarded").await?;
                Ok(format!("dead letter {id} is discarded"))
            })
            .await?;
        }
    }
    Ok(())
}

/// Handles a letter as if it had just been delivered. `Err` says why it is still not handled, which is `later` where trying again
/// may help.
pub async fn replay<H: Handler>(handler: &Arc<H>, origin: Origin, later: &str) -> Result<(), String> {
    match handle_one(handler, origin).await {
        Decision::Done => Ok(()),
        Decision::Reject(reason) => Err(reason),
        Decision::Retry(_) => Err(later.to_owned()),
    }
}

/// Does it to each, one after the other; what went wrong with one holds up no other.
async fn each(
    pool: &PgPool,
    chosen: Chosen,
    act: impl AsyncFn(i64) -> Result<String, Error>,
) -> Result<(), Error> {
    let ids = match (chosen.all, chosen.reason) {
        (false, None) => chosen.ids,
        (_, reason) => unresolved(pool, reason.as_deref().unwrap_or_default()).await?,
    };
    if let [id] = ids[..] {
        println!("{}", act(id).await?);
        return Ok(());
    }
    let mut failed = 0;
    for id in &ids {
        match act(*id).await {
            Ok(done) => println!("{done}"),
            Err(error) => {
                failed += 1;
                eprintln!("error: {}", crate::telemetry::chain(&error));
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Error::Some {
            failed,
            of: ids.len(),
        }),
    }
}

async fn unresolved(pool: &PgPool, reason: &str) -> Result<Vec<i64>, Error> {
    let ids = sqlx::query_scalar!(
        "select id from dead_letters where resolved_at is null and position($1 in reason) > 0 order by id",
        reason,
    );
    Ok(in_time(SHORT, ids.fetch_all(pool)).await?)
}

/// A row of the table.
#[derive(Debug)]
struct Letter {
    id: i64,
    subject: String,
    reason: String,
    stream_sequence: i64,
    headers: Vec<u8>,
    body: Vec<u8>,
    received_at: time::OffsetDateTime,
    last_received_at: time::OffsetDateTime,
    times: i32,
    resolved_at: Option<time::OffsetDateTime>,
    resolution: Option<String>,
}

impl Letter {
    fn state(&self) -> &str {
        self.resolution.as_deref().unwrap_or("open")
    }

    fn summary(&self) -> Value {
        json!({
            "id": self.id,
            "received_at": output::time(self.received_at),
            "last_received_at": output::time(self.last_received_at),
            "times": self.times,
            "subject": self.subject,
            "stream_sequence": self.stream_sequence,
            "state": self.state(),
            "resolved_at": self.resolved_at.map(output::time),
            "reason": self.reason,
        })
    }

    fn whole(&self) -> Value {
        let mut whole = self.summary();
        if let Value::Object(members) = &mut whole {
            for (name, bytes) in [("headers", &self.headers), ("body", &self.body)] {
                members.insert(name.to_owned(), String::from_utf8_lossy(bytes).into());
            }
        }
        whole
    }
}

/// Letters a list shows at most: more are a case for SQL, not for eyes.
const LISTED: i64 = 1000;

async fn list(pool: &PgPool, all: bool) -> Result<Vec<Letter>, Error> {
    let letters = sqlx::query_as!(
        Letter,
        "select id, subject, reason, stream_sequence, ''::bytea as \"headers!\", ''::bytea as \"body!\", received_at,
                last_received_at, times, resolved_at, resolution
         from dead_letters where $1 or resolved_at is null order by id limit $2",
        all,
        LISTED,
    );
    Ok(in_time(SHORT, letters.fetch_all(pool)).await?)
}

async fn find(pool: &PgPool, id: i64) -> Result<Letter, Error> {
    let letter = sqlx::query_as!(
        Letter,
        "select id, subject, reason, stream_sequence, headers, body, received_at, last_received_at, times, resolved_at,
                resolution
         from dead_letters where id = $1",
        id,
    );
    let letter = in_time(SHORT, letter.fetch_optional(pool)).await?;
    letter.ok_or(Error::Unknown(id))
}

async fn open(pool: &PgPool, id: i64) -> Result<Letter, Error> {
    let letter = find(pool, id).await?;
    match (&letter.resolution, letter.resolved_at) {
        (Some(resolution), Some(at)) => Err(Error::Resolved {
            id,
            resolution: resolution.clone(),
            at: output::time(at),
        }),
        _ => Ok(letter),
    }
}

async fn replay_one<R>(pool: &PgPool, id: i64, replay: &R) -> Result<String, Error>
where
    R: AsyncFn(Origin) -> Result<(), String>,
{
    let letter = open(pool, id).await?;
    let origin = Origin {
        subject: letter.subject,
        stream_sequence: letter.stream_sequence.cast_unsigned(),
        headers: letter.headers.into(),
        body: letter.body.into(),
    };
    replay(origin).await.map_err(|why| Error::Refused {
        id,
        why: output::line(&why),
    })?;
    // Two operators at once both handle it, which changes nothing the second time; the first one's mark stays.
    resolve(pool, id, "replayed").await?;
    Ok(format!("dead letter {id} is handled"))
}

async fn resolve(pool: &PgPool, id: i64, resolution: &str) -> Result<(), Error> {
    let resolving = sqlx::query!(
        "update dead_letters set resolved_at = clock_timestamp(), resolution = $2 where id = $1 and resolved_at is null",
        id,
        resolution,
    );
    in_time(SHORT, resolving.execute(pool)).await?;
    Ok(())
}
