//! Dead letters: what is one, and how an operator ends it.

use std::sync::Arc;

use jetstream::delivery::{DeadLetter, Origin};
use service::dead_letters::{self, Chosen, Command};
use sqlx::{PgPool, query_scalar};

use crate::new_database;

fn letter(sequence: u64, body: &'static [u8]) -> DeadLetter {
    DeadLetter {
        reason: "bad \0 reason".to_owned(),
        origin: Arc::new(Origin {
            subject: "pay.v1.request.eur".to_owned(),
            stream_sequence: sequence,
            headers: b"NATS/1.0\r\nx: y\r\n\r\n".to_vec().into(),
            body: body.into(),
        }),
    }
}

async fn refuse(_: Origin) -> Result<(), String> {
    Err("still bad\u{1b}[2J".to_owned())
}

fn ids(ids: &[i64]) -> Chosen {
    Chosen {
        ids: ids.to_vec(),
        ..Chosen::default()
    }
}

async fn count(pool: &PgPool, condition: &'static str) -> i64 {
    query_scalar(sqlx::AssertSqlSafe(format!(
        "select count(*) from dead_letters where {condition}"
    )))
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_letter_is_kept_once_whatever_bytes_it_has() {
    let pool = new_database().await;
    let letters = [
        letter(1, b"\x00\xff{"),
        letter(1, b"\x00\xff{"),
        letter(2, b"\x00\xff{"),
        letter(1, b""),
    ];
    for _ in 0..2 {
        dead_letters::insert(&pool, &letters).await.unwrap();
    }
    assert_eq!(count(&pool, "true").await, 3);
    assert_eq!(
        count(&pool, r"body = '\x00ff7b' and reason = 'bad � reason'").await,
        2
    );
    dead_letters::insert(&pool, &[]).await.unwrap();
}

#[tokio::test]
async fn what_is_sent_again_is_one_letter_that_counts_and_opens_again_unless_it_was_discarded() {
    let pool = new_database().await;
    let sent = |sequence: u64, id: &str| DeadLetter {
        reason: "bad".to_owned(),
        origin: Arc::new(Origin {
            subject: "pay.v1.request.eur".to_owned(),
            stream_sequence: sequence,
            headers: format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n")
                .into_bytes()
                .into(),
            body: b"{}".as_slice().into(),
        }),
    };
    let letters = [sent(1, "payment.1"), sent(2, "payment.2"), sent(3, "other.1")];
    assert_eq!(dead_letters::insert(&pool, &letters).await.unwrap(), 2);
    let payments = "times = 2 and stream_sequence = 1 and resolved_at is null";
    assert_eq!(count(&pool, payments).await, 1);

    let handle = async |_: Origin| Ok(());
    dead_letters::run(&pool, Command::Replay(ids(&[1])), handle)
        .await
        .unwrap();
    dead_letters::run(&pool, Command::Discard(ids(&[2])), refuse)
        .await
        .unwrap();
    let again = [sent(4, "payment.3"), sent(5, "other.2")];
    assert_eq!(
        dead_letters::insert(&pool, &again).await.unwrap(),
        0,
        "none is new"
    );
    assert_eq!(
        count(&pool, "id = 1 and times = 3 and resolution is null").await,
        1
    );
    assert_eq!(
        count(&pool, "id = 2 and times = 2 and resolution = 'discarded'").await,
        1
    );
}

#[tokio::test]
async fn many_letters_are_ended_at_once_and_those_that_fail_are_told() {
    let pool = new_database().await;
    let mut letters: Vec<_> = (1..=4).map(|sequence| letter(sequence, b"x")).collect();
    letters[3].reason = "another reason".to_owned();
    dead_letters::insert(&pool, &letters).await.unwrap();
    let with_reason = Chosen {
        reason: Some("another".to_owned()),
        ..Chosen::default()
    };
    dead_letters::run(&pool, Command::Discard(with_reason), refuse)
        .await
        .unwrap();
    assert_eq!(count(&pool, "id = 4 and resolution = 'discarded'").await, 1);
    let odd_ones = async |origin: Origin| match origin.stream_sequence % 2 {
        1 => Ok(()),
        _ => Err("even".to_owned()),
    };
    let all = Chosen {
        all: true,
        ..Chosen::default()
    };
    let error = dead_letters::run(&pool, Command::Replay(all), odd_ones)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "1 of 3 dead letters are as they were");
    assert_eq!(count(&pool, "resolution = 'replayed'").await, 2);
}

#[tokio::test]
async fn letters_that_were_ended_and_come_no_more_are_removed_in_time_and_open_ones_never() {
    const LONG_AGO: &str = "clock_timestamp() - interval '91 days'";
    let pool = new_database().await;
    let letters: Vec<_> = (1..=5).map(|sequence| letter(sequence, b"x")).collect();
    dead_letters::insert(&pool, &letters).await.unwrap();
    dead_letters::run(&pool, Command::Discard(ids(&[1, 2, 3])), refuse)
        .await
        .unwrap();
    dead_letters::run(&pool, Command::Replay(ids(&[4])), async |_: Origin| Ok(()))
        .await
        .unwrap();
    for change in [
        format!("last_received_at = {LONG_AGO}, received_at = {LONG_AGO}"),
        // 2 was discarded just now, 3 came again just now.
        format!("resolved_at = {LONG_AGO} where id in (1, 3, 4)"),
        "last_received_at = clock_timestamp() where id = 3".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(format!("update dead_letters set {change}")))
            .execute(&pool)
            .await
            .unwrap();
    }
    assert_eq!(dead_letters::prune(&pool, 92).await.unwrap(), 0);
    assert_eq!(dead_letters::prune(&pool, 90).await.unwrap(), 2);
    assert_eq!(count(&pool, "id in (2, 3, 5)").await, 3);
    assert_eq!(count(&pool, "true").await, 3);
}

#[tokio::test]
async fn inserting_in_a_transaction_does_not_commit() {
    let pool = new_database().await;
    let mut tx = pool.begin().await.unwrap();
    dead_letters::insert_in_tx(&mut tx, &[letter(1, b"x")])
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(count(&pool, "true").await, 0);
}

#[tokio::test]
async fn a_letter_is_resolved_once_and_only_when_it_was_handled() {
    let pool = new_database().await;
    dead_letters::insert(&pool, &[letter(1, b"one"), letter(2, b"two")])
        .await
        .unwrap();

    let error = dead_letters::run(&pool, Command::Replay(ids(&[1])), refuse)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(r"still bad\u{1b}[2J"), "{error}");
    assert_eq!(count(&pool, "resolved_at is not null").await, 0);

    let handle = async |origin: Origin| {
        assert_eq!((origin.stream_sequence, &origin.body[..]), (1, &b"one"[..]));
        Ok(())
    };
    dead_letters::run(&pool, Command::Replay(ids(&[1])), handle)
        .await
        .unwrap();
    assert_eq!(count(&pool, "id = 1 and resolution = 'replayed'").await, 1);
    let again = async |_: Origin| -> Result<(), String> { panic!("a resolved letter is not handled again") };
    let error = dead_letters::run(&pool, Command::Replay(ids(&[1])), again)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("replayed already"), "{error}");

    dead_letters::run(&pool, Command::Discard(ids(&[2])), refuse)
        .await
        .unwrap();
    assert_eq!(count(&pool, "id = 2 and resolution = 'discarded'").await, 1);
    assert!(
        dead_letters::run(&pool, Command::Discard(ids(&[2])), refuse)
            .await
            .is_err()
    );
    assert!(
        dead_letters::run(&pool, Command::Replay(ids(&[2])), again)
            .await
            .is_err()
    );
    let error = dead_letters::run(&pool, Command::Show { id: 99, json: false }, refuse)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no dead letter 99"), "{error}");
    for json in [false, true] {
        for all in [false, true] {
            dead_letters::run(&pool, Command::List { all, json }, refuse)
                .await
                .unwrap();
        }
        dead_letters::run(&pool, Command::Show { id: 1, json }, refuse)
            .await
            .unwrap();
    }
}
