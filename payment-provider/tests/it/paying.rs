//! One request and what becomes of it: each amount of the simulated bank, redelivery, batches.

use futures_util::future::join_all;
use jetstream::delivery::Decision;
use local_stack::eventually;
use payment_contract::{Currency, messages::OutcomeStatus, trace::TraceParent};
use payment_provider::pay_requests::DeliveredRequest;

use crate::support::{World, decide, decide_all, decide_until_done, request};

#[tokio::test]
async fn request_is_paid_once_and_its_outcome_published() {
    let world = World::start().await;
    let request = request("12.15", "EUR");
    assert_eq!(decide(&world.provider(), &request).await, Decision::Done);
    let outcome = world.heard(request.payment_id, 1).await;
    assert_eq!(
        (outcome.invoice_id, outcome.status),
        (request.invoice_id, OutcomeStatus::Succeeded)
    );
    assert!(outcome.reason.is_none());
    assert!(outcome.provider_reference.is_some());
    assert_eq!(outcome.provider, None, "nothing was unusual");
    assert_eq!(world.charges(&request).await, 1);
    assert_eq!(world.status(request.payment_id).await, "succeeded");
}

#[tokio::test]
async fn outcome_continues_the_trace_of_the_first_request() {
    let world = World::start().await;
    let provider = world.provider();
    let message = request("12.15", "EUR");
    let (first, again) = (TraceParent::generate(), TraceParent::generate());
    for trace in [first.clone(), again] {
        let request = DeliveredRequest {
            message: message.clone(),
            trace: Some(trace),
            deliveries: 1,
        };
        provider
            .process(vec![request], |_, decision| assert_eq!(decision, Decision::Done))
            .await;
    }
    world.heard(message.payment_id, 2).await;
    for trace in world.traces(message.payment_id) {
        let trace = trace.expect("a trace");
        assert_eq!(trace, first, "nobody makes spans here, so that none is named");
    }
}

#[tokio::test]
async fn redelivered_request_is_charged_once_and_its_outcome_published_again() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    for _ in 0..3 {
        assert_eq!(decide(&provider, &request).await, Decision::Done);
    }
    world.heard(request.payment_id, 3).await;
    assert_eq!(world.charges(&request).await, 1);
    assert_eq!(world.bank.calls(request.payment_id), (1, 0));
}

#[tokio::test]
async fn amounts_that_decline_are_declined_with_their_reason() {
    let world = World::start().await;
    let provider = world.provider();
    for (value, reason) in [("4000.01", "insufficient_funds"), ("4000.02", "account_closed")] {
        let request = request(value, "DKK");
        assert_eq!(decide(&provider, &request).await, Decision::Done);
        let outcome = world.heard(request.payment_id, 1).await;
        assert_eq!(
            (outcome.status, outcome.reason.as_deref()),
            (OutcomeStatus::Declined, Some(reason))
        );
        assert_eq!(world.charges(&request).await, 0);
        assert_eq!(decide(&provider, &request).await, Decision::Done);
        world.heard(request.payment_id, 2).await;
    }
}

#[tokio::test]
async fn slow_amount_succeeds_when_the_timeout_is_longer() {
    let world = World::start().await;
    let provider = world.provider_with(|setup| setup.timeout = std::time::Duration::from_secs(10));
    let request = request("4000.03", "EUR");
    assert_eq!(decide(&provider, &request).await, Decision::Done);
    assert_eq!(world.bank.pays(request.payment_id), 1);
}

#[tokio::test]
async fn amount_that_fails_once_is_paid_under_the_same_key() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("4000.04", "EUR");
    assert!(matches!(decide(&provider, &request).await, Decision::Retry(_)));
    assert_eq!(world.status(request.payment_id).await, "started");
    assert_eq!(decide(&provider, &request).await, Decision::Done);
    assert_eq!(
        (world.bank.pays(request.payment_id), world.charges(&request).await),
        (2, 1)
    );
}

#[tokio::test]
async fn timeout_before_the_charge_leads_to_a_look_up_and_the_same_key() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("4000.05", "EUR");
    assert!(matches!(decide(&provider, &request).await, Decision::Retry(_)));
    assert_eq!(
        (
            world.status(request.payment_id).await.as_str(),
            world.charges(&request).await
        ),
        ("started", 0)
    );
    assert!(
        world.outcomes(request.payment_id).is_empty(),
        "an unknown result is no outcome"
    );
    assert_eq!(decide_until_done(&provider, &request).await, 1);
    assert_eq!(world.bank.calls(request.payment_id), (2, 1));
    assert_eq!(world.charges(&request).await, 1);
    assert_eq!(
        world.heard(request.payment_id, 1).await.status,
        OutcomeStatus::Succeeded
    );
}

#[tokio::test]
async fn timeout_after_the_charge_is_looked_up_and_never_charged_again() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("4000.06", "EUR");
    assert!(matches!(decide(&provider, &request).await, Decision::Retry(_)));
    assert_eq!(
        (
            world.status(request.payment_id).await.as_str(),
            world.charges(&request).await
        ),
        ("started", 1)
    );
    assert_eq!(decide_until_done(&provider, &request).await, 1);
    assert_eq!(world.bank.calls(request.payment_id), (1, 1));
    assert_eq!(world.charges(&request).await, 1);
    let outcome = world.heard(request.payment_id, 1).await;
    assert_eq!(outcome.status, OutcomeStatus::Succeeded);
    let effort = outcome.provider.unwrap();
    assert_eq!((effort.tries, effort.looked_up, effort.deliveries), (1, true, 1));
}

#[tokio::test]
async fn amounts_without_two_decimals_bring_no_trouble() {
    let world = World::start().await;
    let provider = world.provider();
    let requests = [request("400001", "JPY"), request("400.005", "KWD")];
    assert_eq!(
        decide_all(&provider, &requests).await,
        [Decision::Done, Decision::Done]
    );
}

#[tokio::test]
async fn currency_the_bank_lacks_is_declined_without_asking_it() {
    let world = World::start().await;
    let provider =
        world.provider_with(|setup| setup.policy.currencies = vec![Currency::try_new("EUR").unwrap()]);
    let (lacking, taken) = (request("12.15", "USD"), request("12.15", "EUR"));
    let decisions = decide_all(&provider, &[lacking.clone(), taken.clone()]).await;
    assert_eq!(decisions, [Decision::Done, Decision::Done]);
    let outcome = world.heard(lacking.payment_id, 1).await;
    assert_eq!(
        (outcome.status, outcome.reason.as_deref()),
        (OutcomeStatus::Declined, Some("rejected_request"))
    );
    assert_eq!(world.bank.calls(lacking.payment_id), (0, 0));
    assert_eq!(
        world.heard(taken.payment_id, 1).await.status,
        OutcomeStatus::Succeeded
    );

    // A bank that takes the currency later changes nothing about a payment that is declined.
    assert_eq!(decide(&world.provider(), &lacking).await, Decision::Done);
    world.heard(lacking.payment_id, 2).await;
}

#[tokio::test]
async fn slow_call_holds_nobody_elses_result() {
    let world = World::start().await;
    let provider = world.provider_with(|setup| setup.timeout = std::time::Duration::from_secs(10));
    let (slow, fast) = (request("1.00", "EUR"), request("2.00", "EUR"));
    world.bank.hold(slow.payment_id);
    let batch = [slow.clone(), fast.clone()];
    let deciding = tokio::spawn(async move { decide_all(&provider, &batch).await });
    world.heard(fast.payment_id, 1).await;
    assert_eq!(world.status(fast.payment_id).await, "succeeded");
    assert_eq!(world.status(slow.payment_id).await, "started");
    world.bank.open();
    assert_eq!(deciding.await.unwrap(), [Decision::Done, Decision::Done]);
}

#[tokio::test]
async fn same_request_twice_in_a_batch_is_charged_once() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    let decisions = decide_all(&provider, &[request.clone(), request.clone()]).await;
    assert_eq!(decisions[0], Decision::Done);
    assert!(
        matches!(decisions[1], Decision::Retry(_) | Decision::Done),
        "{:?}",
        decisions[1]
    );
    assert_eq!(
        (world.bank.pays(request.payment_id), world.charges(&request).await),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_overlapping_batches_at_two_providers_charge_each_payment_once() {
    let world = World::start().await;
    let mut requests: Vec<_> = (0..400).map(|_| request("12.15", "EUR")).collect();
    let (one, other) = (world.provider(), world.provider());
    let forwards = requests.clone();
    requests.reverse();
    let (first, second) = tokio::join!(decide_all(&one, &forwards), decide_all(&other, &requests));
    assert!(
        first
            .iter()
            .chain(&second)
            .all(|decision| !matches!(decision, Decision::Reject(_)))
    );
    for request in &requests {
        assert_eq!(world.bank.pays(request.payment_id), 1, "one call each");
    }
    let charged: i64 = sqlx::query_scalar("select count(*) from simulated_charges")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(charged, 400);
}

/// Batches that arrive together are written together, and what is wrong with one of them is not the others' fault.
#[tokio::test]
async fn request_that_the_ledger_cannot_hold_is_refused_alone_whatever_arrives_with_it() {
    let world = World::start().await;
    let provider = world.provider();
    let mut requests: Vec<_> = (0..30).map(|_| request("12.15", "EUR")).collect();
    for bad in [4, 5, 20] {
        requests[bad].invoice_number.push('\0');
    }
    let batches = [&requests[..1], &requests[1..2], &requests[2..10], &requests[10..]];
    let decisions = join_all(batches.map(|batch| decide_all(&provider, batch)))
        .await
        .concat();
    for (place, (decision, request)) in decisions.iter().zip(&requests).enumerate() {
        if [4, 5, 20].contains(&place) {
            assert!(matches!(decision, Decision::Reject(_)), "{place}: {decision:?}");
        } else {
            assert_eq!(*decision, Decision::Done, "{place}");
            assert_eq!(world.charges(request).await, 1);
        }
    }
}

#[tokio::test]
async fn same_request_in_batches_that_are_written_together_is_charged_once() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    let batch = std::slice::from_ref(&request);
    let decisions = join_all((0..6).map(|_| decide_all(&provider, batch)))
        .await
        .concat();
    // Whoever comes while it is being paid is put off; whoever comes after is answered again.
    assert_eq!(decisions[0], Decision::Done);
    let put_off = |decision: &Decision| matches!(decision, Decision::Done | Decision::Retry(_));
    assert!(decisions.iter().all(put_off), "{decisions:?}");
    assert_eq!(
        (world.bank.pays(request.payment_id), world.charges(&request).await),
        (1, 1)
    );
}

#[tokio::test]
async fn outcome_that_cannot_be_published_is_published_when_the_request_comes_again() {
    let world = World::start().await;
    let provider = world.provider();
    let request = request("12.15", "EUR");
    world.nats.kill9().await;
    eventually("the connection is seen to be gone", async || {
        !world.connection.is_connected()
    })
    .await
    .unwrap();
    assert!(matches!(decide(&provider, &request).await, Decision::Retry(_)));
    assert_eq!(
        world.status(request.payment_id).await,
        "succeeded",
        "the bank is paid all the same"
    );
    world.nats.start_again().await.unwrap();
    eventually("the connection is back", async || world.connection.is_connected())
        .await
        .unwrap();
    eventually("the outcome goes out", async || {
        decide(&provider, &request).await == Decision::Done
    })
    .await
    .unwrap();
    assert_eq!(
        (world.bank.pays(request.payment_id), world.charges(&request).await),
        (1, 1)
    );
}
