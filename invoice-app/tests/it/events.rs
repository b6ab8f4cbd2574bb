//! The feed of events: what is told, and to whom. That nothing is told twice or never: `event_gaps.rs`.

use invoice_app::config::Limits;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    event_reader::{EventReader, Sent},
    harness::{App, Options, answer, declined, id, limits, succeeded},
};

fn types(sent: &[Sent]) -> Vec<&str> {
    sent.iter()
        .map(|sent| sent.data["type"].as_str().unwrap_or("batch"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_told_as_it_left_the_invoice() {
    let app = App::start().await;
    let mut reader = EventReader::connected(&app, "").await;
    assert_eq!(reader.retry.as_deref(), Some("2000"));
    let (_, created) = app.post("/invoices", crate::harness::new("E1", "1.00")).await;
    let invoice = id(&created);
    let shown = async || {
        let (_, mut shown) = app.get(&format!("/invoices/{invoice}")).await;
        shown.as_object_mut().unwrap().remove("payments");
        shown
    };
    let mut states = vec![shown().await];
    let first = app.pay(&invoice).await;
    states.push(shown().await);
    app.settle(&[declined(&first, &invoice)]).await;
    states.push(shown().await);
    let second = app.pay(&invoice).await;
    states.push(shown().await);
    app.settle(&[succeeded(&second, &invoice)]).await;
    states.push(shown().await);

    let mut live = Vec::new();
    while live.len() < states.len() {
        live.push(reader.next().await.unwrap());
    }
    let kinds = [
        "invoice.created",
        "invoice.pending",
        "invoice.declined",
        "invoice.pending",
        "invoice.paid",
    ];
    assert_eq!(types(&live), kinds);
    for (sent, state) in live.iter().zip(&states) {
        assert_eq!(sent.name, "invoice");
        assert_eq!(&sent.data["data"], state);
        assert_eq!(sent.data["subject"], json!(invoice));
        assert_eq!(sent.data["specversion"], "1.0");
        assert_eq!(sent.data["id"], json!(sent.id));
        assert_eq!(sent.data["source"], "/invoices");
        assert!(sent.data["time"].as_str().unwrap().ends_with('Z'));
    }
    // Read again, after all of it has happened, it is the same.
    let mut again = EventReader::connected(&app, "?follow=false").await;
    assert_eq!(again.rest().await, live);

    let void = app.invoice("E2", "1.00").await;
    app.post(&format!("/invoices/{void}/void"), json!({})).await;
    let told = [reader.next().await.unwrap(), reader.next().await.unwrap()];
    assert_eq!(types(&told), ["invoice.created", "invoice.voided"]);
    assert_eq!(told[1].data["data"]["status"], "void");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_let_through_what_was_asked_for() {
    let app = App::start().await;
    let (mine, other) = (app.invoice("F1", "1.00").await, app.invoice("F2", "1.00").await);
    let body = json!({"ids": [mine]});
    let call = app
        .request(Method::POST, "/invoices/pay")
        .header("prefer", "respond-async");
    let (_, batch) = answer(call.json(&body)).await;
    let batch = batch["batch_id"].as_str().unwrap().to_owned();
    let single = app.pay(&other).await;
    app.settle(&[succeeded(&single, &other)]).await;

    let read = async |filter: &str| {
        let mut reader = EventReader::connected(&app, &format!("?follow=false&{filter}")).await;
        reader.rest().await
    };
    let of_mine = read(&format!("invoice_id={mine}")).await;
    assert_eq!(types(&of_mine), ["invoice.created", "invoice.pending"]);
    let of_batch = read(&format!("batch_id={batch}")).await;
    assert_eq!(types(&of_batch), ["invoice.pending", "batch"]);
    let (_, now) = app.get(&format!("/payment-batches/{batch}")).await;
    assert_eq!((of_batch[1].name.as_str(), &of_batch[1].data), ("batch", &now));
    let paid = read("type=invoice.paid").await;
    assert_eq!(types(&paid), ["invoice.paid"]);
    assert_eq!(types(&read("type=batch").await), ["batch"]);

    // A listener to a batch hears at once how it stands, and then how it goes on.
    let mut follower = EventReader::connected(&app, &format!("?type=batch&batch_id={batch}")).await;
    assert_eq!(follower.next().await.unwrap().data, now);
    let (_, shown) = app.get(&format!("/invoices/{mine}")).await;
    let payment = shown["last_payment"]["id"].as_str().unwrap();
    app.settle(&[succeeded(payment, &mine)]).await;
    while follower.next().await.unwrap().data["paid"] != 1 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_tell_the_same_as_the_stream() {
    let app = App::start().await;
    app.fill(3).await;
    for number in 0..7 {
        app.invoice(&format!("P{number}"), "1.00").await;
    }
    app.post_async("/invoices/pay").await;
    let page = async |query: &str| {
        let request = app.request(Method::GET, &format!("/events{query}"));
        let (status, page) = answer(request.header("accept", "application/json")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page
    };
    let mut paged = Vec::new();
    let mut query = "?limit=4".to_owned();
    let last = loop {
        let page = page(&query).await;
        paged.extend(page["events"].as_array().unwrap().clone());
        match &page["next_cursor"] {
            Value::String(cursor) => query = format!("?limit=4&cursor={cursor}"),
            _ => break page,
        }
    };
    let mut stream = EventReader::connected(&app, "?follow=false").await;
    let mut streamed = stream.rest().await;
    let batch = streamed.pop().unwrap();
    assert_eq!(last["batches"], json!([batch.data]));
    let streamed: Vec<Value> = streamed.into_iter().map(|sent| sent.data).collect();
    assert_eq!(paged, streamed);
    // The ones that were put there without the service are told from their payment on.
    assert_eq!(paged.len(), 7 + 10);

    let later = format!("?cursor={}", last["last_event_id"].as_str().unwrap());
    assert_eq!(page(&later).await["events"], json!([]));
    app.invoice("later", "1.00").await;
    assert_eq!(page(&later).await["events"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_ids_are_refused_and_forgotten_ones_are_gone() {
    let app = App::start().await;
    let mut reader = EventReader::connected(&app, "").await;
    let start = reader.last_id.clone().unwrap();
    app.invoice("A", "1.00").await;
    let first = reader.next().await.unwrap();
    app.invoice("B", "1.00").await;
    let second = reader.next().await.unwrap();
    let ask = async |last: &str| {
        let request = app.request(Method::GET, "/events?follow=false");
        let (status, body) = answer(request.header("last-event-id", last)).await;
        (status.as_u16(), body)
    };
    for forged in ["1", "AAAA", "!", "é", "00000000-0000-0000-0000-000000000000"] {
        let (status, problem) = ask(forged).await;
        assert_eq!(status, 400, "{forged}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains("Last-Event-ID"),
            "{problem}"
        );
    }
    // Of another database, and of the future of this one.
    for foreign in [28, 44] {
        use base64::Engine as _;
        let foreign = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![7; foreign]);
        assert_eq!(ask(&foreign).await.0, 410);
    }
    let future = invoice_app::event::Position {
        transaction: u64::MAX,
        ..first.id.parse().unwrap()
    };
    assert_eq!(ask(&future.to_string()).await.0, 410);

    sqlx::query("update invoice_changes set at = at - interval '8 days' where xid = (select min(xid) from invoice_changes)")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(app.store.prune_changes(7).await.unwrap(), 1);
    let (status, problem) = ask(&start).await;
    assert_eq!(status, 410, "{problem}");
    assert!(
        problem["type"].as_str().unwrap().ends_with("events-forgotten"),
        "{problem}"
    );
    assert_eq!(ask(&second.id).await.0, 200);
    let mut kept = EventReader::connected(&app, "?follow=false").await;
    assert_eq!(kept.rest().await, std::slice::from_ref(&second));

    // The last one stays, so that a week in which nothing happens is no gap.
    sqlx::query("update invoice_changes set at = at - interval '8 days'")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(app.store.prune_changes(7).await.unwrap(), 0);
    assert_eq!(ask(&second.id).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_of_a_restored_dump_begins_anew() {
    let app = App::start().await;
    app.invoice("A", "1.00").await;
    assert!(!app.store.forget_foreign_changes().await.unwrap());
    // As restored from another cluster, which was far ahead.
    for sql in [
        "update invoice_changes_kept set system_identifier = 1",
        "update invoice_changes set xid = '1000000000000'",
    ] {
        sqlx::query(sql).execute(&app.pool).await.unwrap();
    }
    assert!(app.store.forget_foreign_changes().await.unwrap());
    let invoice = app.invoice("B", "1.00").await;
    let mut reader = EventReader::connected(&app, "?follow=false").await;
    let told = reader.rest().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].data["subject"], json!(invoice));
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_may_listen_without_places_or_connections_and_stopping_ends_them_at_once() {
    let limits = Limits {
        max_in_flight: 2,
        max_listeners: 500,
        ..limits()
    };
    let app = App::with(Options {
        limits,
        ..Options::default()
    })
    .await;
    let mut readers = Vec::new();
    for _ in 0..500 {
        readers.push(EventReader::connected(&app, "").await);
    }
    let refused = EventReader::new("").ask(&app).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let invoice = app.invoice("A", "1.00").await;
    for reader in &mut readers {
        assert_eq!(reader.next().await.unwrap().data["subject"], json!(invoice));
    }
    // One that goes makes room.
    readers.pop();
    local_stack::eventually("there is room", async || {
        let asked = EventReader::new("?follow=false").ask(&app).await;
        asked.status() == StatusCode::OK
    })
    .await
    .unwrap();
    app.stop.cancel();
    for reader in &mut readers {
        assert_eq!(reader.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_stream_shows_that_it_lives_and_moves_on_past_what_it_does_not_tell() {
    let app = App::start().await;
    let mut reader = EventReader::connected(&app, "?type=invoice.voided").await;
    let start = reader.last_id.clone();
    app.invoice("A", "1.00").await;
    while reader.comments == 0 {
        reader.read().await.unwrap();
    }
    assert_ne!(reader.last_id, start);
    // Whoever goes on from there hears nothing of A, and all that comes after it.
    app.invoice("B", "1.00").await;
    let mut next = EventReader::new("?follow=false");
    next.last_id = reader.last_id;
    next.connect(&app).await;
    let told = next.rest().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].data["data"]["number"], "B");
}
