//! Every type of problem, once.

use std::{collections::BTreeSet, time::Duration};

use invoice_app::{
    config::Limits,
    http::{access::Access, problem::PREFIX, problem_texts::slugs},
    tokens::{Scope, Tokens, generate},
};
use local_stack::eventually;
use reqwest::{Body, Method, RequestBuilder, header};
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

use crate::harness::{App, Options, limits, new};

/// Sends, checks that the answer is the problem `slug` with `status`, and notes it.
async fn expect(seen: &mut BTreeSet<String>, request: RequestBuilder, status: u16, slug: &str) {
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    let (got, document) = crate::harness::read(response).await;
    assert_eq!(
        (got.as_u16(), &document["type"]),
        (status, &json!(format!("{PREFIX}{slug}"))),
        "{document}"
    );
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(document["status"], status);
    assert!(
        document["title"].is_string() && document["detail"].is_string(),
        "{document}"
    );
    let retry = matches!(
        slug,
        "too-many-requests"
            | "database-unavailable"
            | "schema-missing"
            | "starting"
            | "stopping"
            | "timed-out"
            | "idempotency-key-in-use"
    );
    assert_eq!(headers.contains_key(header::RETRY_AFTER), retry, "{slug}");
    assert_eq!(
        headers.contains_key(header::WWW_AUTHENTICATE),
        matches!(slug, "unauthorized" | "forbidden")
    );
    assert_eq!(headers.contains_key(header::ALLOW), slug == "method-not-allowed");
    seen.insert(slug.to_owned());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_type_is_produced_with_its_status_and_headers() {
    let mut seen = BTreeSet::new();
    Box::pin(plain(&mut seen)).await;
    changed(&mut seen).await;
    Box::pin(limited(&mut seen)).await;
    starting(&mut seen).await;
    stopping(&mut seen).await;
    Box::pin(guarded(&mut seen)).await;
    Box::pin(broken(&mut seen)).await;
    assert_eq!(seen, slugs().map(str::to_owned).collect());
}

#[tokio::test]
async fn every_problem_has_a_page_for_people_and_for_curl_without_a_token_or_a_database() {
    let app = App::closed().await;
    let read = async |path: &str, accept: &str| {
        let request = app.request(Method::GET, path).header(header::ACCEPT, accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let kind = response.headers()[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        (kind, response.text().await.unwrap())
    };
    let (_, list) = read("/problems", "text/plain").await;
    for slug in slugs() {
        let path = format!("{PREFIX}{slug}");
        assert!(list.contains(&path), "{slug}");
        let (kind, text) = read(&path, "text/plain").await;
        assert!(kind.starts_with("text/plain"), "{kind}");
        for part in ["What happened", "Why", "What to do", "  $ "] {
            assert!(text.contains(part), "{slug}: {text}");
        }
        let (kind, html) = read(&path, "text/html,*/*").await;
        assert!(
            kind.starts_with("text/html") && html.contains("<h2>Why</h2>"),
            "{html}"
        );
        assert_eq!(read(&path, "*/*").await.1, html);
    }
    let unknown = app.request(Method::GET, "/problems/none").send().await.unwrap();
    assert_eq!(unknown.status(), 404);
}

async fn plain(seen: &mut BTreeSet<String>) {
    let app = App::start().await;
    let post = |path: &str| app.request(Method::POST, path);
    let invoice = app.invoice("A", "1.00").await;
    let pay = format!("/invoices/{invoice}/pay");
    app.pay(&invoice).await;
    expect(
        seen,
        post("/invoices").json(&new("A", "1.00")),
        409,
        "number-taken",
    )
    .await;
    expect(seen, post(&pay), 409, "invoice-not-payable").await;
    expect(
        seen,
        post(&format!("/invoices/{invoice}/void")),
        409,
        "invoice-not-voidable",
    )
    .await;
    expect(seen, post("/invoices").body("{"), 400, "malformed-request").await;
    expect(seen, post("/invoices").json(&json!({})), 422, "invalid-request").await;
    expect(
        seen,
        post("/invoices").body("a=b").header("content-type", "text/plain"),
        415,
        "unsupported-media-type",
    )
    .await;
    expect(
        seen,
        post("/invoices").body(vec![b' '; 1024 * 1024 + 1]),
        413,
        "body-too-large",
    )
    .await;
    expect(seen, app.request(Method::GET, "/nothing"), 404, "not-found").await;
    let elsewhere = app
        .request(Method::GET, "/events")
        .header("last-event-id", "A".repeat(38));
    expect(seen, elsewhere, 410, "events-forgotten").await;
    for missing in ["019a0000-0000-7000-8000-000000000000", "I1"] {
        expect(
            seen,
            app.request(Method::GET, &format!("/invoices/{missing}")),
            404,
            "invoice-not-found",
        )
        .await;
        expect(
            seen,
            post(&format!("/invoices/{missing}/pay")),
            404,
            "invoice-not-found",
        )
        .await;
        expect(
            seen,
            post(&format!("/invoices/{missing}/void")),
            404,
            "invoice-not-found",
        )
        .await;
        let batch = format!("/payment-batches/{missing}");
        expect(
            seen,
            app.request(Method::GET, &batch),
            404,
            "payment-batch-not-found",
        )
        .await;
    }
    expect(
        seen,
        app.request(Method::PATCH, "/invoices"),
        405,
        "method-not-allowed",
    )
    .await;
    let keyed = |number: &str| {
        post("/invoices")
            .header("idempotency-key", "k")
            .json(&new(number, "1.00"))
    };
    keyed("B").send().await.unwrap();
    expect(seen, keyed("C"), 422, "idempotency-key-reused").await;

    sqlx::query("alter table payment_batches rename to hidden")
        .execute(&app.pool)
        .await
        .unwrap();
    let batch = "/payment-batches/019a0000-0000-7000-8000-000000000000";
    expect(seen, app.request(Method::GET, batch), 503, "schema-missing").await;
    sqlx::query("create view payment_batches as select * from hidden where 1 / (select 0) = 1")
        .execute(&app.pool)
        .await
        .unwrap();
    expect(seen, app.request(Method::GET, batch), 500, "internal").await;
}

/// What is not as the caller believed.
async fn changed(seen: &mut BTreeSet<String>) {
    let app = App::start().await;
    let pay = format!("/invoices/{}/pay", app.invoice("A", "1.00").await);
    let post = |path: &str| app.request(Method::POST, path);
    let expected = post("/invoices/pay").json(&json!({"expect": {"count": 7}}));
    expect(seen, expected, 409, "totals-changed").await;
    let stale = post(&pay).header(header::IF_MATCH, "\"unpaid-1\"");
    expect(seen, stale, 412, "precondition-failed").await;
}

/// The database's schema is not there yet.
async fn starting(seen: &mut BTreeSet<String>) {
    let open = CancellationToken::new();
    let options = Options {
        open: open.clone(),
        ..Options::default()
    };
    let app = App::with(options).await;
    let list = || app.request(Method::GET, "/invoices");
    expect(seen, list(), 503, "starting").await;
    open.cancel();
    assert_eq!(list().send().await.unwrap().status(), 200);
}

/// The process ends while an import is on its way.
async fn stopping(seen: &mut BTreeSet<String>) {
    let app = App::start().await;
    let body = Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let import = app
        .request(Method::POST, "/invoices/import")
        .header("idempotency-key", "k")
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body);
    let stop = async {
        let running = "select count(*) from pg_locks where locktype = 'advisory'
                       and database = (select oid from pg_database where datname = current_database())";
        eventually("it is running", async || app.count(running).await > 0)
            .await
            .unwrap();
        app.stop.cancel();
    };
    tokio::join!(expect(seen, import, 503, "stopping"), stop);
}

/// Small limits, and a table that another transaction holds.
async fn limited(seen: &mut BTreeSet<String>) {
    let limits = Limits {
        max_in_flight: 2,
        request: Duration::from_millis(3500),
        body_stall: Duration::from_millis(100),
        ..limits()
    };
    let app = App::with(Options {
        limits,
        ..Options::default()
    })
    .await;
    let stalled = Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    expect(
        seen,
        app.request(Method::POST, "/invoices").body(stalled),
        408,
        "request-timeout",
    )
    .await;

    let mut held = app.pool.begin().await.unwrap();
    sqlx::query("lock table invoices in access exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let keyed = || {
        app.request(Method::POST, "/invoices")
            .header("idempotency-key", "k")
            .json(&new("A", "1.00"))
    };
    let first = tokio::spawn(keyed().send());
    eventually("the first call has its key", async || {
        let locks = "select count(*) from pg_locks where locktype = 'advisory' and granted";
        app.count(locks).await > 0
    })
    .await
    .unwrap();
    expect(seen, keyed(), 409, "idempotency-key-in-use").await;
    let second = tokio::spawn(app.request(Method::GET, "/invoices").send());
    let refused = async || {
        let response = app.request(Method::GET, "/nothing").send().await.unwrap();
        (response.status().as_u16() == 429).then_some(())
    };
    eventually("two calls are in flight", refused).await.unwrap();
    expect(
        seen,
        app.request(Method::GET, "/nothing"),
        429,
        "too-many-requests",
    )
    .await;
    for call in [first, second] {
        assert_eq!(call.await.unwrap().unwrap().status(), 503);
    }
    expect(seen, app.request(Method::GET, "/invoices"), 503, "timed-out").await;
    held.rollback().await.unwrap();
}

async fn guarded(seen: &mut BTreeSet<String>) {
    let (token, entry) = generate("reader", &[Scope::Read]);
    let tokens = std::sync::Arc::new(Tokens::parse(&entry).unwrap());
    let access = Access::Tokens(std::sync::Arc::new(std::sync::RwLock::new(tokens)));
    let app = App::with(Options {
        access,
        ..Options::default()
    })
    .await;
    expect(seen, app.request(Method::GET, "/invoices"), 401, "unauthorized").await;
    let pay = app.request(Method::POST, "/invoices/pay").bearer_auth(token);
    expect(seen, pay, 403, "forbidden").await;
}

async fn broken(seen: &mut BTreeSet<String>) {
    let nowhere = PgPoolOptions::new().acquire_timeout(Duration::from_millis(300));
    let pool = nowhere
        .connect_lazy("postgres://nobody@127.0.0.1:1/none")
        .unwrap();
    let app = App::with(Options {
        database: Some(pool),
        background: false,
        ..Options::default()
    })
    .await;
    for request in [
        app.request(Method::GET, "/invoices"),
        app.request(Method::POST, "/invoices").json(&new("A", "1.00")),
        app.request(Method::POST, "/invoices/pay"),
        app.request(Method::POST, "/invoices/import")
            .body("{\"amount\":{\"value\":\"1\",\"currency\":\"JPY\"}}"),
    ] {
        expect(seen, request, 503, "database-unavailable").await;
    }
}
