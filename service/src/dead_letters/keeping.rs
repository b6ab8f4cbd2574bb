//! Keeping letters: each message once, however often it comes.

use std::collections::HashMap;

use jetstream::delivery::{DeadLetter, Origin};
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};

use crate::database::{SHORT, in_time, storable};

/// Keeps letters, and counts those that are there already: a message that is refused is sent again. How many are new. One that
/// was replayed and is refused again is open again. Does not commit.
pub async fn insert_in_tx(
    connection: &mut PgConnection,
    letters: &[DeadLetter],
) -> Result<usize, sqlx::Error> {
    let mut times: HashMap<Vec<u8>, i32> = HashMap::new();
    let mut first_ones = Vec::with_capacity(letters.len());
    for letter in letters {
        let digest = digest(&letter.origin);
        let times = times.entry(digest.clone()).or_default();
        *times += 1;
        if *times == 1 {
            first_ones.push((letter, digest));
        }
    }
    let mut subjects = Vec::with_capacity(first_ones.len());
    let mut reasons = Vec::with_capacity(first_ones.len());
    let mut sequences = Vec::with_capacity(first_ones.len());
    let mut headers = Vec::with_capacity(first_ones.len());
    let mut bodies = Vec::with_capacity(first_ones.len());
    let mut digests = Vec::with_capacity(first_ones.len());
    let mut counts = Vec::with_capacity(first_ones.len());
    for (DeadLetter { reason, origin }, digest) in first_ones {
        subjects.push(storable(&origin.subject).into_owned());
        reasons.push(storable(reason).into_owned());
        sequences.push(origin.stream_sequence.cast_signed());
        headers.push(origin.headers.to_vec());
        bodies.push(origin.body.to_vec());
        counts.push(times.get(&digest).copied().unwrap_or(1));
        digests.push(digest);
    }
    let new = sqlx::query_scalar!(
        r#"with kept as (
               insert into dead_letters as letter (subject, reason, stream_sequence, headers, body, digest, times)
               select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::int[])
               on conflict (digest) do update
               set times = letter.times + excluded.times, last_received_at = clock_timestamp(),
                   resolved_at = case when letter.resolution = 'discarded' then letter.resolved_at end,
                   resolution = case when letter.resolution = 'discarded' then letter.resolution end
               returning xmax = 0 as new)
           select count(*) filter (where new) as "new!" from kept"#,
        &subjects,
        &reasons,
        &sequences,
        &headers,
        &bodies,
        &digests,
        &counts,
    )
    .fetch_one(connection)
    .await?;
    Ok(usize::try_from(new).unwrap_or_default())
}

/// Keeps letters and commits; how many are new.
pub async fn insert(pool: &PgPool, letters: &[DeadLetter]) -> Result<usize, sqlx::Error> {
    // One statement is a transaction of its own.
    in_time(SHORT, async {
        insert_in_tx(&mut *pool.acquire().await?, letters).await
    })
    .await
}

/// [`insert`], with a line in the log for each letter: what to an operator is one.
pub async fn keep(pool: &PgPool, letters: &[DeadLetter]) -> Result<usize, sqlx::Error> {
    let new = insert(pool, letters).await?;
    for letter in letters {
        tracing::error!(
            subject = letter.origin.subject,
            stream.sequence = letter.origin.stream_sequence,
            reason = letter.kind(),
            "a message could not be handled and is now a dead letter; see `dead-letters show`"
        );
    }
    Ok(new)
}

/// What makes a message the same when it comes again: subject, body, and the message id its sender gave it, which has another
/// send number each time. One without an id is the same only in its place of the stream. Parts go in with their lengths, so
/// that no two letters can be cut differently into the same bytes.
fn digest(origin: &Origin) -> Vec<u8> {
    let place = origin.stream_sequence.to_be_bytes();
    let identity = message_id(&origin.headers).unwrap_or(&place);
    let mut hash = Sha256::new();
    for part in [origin.subject.as_bytes(), identity, &origin.body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

/// The `Nats-Msg-Id` of a header block, without the number of the send.
fn message_id(headers: &[u8]) -> Option<&[u8]> {
    let id = headers.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
        name.eq_ignore_ascii_case(b"nats-msg-id")
            .then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })?;
    let cut = id.iter().rposition(|byte| *byte == b'.').unwrap_or(id.len());
    id.get(..cut).filter(|id| !id.is_empty())
}

/// The body of the letter that was received last and has this text in it.
pub async fn latest_with(pool: &PgPool, text: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
    in_time(SHORT, async {
        sqlx::query_scalar!(
            "select body from dead_letters where position($1::bytea in body) > 0 order by last_received_at desc limit 1",
            text.as_bytes(),
        )
        .fetch_optional(pool)
        .await
    })
    .await
}
