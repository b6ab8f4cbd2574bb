//! Many callers at once: one payment all the same.

use std::collections::BTreeSet;

use acceptance::{
    Answer, Client, System,
    client::{NO_WAIT, WAIT, count, import_lines, text},
};
use tokio::task::JoinSet;

async fn fifty_pay_calls(client: &Client, id: &str, key: Option<&str>) -> Vec<Answer> {
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let (client, id, key) = (client.clone(), id.to_owned(), key.map(str::to_owned));
        calls.spawn(async move {
            let mut headers = WAIT.to_vec();
            headers.extend(key.as_deref().map(|key| ("idempotency-key", key)));
            client.pay(&id, &headers).await.unwrap()
        });
    }
    calls.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_pay_calls_at_once_make_one_payment_and_one_ledger_entry() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();

    let id = client.create("12.15", "EUR").await.unwrap();
    let answers = fifty_pay_calls(&client, &id, None).await;
    let (paid, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(paid.len(), 1);
    assert!(refused.iter().all(|answer| answer.is_problem(409)), "{refused:?}");

    // With a common key they are all the same call.
    let id = client.create("12.15", "EUR").await.unwrap();
    let answers = fifty_pay_calls(&client, &id, Some("one-call-fifty-times")).await;
    let payments: BTreeSet<_> = answers
        .iter()
        .filter(|a| a.status == 200)
        .map(|a| a.text("/id").to_owned())
        .collect();
    assert_eq!(payments.len(), 1, "{answers:?}");
    assert!(
        answers.iter().all(|a| a.status == 200 || a.is_problem(409)),
        "{answers:?}"
    );

    system.check().await.unwrap().expect_succeeded(2).unwrap();
    assert_eq!(
        system
            .count_in_payments("select count(*) from ledger")
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        system
            .count_in_invoices("select count(*) from payments")
            .await
            .unwrap(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_calls_that_pay_all_some_and_one_make_one_payment_each() {
    const INVOICES: u32 = 400;
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    client.import(import_lines("C", INVOICES, 0)).await.unwrap();
    let mut ids: Vec<String> = client
        .list("limit=1000")
        .await
        .unwrap()
        .iter()
        .map(|i| text(i, "/id").to_owned())
        .collect();
    assert_eq!(ids.len(), 400);
    let one = ids[7].clone();
    // Against the order in which the database would take them, so that careless locking would deadlock.
    ids.reverse();

    let (all, again, some, one) = tokio::join!(
        client.pay_all(NO_WAIT),
        client.pay_all(NO_WAIT),
        client.pay_these(&ids, NO_WAIT),
        client.pay(&one, NO_WAIT),
    );
    let single = one.unwrap();
    assert!(
        single.status == 202 || single.status == 200 || single.is_problem(409),
        "{single:?}"
    );
    let mut requested = u64::from(single.status != 409);
    for answer in [all, again, some] {
        let answer = answer.unwrap();
        assert!(answer.status == 200 || answer.status == 202, "{answer:?}");
        requested += count(&answer.body, "/requested");
    }
    assert_eq!(requested, u64::from(INVOICES));
    system.expect_all_paid(u64::from(INVOICES), 2).await.unwrap();
}
