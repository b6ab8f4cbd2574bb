//! Open rows that nobody asks about: what a ledger that went back in time has forgotten of payments that had ended.

use std::time::Duration;

use jetstream::delivery::Decision;
use local_stack::eventually;
use payment_contract::messages::PayRequestV1;
use payment_provider::pay_requests::{More, PayRequests};
use tokio_util::sync::CancellationToken;

use crate::support::{World, decide, request};

const QUIET: Duration = Duration::from_mins(2);
/// The row as it was an hour ago, before its payment had ended.
const WENT_BACK: &str = "update ledger
     set status = 'started', reason = null, gateway_reference = null, settled_at = null, lease_token = null, lease_until = null,
         created_at = clock_timestamp() - interval '1 hour', updated_at = clock_timestamp() - interval '1 hour'
     where payment_id = $1";

/// A payment that had ended; its row is open again.
async fn forgotten(world: &World, provider: &PayRequests, value: &str) -> PayRequestV1 {
    let request = request(value, "EUR");
    assert_eq!(decide(provider, &request).await, Decision::Done);
    world.execute(WENT_BACK, request.payment_id).await;
    request
}

#[tokio::test]
async fn open_rows_that_nobody_asks_about_are_looked_up_and_ended() {
    let world = World::start().await;
    let replicas = [world.provider(), world.provider()];
    let succeeded = forgotten(&world, &replicas[0], "12.15").await;
    let declined = forgotten(&world, &replicas[0], "4000.01").await;
    let (one, other) = tokio::join!(
        replicas[0].look_up_unasked(QUIET),
        replicas[1].look_up_unasked(QUIET)
    );
    one.unwrap();
    other.unwrap();
    for (request, status) in [(succeeded, "succeeded"), (declined, "declined")] {
        assert_eq!(world.status(request.payment_id).await, status);
        assert_eq!(world.bank.finds(request.payment_id), 1);
        assert_eq!(world.bank.pays(request.payment_id), 1, "not paid again");
        eventually("it is told again", async || {
            world.outcomes(request.payment_id).len() == 2
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn very_many_are_all_looked_up_at_once_and_those_the_bank_does_not_know_keep_none_waiting() {
    const MANY: i64 = 600;
    let world = World::start().await;
    let provider = world.provider();
    let unheard = request("12.15", "EUR");
    world.crashed_after_intent(&unheard).await;
    for _ in 0..MANY {
        assert_eq!(decide(&provider, &request("12.15", "EUR")).await, Decision::Done);
    }
    let all_went_back = "update ledger
         set status = 'started', reason = null, gateway_reference = null, settled_at = null, lease_token = null, lease_until = null,
             created_at = clock_timestamp() - interval '1 hour', updated_at = clock_timestamp() - interval '1 hour'";
    sqlx::query(all_went_back).execute(&world.pool).await.unwrap();
    let stop = CancellationToken::new();
    let looking = provider.look_after_unasked(stop.clone());
    let until_all_have_ended = async {
        eventually("all have ended", async || {
            let ended = "select count(*) from ledger where status = 'succeeded'";
            let ended: i64 = sqlx::query_scalar(ended).fetch_one(&world.pool).await.unwrap();
            ended == MANY
        })
        .await
        .unwrap();
        stop.cancel();
    };
    tokio::join!(looking, until_all_have_ended);
    assert_eq!(world.status(unheard.payment_id).await, "started");
}

#[tokio::test]
async fn open_row_that_the_bank_does_not_know_stays_open_and_is_not_paid() {
    let world = World::start().await;
    let provider = world.provider();
    let unheard = request("12.15", "EUR");
    world.crashed_after_intent(&unheard).await;
    world.execute(WENT_BACK, unheard.payment_id).await;
    // The second time it is too soon.
    for _ in 0..2 {
        provider.look_up_unasked(QUIET).await.unwrap();
    }
    assert_eq!(world.status(unheard.payment_id).await, "started");
    assert_eq!(world.bank.finds(unheard.payment_id), 1);
    assert_eq!(world.bank.pays(unheard.payment_id), 0);
    // Nobody holds it: its request, should it come, has its way.
    assert_eq!(decide(&provider, &unheard).await, Decision::Done);
    assert_eq!(world.charges(&unheard).await, 1);
}

#[tokio::test]
async fn row_that_somebody_holds_or_touched_lately_is_left_alone() {
    let world = World::start().await;
    let provider = world.provider();
    let held = request("12.15", "EUR");
    world.crashed_after_intent(&held).await;
    let hour_old =
        "update ledger set updated_at = clock_timestamp() - interval '1 hour' where payment_id = $1";
    world.execute(hour_old, held.payment_id).await;
    let touched = request("12.15", "EUR");
    world.crashed_after_intent(&touched).await;
    world.end_lease(touched.payment_id).await;
    provider.look_up_unasked(QUIET).await.unwrap();
    for request in [held, touched] {
        assert_eq!(world.bank.finds(request.payment_id), 0);
        assert_eq!(world.status(request.payment_id).await, "started");
    }
}

#[tokio::test]
async fn page_of_unreadable_rows_is_not_looked_at_again_at_once() {
    let world = World::start().await;
    let insert = "insert into ledger (payment_id, invoice_id, request_hash, amount_minor, currency, invoice_number, attempt,
                                      status, updated_at, created_at)
                  select uuidv7(), uuidv7(), sha256(n::text::bytea), 100, 'XXA', 'I' || n, 1, 'started',
                         now() - interval '1 hour', now() - interval '1 hour'
                  from generate_series(1, 300) as n";
    sqlx::query(insert).execute(&world.pool).await.unwrap();
    let found = world.provider().look_up_unasked(QUIET).await.unwrap();
    assert_eq!(found, More(false));
}
