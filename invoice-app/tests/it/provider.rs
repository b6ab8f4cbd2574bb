//! A payment-provider for tests: a real client of a real nats-server that remembers what it was asked and answers as told.

use std::sync::{Arc, Mutex};

use invoice_app::streams::{OUTCOMES, PAYMENT_PROVIDER};
use jetstream::{
    connection::Connection,
    delivery::{self, DeadLetter, Decision, Decisions, Handler, Received},
    provisioning::{self, StreamProvisioner},
    publish::{Outgoing, Publisher, Sent},
    streams::Stream,
};
use local_stack::{NatsOptions, NatsServer, User, eventually};
use payment_contract::messages::{OutcomeStatus, PayRequestV1, PaymentOutcomeV1};
use payment_contract::{
    streams::PAY_OUTCOMES,
    subjects::{self, PAYMENT_OUTCOMES},
};
use time::OffsetDateTime;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::{KEYS, connect};

/// A nats-server of one's own.
pub(crate) struct Nats {
    pub(crate) server: NatsServer,
    pub(crate) url: String,
    _directory: tempfile::TempDir,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = NatsOptions::for_tests(directory.path(), KEYS.1.clone());
        let server = NatsServer::start(options).await.unwrap();
        Self {
            url: server.url(),
            server,
            _directory: directory,
        }
    }
}

/// The other side.
pub(crate) struct Provider {
    pub(crate) connection: Connection,
    pub(crate) asked: Arc<Mutex<Vec<PayRequestV1>>>,
    _stop: DropGuard,
}

type Policy = Box<dyn Fn(&PayRequestV1) -> Option<(OutcomeStatus, Option<String>)> + Send + Sync>;

struct Answers {
    publisher: Publisher,
    asked: Arc<Mutex<Vec<PayRequestV1>>>,
    policy: Policy,
}

impl Provider {
    /// Pays everything.
    pub(crate) async fn start(url: &str) -> Self {
        Self::answering(url, Box::new(|_| Some((OutcomeStatus::Succeeded, None)))).await
    }

    /// Remembers, and never answers.
    pub(crate) async fn silent(url: &str) -> Self {
        Self::answering(url, Box::new(|_| None)).await
    }

    pub(crate) async fn answering(url: &str, policy: Policy) -> Self {
        let connection = connect("payment-provider", User::PaymentProvider, Some(url)).await;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let publisher = Publisher::new(connection.clone());
        let handler = Arc::new(Answers {
            publisher,
            asked: Arc::clone(&asked),
            policy,
        });
        let settings = delivery::Settings {
            slots: 2000,
            max_batch: 500,
            retry_delay: std::time::Duration::from_millis(100),
            drain: std::time::Duration::from_secs(1),
        };
        let stop = CancellationToken::new();
        tokio::spawn(delivery::run(
            connection.clone(),
            PAYMENT_PROVIDER,
            settings,
            handler,
            stop.clone(),
        ));
        let outcomes = StreamProvisioner {
            connection: connection.clone(),
            stream: Stream {
                name: PAY_OUTCOMES,
                subject: PAYMENT_OUTCOMES,
            },
            consumers: vec![OUTCOMES],
            replicas: 1,
        };
        tokio::spawn(provisioning::run(outcomes, connection.clone(), stop.clone()));
        let this = Self {
            connection,
            asked,
            _stop: stop.drop_guard(),
        };
        this.wait_for_stream().await;
        this
    }

    async fn wait_for_stream(&self) {
        eventually("PAY_OUTCOMES is there", async || {
            self.connection
                .own_jetstream()
                .get_stream(PAY_OUTCOMES)
                .await
                .ok()
                .map(|_| ())
        })
        .await
        .unwrap();
    }

    /// How many requests came in.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Publishes bytes as an outcome.
    pub(crate) async fn publish_raw(&self, body: &'static [u8]) {
        let js = self.connection.own_jetstream();
        js.publish("pay.v1.outcome.succeeded", body.into())
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// Publishes an outcome, `salt` making it another message.
    pub(crate) async fn publish(&self, outcome: &PaymentOutcomeV1, salt: &str) {
        let mut message = outgoing(outcome);
        message.message_id.push_str(salt);
        for result in Publisher::new(self.connection.clone())
            .send_confirmed(vec![message])
            .await
        {
            result.unwrap();
        }
    }
}

fn outgoing(outcome: &PaymentOutcomeV1) -> Outgoing {
    Outgoing {
        subject: outcome.subject(),
        template: subjects::PAYMENT_OUTCOME_TEMPLATE,
        message_id: outcome.message_id(),
        conversation_id: outcome.payment_id.as_uuid(),
        sent: Sent::Once,
        traceparent: None,
        body: outcome.encode(),
    }
}

impl Handler for Answers {
    type Message = PayRequestV1;

    const TEMPLATE: &'static str = subjects::PAY_REQUEST_TEMPLATE;

    async fn handle(&self, batch: Vec<Received<PayRequestV1>>, decisions: Decisions) {
        let mut outcomes = Vec::new();
        for received in &batch {
            let request = &received.message;
            self.asked.lock().unwrap().push(request.clone());
            if let Some((status, reason)) = (self.policy)(request) {
                let outcome = PaymentOutcomeV1 {
                    payment_id: request.payment_id,
                    invoice_id: request.invoice_id,
                    status,
                    reason,
                    provider_reference: Some("test".to_owned()),
                    settled_at: OffsetDateTime::now_utc(),
                    provider: None,
                };
                outcomes.push(outgoing(&outcome));
            }
        }
        let sent = self.publisher.send_confirmed(outcomes).await;
        let good = sent.iter().all(Result::is_ok);
        for received in batch {
            let retry = Decision::Retry(std::time::Duration::from_millis(200));
            decisions.decide(received.token, if good { Decision::Done } else { retry });
        }
    }

    async fn dead_letter(
        &self,
        letters: Vec<DeadLetter>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        panic!("invoice-app sent something unreadable: {letters:?}")
    }
}
