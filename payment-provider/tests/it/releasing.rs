//! `ledger release`: what it lets go on, and what it does not.

use jetstream::delivery::Decision as Delivered;
use payment_provider::ledger::Held;

use crate::{
    held::{assert_held, imported_again, is_held, is_put_off},
    support::{World, decide, request},
};

#[tokio::test]
async fn very_many_are_released_page_by_page() {
    let world = World::start().await;
    let insert = "insert into ledger (payment_id, invoice_id, request_hash, amount_minor, currency, invoice_number, attempt,
                                      status, held_reason, created_at)
                  select uuidv7(), uuidv7(), sha256(n::text::bytea), 100, 'EUR', 'I' || n, 1, 'started',
                         'hold_new_payments', now() + (n / 7) * interval '1 us'
                  from generate_series(1, 5000) as n";
    sqlx::query(insert).execute(&world.pool).await.unwrap();
    let mut told = Vec::new();
    let released = world
        .store
        .release_new("the books agree", None, |so_far| told.push(so_far));
    assert_eq!(released.await.unwrap(), 5000);
    assert_eq!(told, [2000, 4000, 5000]);
    let transactions = "select count(distinct xmin::text) from ledger where released_at is not null";
    let transactions: i64 = sqlx::query_scalar(transactions)
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(transactions, 3);
    let records: i64 =
        sqlx::query_scalar("select count(*) from ledger_resolutions where status = 'released'")
            .fetch_one(&world.pool)
            .await
            .unwrap();
    assert_eq!(records, 5000);
}

/// Held while another with its number is open; that one is declined, it is released, and a third must not go on beside it.
#[tokio::test]
async fn payment_whose_number_another_has_is_told_and_has_the_number_once_it_is_free_and_released() {
    let world = World::start().await;
    let provider = world.provider();
    let first = request("12.15", "EUR");
    world.crashed_after_intent(&first).await;
    let second = imported_again(&first);
    assert!(is_put_off(&decide(&provider, &second).await));
    assert_held(&world, &second, Held::NumberPaid).await;
    let id = second.payment_id.as_uuid();
    let taken = world.store.numbers_taken(&[id]).await.unwrap();
    assert_eq!(
        (taken[0].payment_id, taken[0].by, taken[0].status.as_str()),
        (id, first.payment_id.as_uuid(), "started")
    );

    let declined =
        "update ledger set status = 'declined', reason = 'x', settled_at = now(), lease_token = null
                    where payment_id = $1";
    world.execute(declined, first.payment_id).await;
    assert_eq!(world.store.numbers_taken(&[id]).await.unwrap(), []);
    let ids = [id];
    let released = world.store.release_held(&ids, &[], "it is owed", None);
    assert_eq!(released.await.unwrap(), ids);
    let third = imported_again(&first);
    assert!(is_put_off(&decide(&provider, &third).await));
    assert!(is_held(&decide(&provider, &third).await));
    assert_held(&world, &third, Held::NumberPaid).await;
    assert_eq!(decide(&provider, &second).await, Delivered::Done);
    assert_eq!(world.charges(&first).await, 1);
}

/// Two that wait for one number: each is in the other's way.
#[tokio::test]
async fn of_several_with_one_number_none_is_released_beside_another_unless_that_is_meant() {
    let world = World::start().await;
    let provider = world.provider();
    let first = request("12.15", "EUR");
    assert_eq!(decide(&provider, &first).await, Delivered::Done);
    let again = [imported_again(&first), imported_again(&first)];
    for request in &again {
        assert!(is_put_off(&decide(&provider, request).await));
    }
    let ids = again.each_ref().map(|request| request.payment_id.as_uuid());
    let taken = world.store.numbers_taken(&ids).await.unwrap();
    assert_eq!(taken.len(), 4, "{taken:?}");
    let released = world
        .store
        .release_held(&ids[..1], &ids[..1], "both are owed", None);
    assert_eq!(released.await.unwrap(), ids[..1]);
    assert_eq!(decide(&provider, &again[0]).await, Delivered::Done);
    assert_eq!(world.charges(&first).await, 2);
}

#[tokio::test]
async fn released_payment_is_as_young_as_its_release() {
    let world = World::start().await;
    let provider = world.provider_with(|setup| setup.policy.hold_new_payments = true);
    let request = request("12.15", "EUR");
    assert!(is_held(&decide(&provider, &request).await));
    let old = "update ledger set created_at = created_at - interval '9 d', requested_at = requested_at - interval '9 d'
               where payment_id = $1";
    world.execute(old, request.payment_id).await;
    let id = request.payment_id.as_uuid();
    assert_eq!(
        world
            .store
            .release_held(&[id], &[], "it is due", None)
            .await
            .unwrap(),
        [id]
    );
    assert!(
        world
            .store
            .release_held(&[id], &[], "twice", None)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(decide(&provider, &request).await, Delivered::Done);
    assert_eq!(
        world.bank.finds(request.payment_id),
        1,
        "looked up before it is called"
    );
    assert_eq!(world.charges(&request).await, 1);
}
