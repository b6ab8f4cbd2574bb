//! Lists and imports as CSV.

use std::time::Duration;

use invoice_app::config::Limits;
use local_stack::eventually;
use reqwest::{Method, Response};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::harness::{App, Options, limits, numbers};

async fn csv(app: &App, query: &str) -> String {
    let request = app.request(Method::GET, &format!("/invoices{query}"));
    let response = request.header("accept", "text/csv").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/csv"), "{kind}");
    response.text().await.unwrap()
}

#[tokio::test]
async fn an_export_has_every_matching_row_and_no_formula() {
    let app = App::start().await;
    app.fill(2500).await;
    for number in ["a,\"b", "=1+1"] {
        app.invoice(number, "12.15").await;
    }
    let text = csv(&app, "?status=unpaid").await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2503);
    assert!(
        lines[0].starts_with("number,value,currency,status,id,"),
        "{}",
        lines[0]
    );
    assert!(lines[1].starts_with("N1,1.01,EUR,unpaid,"), "{}", lines[1]);
    assert!(
        lines[2501].starts_with("\"a,\"\"b\",12.15,EUR,unpaid,"),
        "{}",
        lines[2501]
    );
    assert!(
        lines[2502].starts_with("'=1+1,12.15,EUR,unpaid,"),
        "{}",
        lines[2502]
    );
    assert_eq!(csv(&app, "?status=paid").await.lines().count(), 1);
}

#[tokio::test]
async fn what_was_exported_can_be_imported() {
    let app = App::start().await;
    for number in ["=1+1", "'=1", "'a", "a;\"b", "-1"] {
        app.invoice(number, "12.15").await;
    }
    let exported = csv(&app, "").await;
    let other = App::start().await;
    let mut reader = csv::Reader::from_reader(exported.as_bytes());
    let mut three = csv::WriterBuilder::new()
        .delimiter(b';')
        .from_writer(b"\xEF\xBB\xBF".to_vec());
    three.write_record(["number", "value", "currency"]).unwrap();
    for record in reader.records() {
        three.write_record(record.unwrap().iter().take(3)).unwrap();
    }
    let import = other.request(Method::POST, "/invoices/import");
    let body = three.into_inner().unwrap();
    let (status, summary) =
        crate::harness::answer(import.header("content-type", "text/csv").body(body)).await;
    assert_eq!(
        (status.as_u16(), &summary["created"]),
        (200, &json!(5)),
        "{summary}"
    );
    let numbers_of = async |app: &App| numbers(&app.get("/invoices").await.1);
    assert_eq!(numbers_of(&other).await, numbers_of(&app).await);
}

#[tokio::test]
async fn an_import_of_other_columns_creates_nothing() {
    let app = App::start().await;
    let import = || {
        app.request(Method::POST, "/invoices/import")
            .header("content-type", "text/csv; charset=utf-8")
    };
    // Columns in another order; lines as only old spreadsheets end them.
    for body in [
        "number,currency,value\r\na,EUR,1\r\n",
        "number,value,currency\ra,1,EUR\r",
    ] {
        let (status, problem) = crate::harness::answer(import().body(body)).await;
        assert_eq!(status, 422, "{body:?}: {problem}");
    }
    assert_eq!(app.count("select count(*) from invoices").await, 0);
}

#[tokio::test]
async fn an_export_that_cannot_be_finished_breaks_off() {
    let app = App::start().await;
    app.fill(100_000).await;
    let request = app.request(Method::GET, "/invoices").header("accept", "text/csv");
    let mut response = request.send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    sqlx::query("alter table invoices rename to hidden")
        .execute(&app.pool)
        .await
        .unwrap();
    let broken = async {
        while response.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    assert!(broken.await.is_err(), "it looks whole");
}

async fn export(app: &App) -> Response {
    let request = app.request(Method::GET, "/invoices").header("accept", "text/csv");
    request.send().await.unwrap()
}

/// Whoever may read must not be able to close the API: by asking for exports and reading none.
#[tokio::test(flavor = "multi_thread")]
async fn exports_that_nobody_reads_have_few_places_and_lose_them() {
    let limits = Limits {
        max_exports: 2,
        write_stall: Duration::from_secs(1),
        ..limits()
    };
    let app = App::with(Options {
        limits,
        ..Options::default()
    })
    .await;
    app.fill(60_000).await;
    let mut unread = Vec::new();
    for _ in 0..2 {
        let address = app.base.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).await.unwrap();
        let asked = b"GET /invoices HTTP/1.1\r\nhost: here\r\naccept: text/csv\r\n\r\n";
        connection.write_all(asked).await.unwrap();
        connection.readable().await.unwrap();
        unread.push(connection);
    }
    assert_eq!(export(&app).await.status(), 429);
    assert_eq!(app.get("/invoices?limit=1").await.0, 200);
    let whole = eventually("a place is free", async || {
        let response = export(&app).await;
        if response.status() == 429 {
            return None;
        }
        Some(response.text().await.unwrap())
    })
    .await
    .unwrap();
    assert_eq!(whole.lines().count(), 60_001);
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_breaks_off_an_export() {
    let app = App::start().await;
    app.fill(60_000).await;
    let mut response = export(&app).await;
    response.chunk().await.unwrap().unwrap();
    app.stop.cancel();
    let broken = async {
        while response.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    assert!(broken.await.is_err(), "it looks whole");
}
