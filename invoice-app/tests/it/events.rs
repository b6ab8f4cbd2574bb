//! The feed of events: what is told, to whom, and that nothing is told twice or never.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use invoice_app::config::Limits;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{
    event_reader::{EventReader, Sent},
    harness::{App, Options, answer, database, declined, id, succeeded},
    provider::{Nats, Provider},
};

fn types(sent: &[Sent]) -> Vec<&str> {
    sent.iter()
        .map(|sent| sent.data["type"].as_str().unwrap_or("batch"))
        .collect()
}

/// What the database says has happened to each invoice, by its type.
async fn expected(pool: &PgPool) -> HashMap<(String, &'static str), i64> {
    let mut expected = HashMap::new();
    for (kind, sql) in [
        ("invoice.created", "select id::text, 1::bigint from invoices"),
        (
            "invoice.pending",
            "select invoice_id::text, count(*) from payments group by invoice_id",
        ),
        (
            "invoice.paid",
            "select invoice_id::text, count(*) from payments where status = 'succeeded' group by invoice_id",
        ),
        (
            "invoice.declined",
            "select invoice_id::text, count(*) from payments where status = 'declined' group by invoice_id",
        ),
        (
            "invoice.voided",
            "select id::text, 1::bigint from invoices where status = 'void'",
        ),
    ] {
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(pool).await.unwrap();
        expected.extend(rows.into_iter().map(|(id, count)| ((id, kind), count)));
    }
    expected
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
async fn transaction_that_commits_late_is_not_skipped() {
    let app = App::start().await;
    let mut reader = EventReader::connected(&app, "").await;
    let late = app.invoice("late", "1.00").await;
    assert_eq!(reader.next().await.unwrap().data["subject"], json!(late));
    // It writes first, and others commit while it is held open.
    let mut tx = app.pool.begin().await.unwrap();
    sqlx::query("insert into invoice_changes (kind, at, ids) values ('created', now(), array[$1::uuid])")
        .bind(uuid::Uuid::parse_str(&late).unwrap())
        .execute(&mut *tx)
        .await
        .unwrap();
    let others = [app.invoice("B", "1.00").await, app.invoice("C", "1.00").await];
    assert_eq!(
        reader.next_within(Duration::from_secs(1)).await,
        None,
        "told too early"
    );
    tx.commit().await.unwrap();
    let expected = [late, others[0].clone(), others[1].clone()];
    for invoice in expected {
        assert_eq!(reader.next().await.unwrap().data["subject"], json!(invoice));
    }
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
    assert_eq!(kept.rest().await, [second]);
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
        ..Limits::default()
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
    crate::harness::eventually("there is room", async || {
        let asked = EventReader::new("?follow=false").ask(&app).await;
        (asked.status() == StatusCode::OK).then_some(())
    })
    .await;
    app.stop.cancel();
    for reader in &mut readers {
        assert_eq!(reader.next().await, None);
    }
}

/// How often each thing was told of each invoice.
type Heard = HashMap<(String, String), i64>;

/// Hears every event until so many are paid, cut off about every so many events and back at either replica.
async fn hear(apps: Arc<[App; 2]>, cut_every: u32, paid: usize) -> Heard {
    let mut random = rand::rngs::StdRng::seed_from_u64(u64::from(cut_every));
    let mut reader = EventReader::new("?type=invoice.created,invoice.pending,invoice.paid,invoice.declined");
    reader.connect(&apps[0]).await;
    let (mut heard, mut ids) = (Heard::new(), HashSet::new());
    let (mut left, mut cuts) = (paid, 0);
    while left > 0 {
        let Some(sent) = reader.next().await else {
            panic!("the stream ended before {left} were paid");
        };
        assert!(ids.insert(sent.id.clone()), "told twice: {sent:?}");
        let kind = sent.data["type"].as_str().unwrap().to_owned();
        left -= usize::from(kind == "invoice.paid");
        let subject = sent.data["subject"].as_str().unwrap().to_owned();
        *heard.entry((subject, kind)).or_default() += 1;
        if random.random_range(0..cut_every) == 0 {
            cuts += 1;
            reader.cut();
            reader.connect(&apps[random.random_range(0..2)]).await;
        }
    }
    assert!(cuts > 0, "never cut off");
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_cut_off_at_random_hear_everything_once_from_either_replica() {
    let nats = Nats::start().await;
    let _provider = Provider::start(&nats.url).await;
    let pool = database().await;
    let replica = async || {
        let own = PgPoolOptions::new().max_connections(12);
        App::with(Options {
            nats: Some(nats.url.clone()),
            database: Some(own.connect_lazy_with((*pool.connect_options()).clone())),
            ..Options::default()
        })
        .await
    };
    let apps = Arc::new([replica().await, replica().await]);
    let readers = [1000, 10_000].map(|cut_every| tokio::spawn(hear(Arc::clone(&apps), cut_every, 20_004)));
    // Only from now on: they must have come before anything is told.
    crate::harness::eventually("they listen", async || (apps[0].listeners() == 2).then_some(())).await;
    let lines = "{\"amount\": {\"value\": \"1.00\", \"currency\": \"EUR\"}}\n".repeat(5000);
    for n in 0..4 {
        let import = apps[n % 2].request(Method::POST, "/invoices/import");
        let import = import
            .header("content-type", "application/x-ndjson")
            .body(lines.clone());
        assert_eq!(answer(import).await.1["created"], 5000);
        apps[(n + 1) % 2].post_async("/invoices/pay").await;
        let single = apps[n % 2].invoice(&format!("single-{n}"), "1.00").await;
        apps[n % 2].pay(&single).await;
        if n == 2 {
            nats.server.kill9().await;
            nats.server.wipe_store().unwrap();
            nats.server.start_again().await.unwrap();
        }
    }
    let mut all = Vec::new();
    for reader in readers {
        all.push(reader.await.unwrap());
    }
    let expected = expected(&pool).await;
    for heard in all {
        assert_eq!(heard.len(), expected.len());
        for ((invoice, kind), count) in &expected {
            let told = heard.get(&(invoice.clone(), (*kind).to_owned()));
            assert_eq!(told, Some(count), "{kind} of {invoice}");
        }
    }
    let largest: i32 = sqlx::query_scalar("select max(cardinality(ids)) from invoice_changes")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(largest <= 1000, "{largest} in one row");
}
