//! Imports: streamed, all or nothing, every bad line told.

use std::{io, time::Instant};

use invoice_app::{config::Limits, creating::Import, idempotency::SavedResponse, invoice::New};
use local_stack::eventually;
use payment_contract::Money;
use reqwest::{Body, Method, StatusCode};
use serde_json::json;

use crate::harness::{App, Options, answer, limits, new};

/// A key keeps the transaction open for as long as the body takes, and its beginning is not when an invoice was created.
#[tokio::test(flavor = "multi_thread")]
async fn invoices_of_a_long_import_were_created_at_its_end() {
    let app = App::start().await;
    let (lines, body) = tokio::sync::mpsc::channel::<io::Result<String>>(1);
    let body = futures_util::stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
    let import = app
        .request(Method::POST, "/invoices/import")
        .header("idempotency-key", "k")
        .body(Body::wrap_stream(body));
    let import = tokio::spawn(answer(import));
    lines.send(Ok(format!("{}\n", new("A", "1.00")))).await.unwrap();
    let running = "select count(*) from pg_locks where locktype = 'advisory'
                   and database = (select oid from pg_database where datname = current_database())";
    eventually("it is running", async || app.count(running).await > 0)
        .await
        .unwrap();
    app.invoice("B", "1.00").await;
    drop(lines);
    assert_eq!(import.await.unwrap().0, StatusCode::OK);
    let (_, page) = app.get("/invoices").await;
    let [b, a] = page["invoices"].as_array().unwrap().as_slice() else {
        panic!("two invoices: {page}")
    };
    assert_eq!((&b["number"], &a["number"]), (&json!("B"), &json!("A")));
    assert!(a["created_at"].as_str() > b["created_at"].as_str(), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_beyond_their_number_are_refused_until_another_has_ended() {
    let limits = Limits {
        max_imports: 1,
        ..limits()
    };
    let options = Options {
        limits,
        ..Options::default()
    };
    let app = App::with(options).await;
    let import = || app.request(Method::POST, "/invoices/import");
    let (lines, body) = tokio::sync::mpsc::channel::<io::Result<String>>(1);
    let body = futures_util::stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
    let first = import()
        .header("idempotency-key", "k")
        .body(Body::wrap_stream(body));
    let first = tokio::spawn(answer(first));
    let running = "select count(*) from pg_locks where locktype = 'advisory'
                   and database = (select oid from pg_database where datname = current_database())";
    eventually("it is running", async || app.count(running).await > 0)
        .await
        .unwrap();
    let second = || answer(import().body(new("B", "1.00").to_string()));
    let (status, problem) = second().await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
    app.invoice("A", "1.00").await;
    drop(lines);
    assert_eq!(first.await.unwrap().0, StatusCode::OK);
    assert_eq!(second().await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_are_imported_in_one_call_and_bad_ones_are_told() {
    let app = App::start().await;
    let page = |page: usize| {
        let line = |line: usize| match line % 1000 {
            7 => "{\"number\": \"x\", \"amount\": {\"value\": 1, \"currency\": \"EUR\"}}\n".to_owned(),
            8 => format!("{}\r\n", new("I1", "1.00")),
            9 => "{\"amount\": {\"value\": \"3.00\", \"currency\": \"GBP\"}}\n".to_owned(),
            10 => "  \n".to_owned(),
            _ => format!("{}\n", new(&format!("I{line}"), "12.15")),
        };
        let lines: Vec<String> = (page * 1000 + 1..=page * 1000 + 1000).map(line).collect();
        Ok::<_, std::io::Error>(lines.concat())
    };
    let body = Body::wrap_stream(futures_util::stream::iter((0..100).map(page)));
    let start = Instant::now();
    let (status, result) = answer(app.request(Method::POST, "/invoices/import").body(body)).await;
    println!("100,000 lines in {:?}", start.elapsed());
    assert_eq!(status, StatusCode::OK, "{result}");
    // Of each thousand lines: one bad amount, one taken number (I1 is there by then), one blank.
    assert_eq!(
        (&result["created"], &result["rejected_total"]),
        (&json!(99_700), &json!(200))
    );
    let rejected = result["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 200);
    assert_eq!(
        rejected[0],
        json!({"line": 7, "error": "amount.value must be a string, not a number"})
    );
    assert_eq!(rejected[1], json!({"line": 8, "error": "number \"I1\" is taken"}));
    assert_eq!(app.count("select count(*) from invoices").await, 99_700);
    assert_eq!(
        app.count("select count(*) from invoices where currency = 'GBP'")
            .await,
        100
    );
    assert_eq!(app.count("select count(*) from import_lines").await, 0);
    // Listed as they stood in the file.
    let (_, first) = app.get("/invoices?limit=3").await;
    let numbers: Vec<_> = first["invoices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["number"].clone())
        .collect();
    assert_eq!(numbers, ["I1", "I2", "I3"]);
}

#[tokio::test]
async fn lines_without_a_number_get_free_ones_among_those_taken() {
    let app = App::start().await;
    app.invoice("I2", "1.00").await;
    let without = json!({"amount": {"value": "1.00", "currency": "EUR"}});
    let body = format!("{without}\n{}\n{without}\n{without}", new("I4", "1.00"));
    let (_, result) = answer(app.request(Method::POST, "/invoices/import").body(body)).await;
    assert_eq!(result, json!({"created": 4, "rejected": [], "rejected_total": 0}));
    let (_, list) = app.get("/invoices").await;
    let mut numbers: Vec<_> = list["invoices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["number"].as_str().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["I1", "I2", "I3", "I4", "I5"]);
}

#[tokio::test]
async fn only_the_first_thousand_rejections_are_told_and_all_are_counted() {
    let app = App::start().await;
    let body = "x\n".repeat(1500) + &format!("{}\n", new("A", "1.00")).repeat(10);
    let (_, result) = answer(app.request(Method::POST, "/invoices/import").body(body)).await;
    assert_eq!(
        (&result["created"], &result["rejected_total"]),
        (&json!(1), &json!(1509))
    );
    assert_eq!(result["rejected"].as_array().unwrap().len(), 1000);
    assert_eq!(result["rejected"][999]["line"], 1000);
}

#[tokio::test]
async fn a_body_that_breaks_off_creates_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let app = App::start().await;
    let mut stream = tokio::net::TcpStream::connect(app.base.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let lines: Vec<String> = (0..5000)
        .map(|line| format!("{}\n", new(&format!("B{line}"), "1.00")))
        .collect();
    let lines = lines.concat();
    let head = format!(
        "POST /invoices/import HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        lines.len() + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(lines.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    eventually("lines are put aside", async || {
        app.count("select count(*) from import_lines").await >= 4000
    })
    .await
    .unwrap();
    drop(stream);
    eventually("they are forgotten", async || {
        app.count("select count(*) from import_lines").await == 0
    })
    .await
    .unwrap();
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}

#[tokio::test]
async fn lines_of_every_kind_of_nonsense_are_told_and_stop_nothing() {
    let app = App::start().await;
    let deep = "[".repeat(50_000);
    let long = format!("{{\"number\": \"{}\"}}", "x".repeat(70_000));
    let mut body: Vec<u8> = b"\xEF\xBB\xBF".to_vec();
    body.extend_from_slice(format!("{}\n\n", new("A", "1.00")).as_bytes());
    body.extend_from_slice(b"\xff\xfe\n\0\n[]\nnull\n");
    body.extend_from_slice(format!("{deep}\n{long}\n{}", new("B", "1.00")).as_bytes());
    let (status, result) = answer(app.request(Method::POST, "/invoices/import").body(body)).await;
    assert_eq!(
        (status, &result["created"], &result["rejected_total"]),
        (StatusCode::OK, &json!(2), &json!(6)),
        "{result}"
    );
    let lines: Vec<_> = result["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["line"].as_i64().unwrap())
        .collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_imports_of_the_same_numbers_in_opposite_orders_create_each_once() {
    let app = App::start().await;
    let lines: Vec<String> = (0..3000)
        .map(|line| format!("{}\n", new(&format!("S{line}"), "1.00")))
        .collect();
    let body = |lines: &mut dyn Iterator<Item = &String>| lines.map(String::as_str).collect::<String>();
    let (forth, back) = (body(&mut lines.iter()), body(&mut lines.iter().rev()));
    let import = |body: String| answer(app.request(Method::POST, "/invoices/import").body(body));
    let (one, other) = tokio::join!(import(forth), import(back));
    let created = |result: &serde_json::Value| result["created"].as_i64().unwrap();
    assert_eq!(created(&one.1) + created(&other.1), 3000);
}

#[tokio::test]
async fn lines_that_a_crashing_database_forgot_fail_the_whole_import() {
    let app = App::start().await;
    let mut import = Import::init(&app.store, None, None).await.unwrap().unwrap();
    let mut take = async |count| {
        for _ in 0..count {
            let amount = Money::parse("12.15", "EUR").unwrap();
            import.take(Some(Ok(New { number: None, amount }))).await.unwrap();
        }
    };
    take(2500).await;
    // What recovery does to an unlogged table.
    sqlx::query("truncate import_lines")
        .execute(&app.pool)
        .await
        .unwrap();
    take(10).await;
    let stored = |_: &_| SavedResponse::Whole {
        status: 200,
        location: None,
        body: String::new(),
    };
    assert!(import.finish(Vec::new(), stored).await.is_err());
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}
