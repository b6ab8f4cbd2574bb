//! Messages nobody can handle: kept, shown to an operator, replayed or discarded, and in nobody's way.

use bytes::Bytes;
use jetstream::delivery::Origin;
use payment_contract::{Money, messages::PayRequestV1};
use service::dead_letters::{Chosen, Command, replay, run};

use crate::{
    delivered::Running,
    support::{World, request},
};

async fn reasons(world: &World) -> Vec<(i64, String)> {
    sqlx::query_as("select id, reason from dead_letters where resolved_at is null order by id")
        .fetch_all(&world.pool)
        .await
        .unwrap()
}

/// Publishes bytes as invoice-app, as they are.
async fn send_raw(running: &Running, body: impl Into<Bytes>) {
    let published = running
        .invoice_app
        .own_jetstream()
        .publish("pay.v1.request.eur", body.into())
        .await;
    published.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_kept_as_it_came_and_holds_nobody_up() {
    let world = World::start().await;
    let running = Running::start(&world, world.provider()).await;
    let good = request("12.15", "EUR");
    let poison: [&[u8]; 5] = [
        b"",
        b"not json",
        b"{\"payment_id\":\"nobody\"}",
        b"\xff\x00\xfe",
        b"{\"payment_id\":null}",
    ];
    for body in poison {
        send_raw(&running, body.to_vec()).await;
    }
    running.send(std::slice::from_ref(&good)).await;
    running.all_decided().await;
    world.heard(good.payment_id, 1).await;
    let bodies: Vec<Vec<u8>> = sqlx::query_scalar("select body from dead_letters order by stream_sequence")
        .fetch_all(&world.pool)
        .await
        .unwrap();
    assert_eq!(bodies, poison);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicting_request_is_kept_with_its_reason() {
    let world = World::start().await;
    let running = Running::start(&world, world.provider()).await;
    let right = request("12.15", "EUR");
    running.send(std::slice::from_ref(&right)).await;
    running.all_decided().await;
    let wrong = PayRequestV1 {
        amount: Money::parse("9999.00", "EUR").unwrap(),
        ..right.clone()
    };
    send_raw(&running, serde_json::to_vec(&wrong).unwrap()).await;
    running.all_decided().await;
    let kept = reasons(&world).await;
    assert_eq!(kept.len(), 1);
    assert!(kept[0].1.starts_with("conflict"), "{kept:?}");
    assert_eq!(world.bank.pays(right.payment_id), 1);
    running.stop().await;
}

#[tokio::test]
async fn replayed_request_is_paid_and_a_still_bad_one_stays() {
    let world = World::start().await;
    let provider = std::sync::Arc::new(world.provider());
    let good = request("12.15", "EUR");
    let letters = [serde_json::to_vec(&good).unwrap(), b"not json".to_vec()].map(|body| {
        let origin = Origin {
            subject: "pay.v1.request.eur".to_owned(),
            stream_sequence: 7,
            headers: Bytes::new(),
            body: body.into(),
        };
        jetstream::delivery::DeadLetter {
            reason: "an old version could not read it".to_owned(),
            origin: origin.into(),
        }
    });
    for _ in 0..2 {
        service::dead_letters::insert(&world.pool, &letters)
            .await
            .unwrap();
    }
    let kept = reasons(&world).await;
    assert_eq!(kept.len(), 2, "the same letter is kept once");

    let again = async |id| {
        run(&world.pool, Command::Replay(only(id)), async |origin: Origin| {
            replay(&provider, origin, "later").await
        })
        .await
    };
    again(kept[0].0).await.unwrap();
    world.heard(good.payment_id, 1).await;
    assert_eq!(world.charges(&good).await, 1);
    assert!(again(kept[1].0).await.is_err(), "it is still not a request");
    assert!(again(kept[0].0).await.is_err(), "it was replayed already");
    assert_eq!(reasons(&world).await, kept[1..]);

    let never = async |_: Origin| Err("not asked for".to_owned());
    run(&world.pool, Command::Discard(only(kept[1].0)), never)
        .await
        .unwrap();
    assert!(reasons(&world).await.is_empty());
}

fn only(id: i64) -> Chosen {
    Chosen {
        ids: vec![id],
        ..Chosen::default()
    }
}
