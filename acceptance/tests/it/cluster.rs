//! A cluster of three nats-servers with production's own configuration, which loses its servers one after the other while
//! invoices are being paid.

use std::time::Duration;

use acceptance::{Callers, System, client::NO_WAIT, metric, nats_cluster};
use futures_util::future::join_all;
use local_stack::{NatsNodes, NatsServer};

const STREAMS: [&str; 2] = ["PAY_REQUESTS", "PAY_OUTCOMES"];

/// Soon sent again, so that a lost message does not make the tests long.
async fn cluster() -> System {
    let resend_after = ("sender.resend_after_s".to_owned(), "5".to_owned());
    let system = System::start_patient(|options| {
        options.nats_nodes = NatsNodes::Three;
        options.invoice_app.extend([resend_after]);
    })
    .await
    .unwrap();
    nats_cluster::all_copies_whole(system.stack(), &STREAMS)
        .await
        .unwrap();
    system
}

fn callers(system: &System) -> Callers {
    Callers::start(8, vec![system.client().unwrap()], NO_WAIT)
}

async fn times_forgotten(system: &System) -> f64 {
    metric(system.stack().invoice_app(), "invoice_app_nats_forgot_total", &[])
        .await
        .unwrap()
}

/// Every call was accepted, and everything that was accepted is paid, once.
async fn expect_all_accepted_and_paid(system: &System, callers: Callers) {
    let tally = callers.stop().await.unwrap();
    tally.expect_all_accepted().unwrap();
    let asked = u64::try_from(tally.accepted.len()).unwrap();
    system.expect_all_paid(asked, 3).await.unwrap();
}

/// Starts servers again after a kill, and waits until each has everything. At once: none is ready without a majority.
async fn start_again(system: &System, servers: &[&NatsServer]) {
    for started in join_all(servers.iter().map(|server| server.start_again())).await {
        started.unwrap();
    }
    nats_cluster::all_copies_whole(system.stack(), &STREAMS)
        .await
        .unwrap();
}

/// Each two of the three.
fn pairs(system: &System) -> [[&NatsServer; 2]; 3] {
    let servers: Vec<&NatsServer> = system.stack().nats_servers().iter().collect();
    [[1, 2], [2, 0], [0, 1]].map(|pair| pair.map(|place| servers[place]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_of_a_stream_costs_no_call_and_no_payment() {
    let system = cluster().await;
    let callers = callers(&system);
    for stream in STREAMS {
        callers.accepted(300).await.unwrap();
        let killed = nats_cluster::leader(system.stack(), stream).await.unwrap();
        killed.kill9().await;
        nats_cluster::leader(system.stack(), stream).await.unwrap();
        callers.accepted(300).await.unwrap();
        start_again(&system, &[killed]).await;
    }
    expect_all_accepted_and_paid(&system, callers).await;
    assert!(
        times_forgotten(&system).await < 1.0,
        "an election is not forgetting"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_leave_one_after_the_other_cost_no_call_and_no_payment() {
    let system = cluster().await;
    let callers = callers(&system);
    for server in system.stack().nats_servers().iter() {
        callers.accepted(300).await.unwrap();
        let status = tokio::time::timeout(Duration::from_mins(2), server.leave())
            .await
            .unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(0));
        start_again(&system, &[server]).await;
    }
    expect_all_accepted_and_paid(&system, callers).await;
    assert!(
        times_forgotten(&system).await < 1.0,
        "a rollout is not forgetting"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run with `-- --ignored`"]
async fn servers_that_lose_their_stores_one_after_the_other_lose_no_payment() {
    let system = cluster().await;
    let callers = callers(&system);
    for _ in 0..2 {
        for server in system.stack().nats_servers().iter() {
            callers.accepted(500).await.unwrap();
            server.kill9().await;
            server.wipe_store().unwrap();
            start_again(&system, &[server]).await;
        }
    }
    expect_all_accepted_and_paid(&system, callers).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run with `-- --ignored`"]
async fn calls_are_accepted_while_two_of_three_servers_are_down_and_paid_when_they_are_back() {
    let system = cluster().await;
    let callers = callers(&system);
    for down in pairs(&system) {
        callers.accepted(500).await.unwrap();
        for server in down {
            server.kill9().await;
        }
        callers.accepted(1000).await.unwrap();
        start_again(&system, &down).await;
    }
    expect_all_accepted_and_paid(&system, callers).await;
    assert!(
        times_forgotten(&system).await < 1.0,
        "no quorum is not forgetting"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; run with `-- --ignored`"]
async fn two_servers_that_lose_their_stores_at_once_lose_no_payment() {
    let system = cluster().await;
    let callers = callers(&system);
    for down in pairs(&system) {
        callers.accepted(500).await.unwrap();
        for server in down {
            server.kill9().await;
            server.wipe_store().unwrap();
        }
        start_again(&system, &down).await;
    }
    expect_all_accepted_and_paid(&system, callers).await;
}
