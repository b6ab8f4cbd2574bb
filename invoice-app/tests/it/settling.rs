//! Outcomes: each settles once, repeats change nothing, and contradictions change nothing either.

use invoice_app::payment::{Conflict, OutcomeEffect};
use payment_contract::messages::PaymentOutcomeV1;
use serde_json::{Value, json};

use crate::harness::{App, declined, succeeded};

/// Everything about payments and invoices that an outcome could change.
async fn state(app: &App) -> Vec<Value> {
    sqlx::query_scalar(
        "select to_jsonb(p) - '{sends,last_sent_at,next_send_at}'::text[] || jsonb_build_object('invoice', to_jsonb(i)) from payments p
         join invoices i on i.id = p.invoice_id order by p.id",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_redelivered_outcome_leaves_the_invoice_paid_once() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    let outcome = succeeded(&app.pay(&invoice).await, &invoice);
    assert_eq!(
        app.settle(std::slice::from_ref(&outcome)).await,
        [OutcomeEffect::Applied]
    );
    let settled = state(&app).await;
    assert_eq!(settled[0]["invoice"]["status"], "paid");
    for _ in 0..3 {
        assert_eq!(
            app.settle(std::slice::from_ref(&outcome)).await,
            [OutcomeEffect::AlreadyApplied]
        );
    }
    assert_eq!(state(&app).await, settled);
}

#[tokio::test]
async fn an_outcome_that_contradicts_a_settled_payment_changes_nothing() {
    let app = App::start().await;
    let (paid, unpaid) = (app.invoice("A", "1.00").await, app.invoice("B", "1.00").await);
    let (first, second) = (app.pay(&paid).await, app.pay(&unpaid).await);
    app.settle(&[succeeded(&first, &paid), declined(&second, &unpaid)])
        .await;
    let settled = state(&app).await;
    let contradictions = [declined(&first, &paid), succeeded(&second, &unpaid)];
    let expected =
        [Conflict::DeclinedAfterSuccess, Conflict::SucceededAfterDecline].map(OutcomeEffect::Conflict);
    assert_eq!(app.settle(&contradictions).await, expected);
    assert_eq!(state(&app).await, settled);
}

#[tokio::test]
async fn an_outcome_for_an_unknown_payment_or_another_invoice_changes_nothing() {
    let app = App::start().await;
    let (mine, other) = (app.invoice("A", "1.00").await, app.invoice("B", "1.00").await);
    let payment = app.pay(&mine).await;
    let before = state(&app).await;
    let unknown = "019a0000-0000-7000-8000-000000000000";
    let settlements = app
        .settle(&[succeeded(unknown, &mine), succeeded(&payment, &other)])
        .await;
    let expected = [Conflict::UnknownPayment, Conflict::OtherInvoice].map(OutcomeEffect::Conflict);
    assert_eq!(settlements, expected);
    assert_eq!(state(&app).await, before);
}

#[tokio::test]
async fn of_several_outcomes_for_one_payment_in_a_batch_the_first_that_fits_counts() {
    let app = App::start().await;
    let (mine, other) = (app.invoice("A", "1.00").await, app.invoice("B", "1.00").await);
    let payment = app.pay(&mine).await;
    let batch = [
        succeeded(&payment, &other),
        declined(&payment, &mine),
        declined(&payment, &mine),
        succeeded(&payment, &mine),
    ];
    let expected = [
        OutcomeEffect::Conflict(Conflict::OtherInvoice),
        OutcomeEffect::Applied,
        OutcomeEffect::AlreadyApplied,
        OutcomeEffect::Conflict(Conflict::SucceededAfterDecline),
    ];
    assert_eq!(app.settle(&batch).await, expected);
    assert_eq!(state(&app).await[0]["invoice"]["status"], "unpaid");
}

#[tokio::test]
async fn a_late_outcome_of_an_earlier_attempt_does_not_touch_the_later_one() {
    let app = App::start().await;
    let invoice = app.invoice("A", "1.00").await;
    let first = app.pay(&invoice).await;
    app.settle(&[declined(&first, &invoice)]).await;
    let second = app.pay(&invoice).await;
    assert_eq!(
        app.settle(&[declined(&first, &invoice)]).await,
        [OutcomeEffect::AlreadyApplied]
    );
    let (_, shown) = app.get(&format!("/invoices/{invoice}")).await;
    assert_eq!(
        (&shown["status"], &shown["last_payment"]["id"]),
        (&json!("pending"), &json!(second))
    );
}

/// As a transaction does whose host is gone, until Postgres notices.
#[tokio::test]
async fn rows_held_by_somebody_else_keep_back_their_own_payments_only() {
    let app = App::start().await;
    let (held, free) = (app.invoice("A", "1.00").await, app.invoice("B", "1.00").await);
    let outcomes = [
        succeeded(&app.pay(&held).await, &held),
        succeeded(&app.pay(&free).await, &free),
    ];
    let mut holder = app.pool.begin().await.unwrap();
    sqlx::query("select from payments where id = $1 for update")
        .bind(outcomes[0].payment_id.as_uuid())
        .execute(&mut *holder)
        .await
        .unwrap();
    assert_eq!(
        app.settle(&outcomes).await,
        [OutcomeEffect::Held, OutcomeEffect::Applied]
    );
    holder.rollback().await.unwrap();
    assert_eq!(
        app.settle(&outcomes).await,
        [OutcomeEffect::Applied, OutcomeEffect::AlreadyApplied]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_settling_the_same_batches_apply_each_outcome_once() {
    let app = App::start().await;
    app.fill(2000).await;
    app.post_async("/invoices/pay").await;
    let rows: Vec<(uuid::Uuid, uuid::Uuid)> =
        sqlx::query_as("select id, invoice_id from payments order by random()")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    let outcomes: Vec<PaymentOutcomeV1> = rows
        .iter()
        .map(|(payment, invoice)| succeeded(&payment.to_string(), &invoice.to_string()))
        .collect();
    let mut reversed = outcomes.clone();
    reversed.reverse();
    let replica = async |outcomes: &[PaymentOutcomeV1]| {
        let mut applied = 0;
        for batch in outcomes.chunks(300) {
            applied += app
                .settle(batch)
                .await
                .iter()
                .filter(|one| **one == OutcomeEffect::Applied)
                .count();
        }
        applied
    };
    let (one, other) = tokio::join!(replica(&outcomes), replica(&reversed));
    assert_eq!(one + other, 2000);
    assert_eq!(
        app.count("select count(*) from invoices where status = 'paid'")
            .await,
        2000
    );
}
