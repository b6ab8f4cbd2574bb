//! Many callers at once: every invoice gets at most one payment under way, and nobody is kept waiting by large calls.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use local_stack::eventually;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{App, answer, id, new, succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_pay_calls_on_one_invoice_make_one_payment() {
    let app = App::start().await;
    let invoice = app.invoice("A", "12.15").await;
    let path = format!("/invoices/{invoice}/pay");
    let calls = (0..50).map(|_| app.post_async(&path));
    let mut statuses = BTreeMap::<u16, usize>::new();
    for (status, _) in join_all(calls).await {
        *statuses.entry(status.as_u16()).or_default() += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(202, 1), (409, 49)]));
    assert_eq!(app.count("select count(*) from payments").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_each_pay_one_invoice_share_transactions_when_they_come_together() {
    let app = App::start().await;
    app.fill(200).await;
    let (_, page) = app.get("/invoices?limit=200").await;
    let ids: Vec<String> = page["invoices"].as_array().unwrap().iter().map(id).collect();
    let paths: Vec<String> = ids.iter().map(|id| format!("/invoices/{id}/pay")).collect();
    let answers = join_all(paths.iter().map(|path| app.post_async(path))).await;
    for ((status, payment), invoice) in answers.iter().zip(&ids) {
        assert_eq!(*status, StatusCode::ACCEPTED, "{payment}");
        assert_eq!(payment["invoice_id"], json!(invoice));
    }
    let payments = "select count(distinct invoice_id) from payments where traceparent is not null";
    assert_eq!(app.count(payments).await, 200);
    let transactions = app.count("select count(distinct xmin::text) from payments").await;
    assert!(transactions < 100, "{transactions} transactions for 200 payments");
}

/// Whoever holds an invoice is paying it or voiding it. The call is told so, and neither waits for it nor keeps others waiting.
#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_somebody_holds_is_answered_at_once_and_no_other_waits() {
    let app = App::start().await;
    let held = app.invoice("held", "1.00").await;
    let path = format!("/invoices/{held}/pay");
    for lock in [
        "select from invoices where number = 'held' for update",
        "select from unpaid_invoices u join invoices i on i.id = u.invoice_id where number = 'held' for update of u",
    ] {
        let mut holder = app.pool.begin().await.unwrap();
        sqlx::query(lock).execute(&mut *holder).await.unwrap();
        let others: Vec<String> = join_all((0..10).map(async |_| {
            let other = app.invoice(&uuid::Uuid::new_v4().to_string(), "1.00").await;
            format!("/invoices/{other}/pay")
        }))
        .await;
        let (held, others) = tokio::join!(
            app.post_async(&path),
            join_all(others.iter().map(|other| app.post_async(other)))
        );
        assert_eq!(
            (held.0, &held.1["type"]),
            (StatusCode::CONFLICT, &json!("/problems/invoice-not-payable"))
        );
        assert!(
            others.iter().all(|(status, _)| *status == StatusCode::ACCEPTED),
            "{others:?}"
        );
        assert_eq!(
            app.count(
                "select count(*) from payments p join invoices i on i.id = p.invoice_id where number = 'held'"
            )
            .await,
            0
        );
        holder.rollback().await.unwrap();
    }
    assert_eq!(app.post_async(&path).await.0, StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_that_pay_everything_at_once_pay_each_invoice_once() {
    let app = App::start().await;
    app.fill(3000).await;
    let calls = (0..4).map(|_| app.post_async("/invoices/pay"));
    let requested: i64 = join_all(calls)
        .await
        .iter()
        .map(|(_, batch)| batch["requested"].as_i64().unwrap())
        .sum();
    assert_eq!(requested, 3000);
    assert_eq!(
        app.count("select count(distinct invoice_id) from payments").await,
        3000
    );
    assert_eq!(app.count("select count(*) from payments").await, 3000);
}

/// The code never tries this, so the code's own checks are put out of the way: the invoice claims to be unpaid.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_itself_refuses_a_second_live_payment_of_an_invoice() {
    let app = App::start().await;
    for (number, settled) in [("A", false), ("B", true)] {
        let invoice = app.invoice(number, "12.15").await;
        let payment = app.pay(&invoice).await;
        if settled {
            app.settle(&[succeeded(&payment, &invoice)]).await;
        }
        sqlx::query("update invoices set status = 'unpaid'")
            .execute(&app.pool)
            .await
            .unwrap();
        let (status, problem) = app.post_async(&format!("/invoices/{invoice}/pay")).await;
        assert!(status.is_server_error(), "{status} {problem}");
        assert_eq!(
            app.count("select count(*) from payments where attempt > 1").await,
            0,
            "{number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_lists_of_ids_in_opposite_orders_do_not_deadlock() {
    let app = App::start().await;
    app.fill(400).await;
    let (_, page) = app.get("/invoices?limit=400").await;
    let mut ids: Vec<String> = page["invoices"]
        .as_array()
        .unwrap()
        .iter()
        .map(crate::harness::id)
        .collect();
    let mut calls = Vec::new();
    for _ in 0..6 {
        let body = json!({"ids": ids});
        calls.push(answer(
            app.request(Method::POST, "/invoices/pay")
                .header("prefer", "respond-async")
                .json(&body),
        ));
        ids.reverse();
    }
    let requested: i64 = join_all(calls)
        .await
        .iter()
        .map(|(_, batch)| batch["requested"].as_i64().unwrap())
        .sum();
    assert_eq!(requested, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_either_paid_or_voided_never_both() {
    let app = App::start().await;
    for number in 0..20 {
        let invoice = app.invoice(&format!("R{number}"), "1.00").await;
        let (pay, void) = (
            format!("/invoices/{invoice}/pay"),
            format!("/invoices/{invoice}/void"),
        );
        let (pay, void) = tokio::join!(app.post_async(&pay), app.post_async(&void));
        let statuses = (pay.0.as_u16(), void.0.as_u16());
        assert!(matches!(statuses, (202, 409) | (409, 200)), "{statuses:?}");
    }
    let both =
        "select count(*) from invoices i join payments p on p.invoice_id = i.id where i.status = 'void'";
    assert_eq!(app.count(both).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn paying_a_hundred_thousand_invoices_keeps_nobody_waiting() {
    let app = App::start().await;
    app.fill(100_000).await;
    let start = Instant::now();
    let large = tokio::spawn({
        let call = app
            .request(Method::POST, "/invoices/pay")
            .header("prefer", "respond-async");
        async move { (answer(call).await, start.elapsed()) }
    });
    let (mut slowest, mut answered) = (Duration::ZERO, 0);
    while !large.is_finished() {
        let begun = Instant::now();
        let (status, _) = app.get("/invoices?limit=10").await;
        assert_eq!(status, StatusCode::OK);
        let (status, _) = app
            .post(
                "/invoices",
                json!({"amount": {"value": "1.00", "currency": "EUR"}}),
            )
            .await;
        assert_eq!(status, StatusCode::CREATED);
        slowest = slowest.max(begun.elapsed());
        answered += 1;
    }
    let ((status, batch), took) = large.await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(batch["requested"].as_i64().unwrap() >= 100_000);
    assert_eq!(batch["requested"], batch["pending"]);
    println!(
        "100,000 invoices asked for in {took:?}; {answered} other pairs of calls meanwhile, slowest {slowest:?}"
    );
    assert!(
        answered > 10 && slowest < Duration::from_secs(3),
        "{answered} {slowest:?}"
    );
}

/// However many ask for lists that take long, they hold two of twelve connections, and the rest is for what pays.
#[tokio::test(flavor = "multi_thread")]
async fn lists_leave_connections_for_payments() {
    let app = App::start().await;
    let mut holder = app.pool.begin().await.unwrap();
    sqlx::query("lock table invoices")
        .execute(&mut *holder)
        .await
        .unwrap();
    let lists: Vec<_> = ["/invoices?currency=EUR", "/invoices/totals"]
        .repeat(20)
        .into_iter()
        .map(|path| tokio::spawn(answer(app.request(Method::GET, path))))
        .collect();
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    eventually("two lists are being read", async || app.count(waiting).await == 2)
        .await
        .unwrap();
    // By connections of the same pool.
    for _ in 0..20 {
        assert_eq!(app.count(waiting).await, 2);
    }
    holder.rollback().await.unwrap();
    for list in lists {
        assert_eq!(list.await.unwrap().0, StatusCode::OK);
    }
}

/// An import's numbers are taken or free only when it has ended. Whoever wants one of them waits, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_not_committed_keep_only_those_waiting_who_name_them() {
    let app = App::start().await;
    let invoice = app.invoice("other", "1.00").await;
    let mut import = app.pool.begin().await.unwrap();
    sqlx::query(
        "insert into invoices (id, number, amount_minor, currency)
         select uuidv7(), 'H' || n, 100, 'EUR' from generate_series(1, 30) n",
    )
    .execute(&mut *import)
    .await
    .unwrap();
    let naming = async {
        let numbers: Vec<String> = (1..=30).map(|n| format!("H{n}")).collect();
        join_all(
            numbers
                .iter()
                .map(|number| app.post("/invoices", new(number, "1.00"))),
        )
        .await
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let path = format!("/invoices/{invoice}");
        let read = join_all((0..10).map(|_| app.get(&path))).await;
        assert!(
            read.iter().all(|(status, _)| *status == StatusCode::OK),
            "{read:?}"
        );
        app.pay(&invoice).await;
        import.rollback().await.unwrap();
    };
    let (named, ()) = tokio::join!(naming, others);
    let created = named.iter().filter(|(status, _)| *status == StatusCode::CREATED);
    assert_eq!(created.count(), 30, "{named:?}");
}
