//! Dead letters: messages nobody could handle, kept as they came, listed, shown, replayed or discarded by an operator.
//!
//! Both services have the same table (their own migrations make it):
//!
//! ```sql
//! create table dead_letters (
//!     id              bigint generated always as identity primary key,
//!     subject         text        not null, -- where it came from
//!     reason          text        not null, -- why it could not be handled
//!     stream_sequence bigint      not null, -- its sequence in the stream it came from
//!     headers         bytea       not null, -- header block as received; bytes, since text holds neither NUL nor bad UTF-8
//!     body            bytea       not null, -- body as received
//!     digest          bytea       not null unique, -- SHA-256 over subject, sequence, headers and body: a redelivery is kept once
//!     received_at     timestamptz not null default clock_timestamp(),
//!     resolved_at     timestamptz,          -- when an operator ended it
//!     resolution      text check (resolution in ('replayed', 'discarded'))
//! );
//! ```

use payment_contract::delivery::DeadLetter;
use sqlx::{PgConnection, PgPool};

/// Keeps letters; one that is there already is left alone. Does not commit.
pub async fn insert_in_tx(
    _connection: &mut PgConnection,
    _letters: &[DeadLetter],
) -> Result<(), sqlx::Error> {
    todo!()
}

/// Keeps letters and commits.
pub async fn insert(_pool: &PgPool, _letters: &[DeadLetter]) -> Result<(), sqlx::Error> {
    todo!()
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

/// Runs a command and prints its result. `replay` gets the stored subject, headers and body and handles the message as the
/// consumer would: `Ok(())` when it is handled for good, `Err(why)` when it still cannot be.
pub async fn run<R, Fut>(
    _pool: &PgPool,
    _command: Command,
    _replay: R,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    R: FnOnce(payment_contract::delivery::Origin) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    todo!()
}
