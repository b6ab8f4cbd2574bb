//! Sending again: what is due is taken once, for loss and not for slowness, and only while there is somebody to send to.

use std::time::Duration;

use invoice_app::{
    app::Parts, nats_incarnation::Looked, paying::Wanted, store::nats_incarnation::Incarnation, sweep::Swept,
    window::Window,
};
use local_stack::eventually;
use payment_contract::{streams::PAY_REQUESTS, trace::TraceParent};

use crate::{
    harness::{App, Options, database, parts},
    provider::{Nats, Provider},
};

async fn execute(app: &App, sql: &'static str) {
    sqlx::query(sql).execute(&app.pool).await.unwrap();
}

/// Messages the stream of requests was given.
async fn sent(parts: &Parts) -> u64 {
    let stream = parts
        .connection
        .own_jetstream()
        .get_stream(PAY_REQUESTS)
        .await
        .unwrap();
    stream.cached_info().state.last_sequence
}

/// Payments requested by a service that does nothing else, and two replicas to drive by hand.
async fn requested(count: i64, nats: &Nats) -> (App, [Parts; 2]) {
    let app = App::with(Options {
        background: false,
        ..Options::default()
    })
    .await;
    app.fill(count).await;
    app.post_async("/invoices/pay").await;
    let mut replicas = [
        parts(&app.pool, Some(&nats.url)).await,
        parts(&app.pool, Some(&nats.url)).await,
    ];
    replicas[0].incarnation.compare().await.unwrap();
    // The first look at a connection makes what was sent around it due.
    for replica in &mut replicas {
        replica.sweep.step().await.unwrap();
    }
    // Unconfirmed sends are stored a little later. The service itself has sent nothing.
    let claimed = app.count("select sum(sends - 1)::bigint from payments").await;
    eventually("they are stored", async || {
        i64::try_from(sent(&replicas[0]).await) == Ok(claimed)
    })
    .await
    .unwrap();
    (app, replicas)
}

#[tokio::test(flavor = "multi_thread")]
async fn due_rows_are_taken_once_by_two_concurrent_sweepers() {
    let nats = Nats::start().await;
    let (app, [mut one, mut other]) = Box::pin(requested(800, &nats)).await;
    let before = sent(&one).await;
    let _provider = Provider::silent(&nats.url).await;
    let mut window = Window::new(one.connection.clone());
    while window.room().await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    execute(
        &app,
        "update payments set next_send_at = now(), last_sent_at = null, sends = 5",
    )
    .await;
    let (first, second) = tokio::join!(sweep_all(&mut one), sweep_all(&mut other));
    assert_eq!(first + second, 800);
    assert_eq!(
        app.count("select count(*) from payments where sends = 6 and next_send_at > now()")
            .await,
        800
    );
    eventually("all are sent", async || sent(&one).await == before + 800)
        .await
        .unwrap();
}

/// Sends what is due as there is room; how many those were.
async fn sweep_all(replica: &mut Parts) -> usize {
    let mut sent = 0;
    loop {
        match replica.sweep.step().await.unwrap() {
            Swept::Due { rows, all } => {
                sent += rows;
                if all {
                    return sent;
                }
            }
            Swept::Full => tokio::time::sleep(Duration::from_millis(10)).await,
            Swept::Disconnected => panic!("NATS is there"),
        }
    }
}

/// A payment sent so long ago is due, and is sent again.
async fn is_sent_again(app: &App, replica: &mut Parts, waited: &'static str) {
    let before = sent(replica).await;
    execute(app, waited).await;
    assert_eq!(
        replica.sweep.step().await.unwrap(),
        Swept::Due { rows: 1, all: true }
    );
    eventually("it is sent again", async || sent(replica).await == before + 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_slow_provider_is_given_time_instead_of_the_same_request_again() {
    let nats = Nats::start().await;
    let (app, [mut replica, _]) = Box::pin(requested(1, &nats)).await;
    replica.store.set_outcome_latency(60_000.0).await.unwrap();
    let before = sent(&replica).await;
    execute(
        &app,
        "update payments set sends = 3, last_sent_at = now() - interval '100 s', next_send_at = now()",
    )
    .await;
    assert_eq!(
        replica.sweep.step().await.unwrap(),
        Swept::Due { rows: 1, all: true }
    );
    let put_off =
        "select count(*) from payments where next_send_at = last_sent_at + interval '120 s' and sends = 3";
    assert_eq!((app.count(put_off).await, sent(&replica).await), (1, before));

    let waited = "update payments set last_sent_at = now() - interval '121 s', next_send_at = now()";
    is_sent_again(&app, &mut replica, waited).await;
}

/// Two minutes without outcomes say nothing of how long they take.
#[tokio::test]
async fn the_patience_with_a_slow_provider_is_forgotten_after_two_minutes_without_outcomes() {
    let nats = Nats::start().await;
    let (app, [mut replica, _]) = Box::pin(requested(1, &nats)).await;
    replica.store.set_outcome_latency(60_000.0).await.unwrap();
    execute(
        &app,
        "update sender_patience set updated_at = now() - interval '121 s'",
    )
    .await;
    let waited = "update payments set last_sent_at = now() - interval '100 s', next_send_at = now()";
    is_sent_again(&app, &mut replica, waited).await;
}

#[tokio::test]
async fn each_send_doubles_the_wait_for_the_next_up_to_ten_minutes() {
    let nats = Nats::start().await;
    let (app, [mut replica, _]) = Box::pin(requested(1, &nats)).await;
    // A send that was made due, by a reconnect for one, says nothing of how long outcomes take: whatever came before it.
    for (waited, waits) in [
        (Some(30.0), 60.0),
        (Some(60.0), 120.0),
        (Some(240.0), 480.0),
        (Some(480.0), 600.0),
        (Some(1e6), 600.0),
        (None, 30.0),
    ] {
        sqlx::query(
            "update payments set sends = 12, next_send_at = now(),
                                 last_sent_at = clock_timestamp() - make_interval(secs => $1)",
        )
        .bind(waited)
        .execute(&app.pool)
        .await
        .unwrap();
        replica.sweep.step().await.unwrap();
        let wait: f64 = sqlx::query_scalar(
            "select extract(epoch from next_send_at - last_sent_at)::float8 from payments",
        )
        .fetch_one(&app.pool)
        .await
        .unwrap();
        // Some time passes between the two statements.
        assert!(
            (waits..=(waits + 10.0) * 1.2).contains(&wait),
            "after {waited:?} s: {wait}"
        );
    }
}

#[tokio::test]
async fn nothing_is_taken_while_nats_is_away() {
    let app = App::with(Options {
        background: false,
        ..Options::default()
    })
    .await;
    app.fill(3).await;
    app.post_async("/invoices/pay").await;
    execute(
        &app,
        "update payments set next_send_at = now(), last_sent_at = null",
    )
    .await;
    let mut replica = parts(&app.pool, None).await;
    assert_eq!(replica.sweep.step().await.unwrap(), Swept::Disconnected);
    assert_eq!(
        app.count("select count(*) from payments where sends = 1 and next_send_at <= now()")
            .await,
        3
    );
}

#[tokio::test]
async fn what_cannot_be_sent_at_first_is_due_at_once() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    app.pay(&invoice).await;
    app.fill(1000).await;
    app.post_async("/invoices/pay").await;
    let due = "select count(*) from payments where next_send_at <= now() and last_sent_at is null";
    eventually("all are due", async || app.count(due).await == 1001)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_sent_just_before_a_disconnect_is_sent_again() {
    let nats = Nats::start().await;
    let (app, [mut replica, _]) = Box::pin(requested(2, &nats)).await;
    let long_ago = "update payments set last_sent_at = now() - interval '1 hour', next_send_at = now() + interval '1 hour'
                    where id = (select id from payments order by id limit 1)";
    execute(
        &app,
        "update payments set last_sent_at = now(), next_send_at = now() + interval '1 hour'",
    )
    .await;
    execute(&app, long_ago).await;
    nats.server.stop().await;
    eventually("gone", async || !replica.connection.is_connected())
        .await
        .unwrap();
    assert_eq!(replica.sweep.step().await.unwrap(), Swept::Disconnected);
    nats.server.start_again().await.unwrap();
    eventually("back", async || replica.connection.is_connected())
        .await
        .unwrap();
    assert_eq!(
        replica.sweep.step().await.unwrap(),
        Swept::Due { rows: 1, all: true }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_that_forgot_makes_everything_due_exactly_once_across_replicas() {
    let nats = Nats::start().await;
    let provider = Provider::silent(&nats.url).await;
    let (app, mut replicas) = Box::pin(requested(20, &nats)).await;
    let again = async |replicas: &mut [Parts; 2]| {
        let mut forgot = Vec::new();
        for replica in replicas {
            eventually("connected", async || replica.connection.is_connected())
                .await
                .unwrap();
            loop {
                match replica.incarnation.compare().await {
                    Ok(Looked::Compared(Incarnation::Forgot(due))) => forgot.push(due),
                    Ok(Looked::Compared(_)) => break,
                    Ok(Looked::PeerMissing) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
        forgot
    };
    assert!(again(&mut replicas).await.is_empty());
    execute(
        &app,
        "update payments set last_sent_at = now(), next_send_at = now() + interval '1 hour'",
    )
    .await;
    assert!(again(&mut replicas).await.is_empty());

    nats.server.kill9().await;
    nats.server.wipe_store().unwrap();
    nats.server.start_again().await.unwrap();
    assert_eq!(again(&mut replicas).await, [20]);
    let due =
        "select count(*) from payments where next_send_at <= clock_timestamp() and last_sent_at is null";
    assert_eq!(app.count(due).await, 20);
    drop(provider);
}

#[tokio::test]
async fn a_first_sight_of_nats_makes_due_what_may_have_gone_nowhere() {
    let pool = database().await;
    let nats = Nats::start().await;
    let _provider = Provider::silent(&nats.url).await;
    let app = App::with(Options {
        database: Some(pool),
        background: false,
        ..Options::default()
    })
    .await;
    app.fill(2).await;
    app.post_async("/invoices/pay").await;
    let mut replica = parts(&app.pool, Some(&nats.url)).await;
    execute(
        &app,
        "update payments set last_sent_at = now(), next_send_at = now() + interval '1 hour'",
    )
    .await;
    // The provider makes its durable at its own pace.
    let mut looked = replica.incarnation.compare().await.unwrap();
    while looked == Looked::PeerMissing {
        looked = replica.incarnation.compare().await.unwrap();
    }
    assert_eq!(looked, Looked::Compared(Incarnation::FirstSeen));
    let due =
        "select count(*) from payments where next_send_at <= clock_timestamp() and last_sent_at is null";
    assert_eq!(app.count(due).await, 2);
    assert_eq!(
        replica.incarnation.compare().await.unwrap(),
        Looked::Compared(Incarnation::Same)
    );
}

#[tokio::test]
async fn a_large_call_leaves_room_for_single_ones() {
    let nats = Nats::start().await;
    let pool = database().await;
    let mut replica = parts(&pool, Some(&nats.url)).await;
    replica.incarnation.compare().await.unwrap();
    let add = "insert into invoices (id, number, amount_minor, currency)
               select uuidv7(), 'N' || n, 100, 'EUR' from generate_series($1::int, $2) n returning id";
    let ids = async |from: i32, to: i32| -> Vec<uuid::Uuid> {
        let query = sqlx::query_scalar(add).bind(from).bind(to);
        query.fetch_all(&pool).await.unwrap()
    };
    ids(1, 2500).await;
    let trace = TraceParent::generate;
    replica
        .paying
        .pay_many(Wanted::default(), None, None, trace())
        .await
        .unwrap();
    let single = ids(2501, 2501).await;
    replica.sender.step(None).await;
    replica
        .paying
        .pay_one(single[0].into(), None, None, trace(), None)
        .await
        .unwrap();
    for _ in 0..3 {
        replica.sender.step(None).await;
    }
    eventually(
        "a page and the single one are sent, and no more while nobody fetches them",
        async || sent(&replica).await == 17,
    )
    .await
    .unwrap();
    // What is due waits for room as well.
    assert_eq!(replica.sweep.step().await.unwrap(), Swept::Full);

    let _provider = Provider::silent(&nats.url).await;
    // As they are fetched.
    while sent(&replica).await < 2501 {
        replica.sender.step(None).await;
    }
}
