//! The whole way, from a message in the stream to its acknowledgement.

use std::{sync::Arc, time::Duration};

use jetstream::{
    connection::Connection,
    delivery::{self, Settings},
    provisioning::{self, StreamProvisioner, peer_consumer_created},
    publish::{Outgoing, Publisher, Sent},
    streams::Stream,
};
use local_stack::{User, eventually};
use payment_contract::{
    messages::{OutcomeStatus, PayRequestV1},
    subjects::{self, PAY_REQUESTS},
};
use payment_provider::{
    pay_requests::PayRequests,
    streams::{INVOICE_APP, REQUESTS, provisioner},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{LIMIT, World, connect, request};

/// A running consumer, and the other side.
pub(crate) struct Running {
    pub(crate) invoice_app: Connection,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(world: &World, provider: PayRequests) -> Self {
        let invoice_app = connect(&world.nats, User::InvoiceApp).await;
        let requests = StreamProvisioner {
            connection: invoice_app.clone(),
            stream: Stream {
                name: REQUESTS.stream,
                subject: PAY_REQUESTS,
            },
            consumers: vec![REQUESTS],
            replicas: 1,
        };
        requests.ensure().await.unwrap();
        let stop = CancellationToken::new();
        let settings = Settings {
            slots: 256,
            max_batch: 64,
            retry_delay: Duration::from_millis(200),
            drain: Duration::from_secs(5),
        };
        let run = delivery::run(
            world.connection.clone(),
            REQUESTS,
            settings,
            Arc::new(provider),
            stop.clone(),
        );
        Self {
            invoice_app,
            stop,
            task: tokio::spawn(run),
        }
    }

    pub(crate) async fn send(&self, requests: &[PayRequestV1]) {
        let outgoing = requests
            .iter()
            .map(|request| Outgoing {
                subject: request.subject(),
                template: subjects::PAY_REQUEST_TEMPLATE,
                message_id: request.message_id(1),
                conversation_id: request.payment_id.as_uuid(),
                sent: Sent::First,
                traceparent: None,
                body: request.encode(),
            })
            .collect();
        for sent in Publisher::new(self.invoice_app.clone())
            .send_confirmed(outgoing)
            .await
        {
            sent.unwrap();
        }
    }

    /// Waits until every message is acknowledged or terminated.
    pub(crate) async fn all_decided(&self) {
        eventually("nothing is pending", async || {
            let jetstream = self.invoice_app.own_jetstream();
            let consumer: async_nats::jetstream::consumer::PullConsumer = jetstream
                .get_consumer_from_stream(&*REQUESTS.durable, REQUESTS.stream)
                .await
                .unwrap();
            let info = consumer.cached_info();
            info.num_pending == 0 && info.num_ack_pending == 0
        })
        .await
        .unwrap();
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("it stops in time")
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_the_stream_are_paid_answered_and_acknowledged() {
    let world = World::start().await;
    let running = Running::start(&world, world.provider()).await;
    let mut requests: Vec<_> = (0..300).map(|_| request("12.15", "EUR")).collect();
    requests.push(request("4000.01", "EUR"));
    running.send(&requests).await;
    running.all_decided().await;
    for request in &requests {
        let expected = if request.amount.minor_units() == 400_001 {
            OutcomeStatus::Declined
        } else {
            OutcomeStatus::Succeeded
        };
        assert_eq!(world.heard(request.payment_id, 1).await.status, expected);
        assert_eq!(world.bank.pays(request.payment_id), 1);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_result_is_looked_up_when_the_message_comes_again() {
    let world = World::start().await;
    let running = Running::start(&world, world.provider()).await;
    let request = request("4000.06", "EUR");
    running.send(std::slice::from_ref(&request)).await;
    running.all_decided().await;
    let outcome = world.heard(request.payment_id, 1).await;
    assert_eq!(outcome.status, OutcomeStatus::Succeeded);
    let effort = outcome.provider.unwrap();
    assert!(effort.looked_up && effort.deliveries > 1, "{effort:?}");
    assert_eq!(world.bank.calls(request.payment_id), (1, 1));
    assert_eq!(world.charges(&request).await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_waits_for_the_call_in_hand_and_its_outcome() {
    let world = World::start().await;
    let provider = world.provider_with(|setup| setup.timeout = Duration::from_secs(10));
    let running = Running::start(&world, provider).await;
    let request = request("12.15", "EUR");
    world.bank.hold(request.payment_id);
    running.send(std::slice::from_ref(&request)).await;
    world.called(&request).await;
    running.stop.cancel();
    world.bank.open();
    running.stop().await;
    assert_eq!(
        world.heard(request.payment_id, 1).await.status,
        OutcomeStatus::Succeeded
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_of_outcomes_is_made_again_when_nats_has_lost_it() {
    let world = World::start().await;
    let stop = CancellationToken::new();
    let provisioner = provisioner(world.connection.clone(), 1, &[]);
    let guard = tokio::spawn(provisioning::run(
        provisioner.clone(),
        world.connection.clone(),
        stop.clone(),
    ));
    let first = provisioner.ensure().await.unwrap();

    world.nats.kill9().await;
    world.nats.wipe_store().unwrap();
    world.nats.start_again().await.unwrap();

    let invoice_app = connect(&world.nats, User::InvoiceApp).await;
    eventually("the durable is there again", async || {
        let created = peer_consumer_created(&invoice_app, &INVOICE_APP).await;
        matches!(created, Ok(Some(created)) if created > first.consumers[0])
    })
    .await
    .unwrap();
    stop.cancel();
    tokio::time::timeout(LIMIT, guard)
        .await
        .expect("it stops in time")
        .unwrap();
}
