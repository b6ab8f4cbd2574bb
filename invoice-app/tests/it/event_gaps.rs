//! The feed of events tells nothing twice and leaves nothing out, whoever commits late and whenever a reader is cut off.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use invoice_app::{creating::Import, idempotency::Key, invoice::New};
use local_stack::eventually;
use payment_contract::Money;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::Method;
use serde_json::json;
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{
    event_reader::EventReader,
    harness::{App, Options, answer, database},
    provider::{Nats, Provider},
};

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
async fn import_under_way_holds_up_no_event() {
    let app = App::start().await;
    let mut reader = EventReader::connected(&app, "").await;
    let key = Key::parse("importer", "held-by-a-transaction");
    let mut import = Import::init(&app.store, None, key).await.unwrap().unwrap();
    for _ in 0..2500 {
        let amount = Money::parse("12.15", "EUR").unwrap();
        import.take(Some(Ok(New { number: None, amount }))).await.unwrap();
    }
    let invoice = app.invoice("beside", "1.00").await;
    assert_eq!(reader.next().await.unwrap().data["subject"], json!(invoice));
    drop(import);
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
    eventually("they listen", async || apps[0].listeners() == 2)
        .await
        .unwrap();
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
