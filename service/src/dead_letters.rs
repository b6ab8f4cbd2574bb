//! Dead letters: messages nobody could handle, kept as they came, listed, shown, replayed or discarded by an operator.
//!
//! Both services have the same table (their own migrations make it):
//!
//! ```sql
#![doc = include_str!("../tests/migrations/0001_dead_letters.sql")]
//! ```

use jetstream::delivery::{DeadLetter, Origin};
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};

use crate::database::{SHORT, in_time, storable};

mod shown;

/// Keeps letters; one that is there already is left alone. Does not commit.
pub async fn insert_in_tx(connection: &mut PgConnection, letters: &[DeadLetter]) -> Result<(), sqlx::Error> {
    let mut subjects = Vec::with_capacity(letters.len());
    let mut reasons = Vec::with_capacity(letters.len());
    let mut sequences = Vec::with_capacity(letters.len());
    let mut headers = Vec::with_capacity(letters.len());
    let mut bodies = Vec::with_capacity(letters.len());
    let mut digests = Vec::with_capacity(letters.len());
    for DeadLetter { reason, origin } in letters {
        subjects.push(storable(&origin.subject).into_owned());
        reasons.push(storable(reason).into_owned());
        sequences.push(origin.stream_sequence.cast_signed());
        headers.push(origin.headers.to_vec());
        bodies.push(origin.body.to_vec());
        digests.push(digest(origin));
    }
    sqlx::query!(
        "insert into dead_letters (subject, reason, stream_sequence, headers, body, digest)
         select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
         on conflict (digest) do nothing",
        &subjects,
        &reasons,
        &sequences,
        &headers,
        &bodies,
        &digests,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps letters and commits.
pub async fn insert(pool: &PgPool, letters: &[DeadLetter]) -> Result<(), sqlx::Error> {
    // One statement is a transaction of its own.
    in_time(SHORT, async {
        insert_in_tx(&mut *pool.acquire().await?, letters).await
    })
    .await
}

/// Over all parts with their lengths, so that no two letters can be cut differently into the same bytes.
fn digest(origin: &Origin) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(origin.stream_sequence.to_be_bytes());
    for part in [origin.subject.as_bytes(), &origin.headers, &origin.body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

/// `dead-letters list|show|replay|discard`, for clap.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the unresolved ones, oldest first (--all: resolved ones too).
    List {
        /// Resolved ones too.
        #[arg(long)]
        all: bool,
    },
    /// Shows one: reason, headers and body.
    Show {
        /// Its id, as `list` shows it.
        id: i64,
    },
    /// Hands one to the consumer again, here and now, and marks it replayed when it was handled.
    Replay {
        /// Its id.
        id: i64,
    },
    /// Marks one as not to be handled.
    Discard {
        /// Its id.
        id: i64,
    },
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
    /// The database.
    #[error("could not read or change the dead letters")]
    Database(#[from] sqlx::Error),
}

/// Runs a command and prints its result. `replay` gets the stored subject, headers and body and handles the message as the
/// consumer would: `Ok(())` when it is handled for good, `Err(why)` when it still cannot be.
pub async fn run<R, Fut>(
    pool: &PgPool,
    command: Command,
    replay: R,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    R: FnOnce(Origin) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let text = match command {
        Command::List { all } => list(pool, all).await?,
        Command::Show { id } => shown::letter(&find(pool, id).await?),
        Command::Replay { id } => replay_one(pool, id, replay).await?,
        Command::Discard { id } => {
            resolve(pool, open(pool, id).await?.id, "discarded").await?;
            format!("dead letter {id} is discarded\n")
        }
    };
    print!("{text}");
    Ok(())
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
    resolved_at: Option<time::OffsetDateTime>,
    resolution: Option<String>,
}

/// Letters a list shows at most: more are a case for SQL, not for eyes.
const LISTED: i64 = 1000;

async fn list(pool: &PgPool, all: bool) -> Result<String, Error> {
    let letters = sqlx::query_as!(
        Letter,
        "select id, subject, reason, stream_sequence, ''::bytea as \"headers!\", ''::bytea as \"body!\", received_at,
                resolved_at, resolution
         from dead_letters where $1 or resolved_at is null order by id limit $2",
        all,
        LISTED,
    )
    .fetch_all(pool)
    .await?;
    Ok(shown::table(&letters))
}

async fn find(pool: &PgPool, id: i64) -> Result<Letter, Error> {
    let letter = sqlx::query_as!(
        Letter,
        "select id, subject, reason, stream_sequence, headers, body, received_at, resolved_at, resolution
         from dead_letters where id = $1",
        id,
    )
    .fetch_optional(pool)
    .await?;
    letter.ok_or(Error::Unknown(id))
}

async fn open(pool: &PgPool, id: i64) -> Result<Letter, Error> {
    let letter = find(pool, id).await?;
    match (&letter.resolution, letter.resolved_at) {
        (Some(resolution), Some(at)) => Err(Error::Resolved {
            id,
            resolution: resolution.clone(),
            at: shown::time(at),
        }),
        _ => Ok(letter),
    }
}

async fn replay_one<R, Fut>(pool: &PgPool, id: i64, replay: R) -> Result<String, Error>
where
    R: FnOnce(Origin) -> Fut,
    Fut: Future<Output = Result<(), String>>,
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
        why: shown::line(&why),
    })?;
    // Two operators at once both handle it, which changes nothing the second time; the first one's mark stays.
    resolve(pool, id, "replayed").await?;
    Ok(format!("dead letter {id} is handled\n"))
}

async fn resolve(pool: &PgPool, id: i64, resolution: &str) -> Result<(), Error> {
    sqlx::query!(
        "update dead_letters set resolved_at = clock_timestamp(), resolution = $2 where id = $1 and resolved_at is null",
        id,
        resolution,
    )
    .execute(pool)
    .await?;
    Ok(())
}
