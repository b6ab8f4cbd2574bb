//! What names a payment: the same attempt has the same name, even for a database that went back in time.

use payment_contract::{InvoiceId, PaymentId};
use sqlx::{Executor, PgPool};
use uuid::Uuid;

use crate::harness::App;

async fn payment_ids(pool: &PgPool) -> Vec<(Uuid, Uuid, i32)> {
    sqlx::query_as("select id, invoice_id, attempt from payments order by id")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_and_rust_make_the_same_payment_id() {
    let app = App::start().await;
    for attempt in [1, 2, 255, 256, 4096, u16::MAX] {
        let invoice = InvoiceId::generate();
        let made: Uuid = sqlx::query_scalar("select payment_id($1, $2)")
            .bind(invoice.as_uuid())
            .bind(i32::from(attempt))
            .fetch_one(&app.pool)
            .await
            .unwrap();
        assert_eq!(PaymentId::from(made), PaymentId::of(invoice, attempt));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn database_that_went_back_before_the_pay_calls_repeats_the_same_payment_ids() {
    let app = App::start().await;
    app.fill(300).await;
    let alone = app.invoice("alone", "12.15").await;
    let backup = "create table backup as table invoices";
    app.pool.execute(backup).await.unwrap();

    app.pay(&alone).await;
    app.post_async("/invoices/pay").await;
    let before = payment_ids(&app.pool).await;
    let back =
        "truncate invoices, unpaid_invoices, payments, payment_batches; insert into invoices table backup";
    app.pool.execute(back).await.unwrap();
    assert_eq!(payment_ids(&app.pool).await, []);
    // The other way about: who pays alone and who in a large call does not matter.
    app.post_async("/invoices/pay").await;

    assert_eq!(before.len(), 301);
    assert_eq!(payment_ids(&app.pool).await, before);
    for (id, invoice, attempt) in before {
        let made = PaymentId::of(invoice.into(), u16::try_from(attempt).unwrap());
        assert_eq!(PaymentId::from(id), made);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn next_attempt_after_a_decline_has_an_id_of_its_own() {
    let app = App::start().await;
    let invoice = app.invoice("declined", "12.15").await;
    let first = app.pay(&invoice).await;
    let declined =
        "with p as (update payments set status = 'declined', settled_at = now() returning invoice_id)
                    update invoices i set status = 'unpaid' from p where i.id = p.invoice_id";
    app.pool.execute(declined).await.unwrap();
    let second = app.pay(&invoice).await;
    let invoice: InvoiceId = invoice.parse().unwrap();
    let expected = [1, 2].map(|attempt| PaymentId::of(invoice, attempt).to_string());
    assert_eq!([first, second], expected);
}
