//! Delivery while NATS is well: batches, decisions, slots, dead letters, shutdown.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use jetstream::{
    delivery::{Decision, Settings, handle_one},
    publish::{Outgoing, Publisher},
};
use local_stack::eventually;
use payment_contract::trace::TraceParent;

use crate::{
    fixture::{ACK_WAIT, Pair, outgoing, pay_request},
    recorder::{Action, Recorder, SETTINGS, durable, pending, publish, start, until_nothing_is_left},
};

#[tokio::test]
async fn messages_are_handled_in_batches_and_acked() {
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    publish(&pair, 0..2000).await;
    let _running = start(&pair, SETTINGS, &handler);
    handler.until_done(2000).await;
    until_nothing_is_left(&pair).await;
    let batches = handler.batches.lock().unwrap().clone();
    assert!(batches.iter().all(|size| *size <= SETTINGS.max_batch));
    assert!(
        batches.len() < 2000 / 4,
        "{} batches: handled one by one",
        batches.len()
    );
    assert!(
        !pair.server.log().contains("Permissions Violation"),
        "{}",
        pair.server.log()
    );
}

#[tokio::test]
async fn at_rest_a_message_is_handled_at_once() {
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let _running = start(&pair, SETTINGS, &handler);
    publish(&pair, 0..1).await;
    handler.until_done(1).await;
    let mut slowest = Duration::ZERO;
    for number in 1..20 {
        let began = Instant::now();
        publish(&pair, number..number + 1).await;
        while handler.done() <= number {
            assert!(began.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}

#[tokio::test]
async fn the_trace_and_the_message_as_it_came_reach_the_handler() {
    let pair = Pair::start().await;
    let handler = Recorder::new(|_, _| Action::Decide(Decision::Reject("not today".to_owned())));
    let (request, trace) = (pay_request(1), TraceParent::generate());
    let message = Outgoing {
        traceparent: Some(trace.to_string()),
        ..outgoing(&request, 1)
    };
    Publisher::new(pair.invoice_app.clone())
        .send(vec![message])
        .await
        .unwrap();
    let _running = start(&pair, SETTINGS, &handler);
    handler.until_dead_lettered(1).await;
    let letter = handler.letters.lock().unwrap()[0].clone();
    assert_eq!(letter.reason, "not today");
    assert_eq!(letter.origin.subject, "pay.v1.request.eur");
    assert_eq!(letter.origin.stream_sequence, 1);
    assert_eq!(letter.origin.body, request.encode());
    let headers = format!(
        "NATS/1.0\r\nNats-Msg-Id: {}.1\r\ncontent-type: application/json\r\ntraceparent: {trace}\r\n\r\n",
        request.payment_id
    );
    assert_eq!(String::from_utf8_lossy(&letter.origin.headers), headers);
    until_nothing_is_left(&pair).await;

    // The same letter, replayed to a handler that knows better.
    let wiser = Recorder::done_at_once();
    assert_eq!(handle_one(&wiser, (*letter.origin).clone()).await, Decision::Done);
    let silent = Recorder::new(|_, _| Action::Ignore);
    assert!(matches!(
        handle_one(&silent, (*letter.origin).clone()).await,
        Decision::Retry(_)
    ));
}

#[tokio::test]
async fn a_retry_comes_after_its_delay_and_what_is_left_undecided_comes_again() {
    let pair = Pair::start().await;
    let delay = Duration::from_millis(700);
    let handler = Recorder::new(
        move |request, delivery| match (request.invoice_number.as_str(), delivery) {
            ("I0", 1) => Action::Decide(Decision::Retry(delay)),
            ("I1", 1) => Action::Decide(Decision::Retry(Duration::ZERO)),
            ("I2", 1..=2) => Action::Ignore,
            ("I3", 1) => Action::Panic,
            _ => Action::Decide(Decision::Done),
        },
    );
    let _running = start(&pair, SETTINGS, &handler);
    publish(&pair, 0..1).await;
    eventually("the first delivery", || async { handler.deliveries("I0") == 1 })
        .await
        .unwrap();
    let began = Instant::now();
    publish(&pair, 1..3).await;
    // Alone: a panic takes the whole batch along.
    eventually("the others", || async { handler.done() >= 2 })
        .await
        .unwrap();
    publish(&pair, 3..4).await;
    handler.until_done(4).await;
    assert!(
        began.elapsed() + Duration::from_millis(100) >= delay,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(handler.deliveries("I0"), 2);
    assert_eq!(handler.deliveries("I1"), 2);
    assert_eq!(handler.deliveries("I2"), 3);
    assert_eq!(handler.deliveries("I3"), 2);
    until_nothing_is_left(&pair).await;
}

#[tokio::test]
async fn slow_work_is_kept_alive_and_not_delivered_twice() {
    let pair = Pair::start().await;
    let handler = Recorder::new(|request, _| match request.invoice_number.as_str() {
        "I0" => Action::Take(ACK_WAIT * 3),
        _ => Action::Decide(Decision::Done),
    });
    publish(&pair, 0..100).await;
    let _running = start(&pair, SETTINGS, &handler);
    // One slow message holds up none of the others, in its batch or after it.
    handler.until_done(99).await;
    handler.until_done(100).await;
    until_nothing_is_left(&pair).await;
    assert!((0..100).all(|number| handler.deliveries(&format!("I{number}")) == 1));
}

#[tokio::test]
async fn work_without_progress_is_left_to_another_replica() {
    let pair = Pair::start().await;
    let handler = Recorder::new(|_, delivery| match delivery {
        1 => Action::Hold,
        _ => Action::Decide(Decision::Done),
    });
    publish(&pair, 0..1).await;
    // Whoever has room gets it, here the same one.
    let _running = start(&pair, SETTINGS, &handler);
    handler.until_done(1).await;
    assert_eq!(handler.deliveries("I0"), 2);
}

#[tokio::test]
async fn the_slots_bound_what_is_in_flight_and_each_decision_frees_one() {
    let pair = Pair::start().await;
    let handler = Recorder::new(|_, _| Action::Hold);
    let settings = Settings {
        slots: 10,
        max_batch: 4,
        ..SETTINGS
    };
    publish(&pair, 0..200).await;
    let _running = start(&pair, settings, &handler);
    eventually("all slots taken", || async {
        handler.most_in_flight.load(Ordering::SeqCst) == 10
    })
    .await
    .unwrap();
    for released in 1..=200 {
        handler.gate.add_permits(1);
        if released % 20 == 0 {
            let unacked = pending(&pair).await.unacked;
            assert!(unacked <= 10, "{unacked} unacked");
            handler.until_done(released).await;
        }
    }
    until_nothing_is_left(&pair).await;
    assert_eq!(handler.most_in_flight.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn what_cannot_be_decoded_is_dead_lettered_and_then_terminated() {
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let bodies: [&[u8]; 6] = [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"null",
        b"{\"payment_id\":\"x\"}",
        &[b'['; 5000],
    ];
    for body in bodies {
        pair.invoice_app
            .client()
            .publish("pay.v1.request.eur", body.to_vec().into())
            .await
            .unwrap();
    }
    publish(&pair, 0..10).await;
    let _running = start(&pair, SETTINGS, &handler);
    handler.until_done(10).await;
    handler.until_dead_lettered(bodies.len()).await;
    until_nothing_is_left(&pair).await;
    let mut letters = handler.letters.lock().unwrap().clone();
    letters.sort_by_key(|letter| letter.origin.stream_sequence);
    for (letter, body) in letters.iter().zip(bodies) {
        assert_eq!(letter.origin.body, body);
        assert!(letter.origin.headers.is_empty());
        assert!(
            letter.reason.starts_with("not a valid message"),
            "{}",
            letter.reason
        );
        assert!(matches!(
            handle_one(&handler, (*letter.origin).clone()).await,
            Decision::Reject(_)
        ));
    }
}

#[tokio::test]
async fn an_empty_message_takes_none_along_that_comes_after_it() {
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    let _running = start(&pair, SETTINGS, &handler);
    for empty in 1..=3 {
        pair.invoice_app
            .client()
            .publish("pay.v1.request.eur", "".into())
            .await
            .unwrap();
        handler.until_dead_lettered(empty).await;
        let first = empty * 10;
        publish(&pair, first..first + 10).await;
        handler.until_done(empty * 10).await;
    }
    until_nothing_is_left(&pair).await;
    // Sent where nobody hears them, they would come a second time after the ack wait.
    let delivered = durable(&pair).await.cached_info().delivered;
    assert_eq!(delivered.consumer_sequence, delivered.stream_sequence);
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_stored_is_not_lost() {
    let pair = Pair::start().await;
    let handler = Recorder::done_at_once();
    handler.dead_letters_to_fail.store(3, Ordering::SeqCst);
    let _running = start(&pair, SETTINGS, &handler);
    pair.invoice_app
        .client()
        .publish("pay.v1.request.eur", "{".into())
        .await
        .unwrap();
    handler.until_dead_lettered(1).await;
    until_nothing_is_left(&pair).await;
    assert_eq!(handler.dead_letters_to_fail.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_takes_nothing_new() {
    let pair = Pair::start().await;
    let handler = Recorder::new(|_, _| Action::Take(Duration::from_millis(500)));
    publish(&pair, 0..1000).await;
    let mut running = start(&pair, SETTINGS, &handler);
    eventually("all slots taken", || async { handler.seen() >= SETTINGS.slots })
        .await
        .unwrap();
    running.stop.cancel();
    (&mut running.task).await.unwrap();
    let (seen, done) = (handler.seen(), handler.done());
    assert_eq!(seen, done, "what was begun was finished");
    assert!(done < 1000, "stopped in the middle");
    // Everything begun is acked, everything else is there for the next one at once.
    let handler = Recorder::done_at_once();
    let _running = start(&pair, SETTINGS, &handler);
    let began = Instant::now();
    until_nothing_is_left(&pair).await;
    assert_eq!(handler.done(), 1000 - done);
    assert!(
        began.elapsed() < ACK_WAIT,
        "something had to wait for its ack wait: {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn stopping_under_load_leaves_nothing_that_has_to_wait() {
    let pair = Pair::start().await;
    // More slots than the handler needs: at every moment a pull with room for more is under way.
    let settings = Settings {
        slots: 2000,
        max_batch: 500,
        ..SETTINGS
    };
    publish(&pair, 0..5000).await;
    let first = Recorder::done_at_once();
    let mut running = start(&pair, settings, &first);
    eventually("some work", || async { first.done() > 0 })
        .await
        .unwrap();
    running.stop.cancel();
    let began = Instant::now();
    (&mut running.task).await.unwrap();
    assert!(pending(&pair).await.unacked > 0, "messages were on their way");
    let second = Recorder::done_at_once();
    let _running = start(&pair, settings, &second);
    until_nothing_is_left(&pair).await;
    assert_eq!(first.done() + second.done(), 5000);
    assert!(
        began.elapsed() < ACK_WAIT * 3 / 4,
        "some were delivered to nobody: {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn stopping_sends_the_acks_that_wait_for_others() {
    let pair = Pair::start().await;
    for round in 0..20 {
        let handler = Recorder::done_at_once();
        let mut running = start(&pair, SETTINGS, &handler);
        publish(&pair, round..round + 1).await;
        handler.until_done(1).await;
        running.stop.cancel();
        (&mut running.task).await.unwrap();
        eventually("its ack", || async { pending(&pair).await.unacked == 0 })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn stopping_gives_back_what_takes_too_long() {
    let pair = Pair::start().await;
    let handler = Recorder::new(|_, _| Action::Hold);
    publish(&pair, 0..5).await;
    let settings = Settings {
        drain: Duration::from_millis(300),
        ..SETTINGS
    };
    let mut running = start(&pair, settings, &handler);
    eventually("work in flight", || async { handler.seen() == 5 })
        .await
        .unwrap();
    running.stop.cancel();
    let began = Instant::now();
    (&mut running.task).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let handler = Recorder::done_at_once();
    let _running = start(&pair, SETTINGS, &handler);
    handler.until_done(5).await;
    assert!(
        began.elapsed() < ACK_WAIT,
        "given back, not timed out: {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn two_processes_share_the_work() {
    let pair = Pair::start().await;
    let (one, two) = (Recorder::done_at_once(), Recorder::done_at_once());
    let settings = Settings {
        slots: 8,
        max_batch: 4,
        ..SETTINGS
    };
    let _running = (start(&pair, settings, &one), start(&pair, settings, &two));
    publish(&pair, 0..2000).await;
    eventually("the end of the work", || async {
        one.done() + two.done() == 2000
    })
    .await
    .unwrap();
    assert!(
        one.done() > 100 && two.done() > 100,
        "{} and {}",
        one.done(),
        two.done()
    );
}
