//! `limit.nats`: the messages of paying, published, taken and acknowledged through both streams, both accounts and TLS, by
//! the services' own code for that: no Postgres, no HTTP, no services.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jetstream::{
    connection::{Connection, Settings},
    delivery::{self, DeadLetter, Decision, Decisions, Handler, Received},
    publish::{Outgoing, Publisher, Sent},
};
use local_stack::{NatsServer, User};
use payment_contract::{
    InvoiceId, Money, PaymentId,
    messages::{OutcomeStatus, PayRequestV1, PaymentOutcomeV1},
    subjects,
    trace::TraceParent,
};
use time::OffsetDateTime;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{statistics::rate, testbed::Testbed, usage::Run};
use acceptance::{Error, Result};

/// Requests published together, as invoice-app's sender does at most.
const GROUP: usize = 512;
/// As payment-provider by default.
const PROVIDER: delivery::Settings = settings(640, 512);
/// As invoice-app.
const APP: delivery::Settings = settings(2000, 500);
/// Connecting to a server on this machine takes milliseconds, and so does each message.
const LIMIT: Duration = Duration::from_mins(5);

const fn settings(slots: usize, max_batch: usize) -> delivery::Settings {
    delivery::Settings {
        slots,
        max_batch,
        retry_delay: Duration::from_secs(1),
        drain: Duration::from_secs(10),
    }
}

/// Takes requests, answers each with an outcome that the stream has confirmed.
struct Answering {
    publisher: Publisher,
}

/// Takes outcomes, and counts them.
#[derive(Default)]
struct Counting {
    taken: watch::Sender<u64>,
}

/// Both ends of the way, connected as the services are.
struct Way {
    app: Connection,
    provider: Connection,
    publisher: Publisher,
    counting: Arc<Counting>,
    stop: CancellationToken,
    taking: [JoinHandle<()>; 2],
}

/// Sends the messages of `invoices` through. The services must be stopped.
pub async fn measure(testbed: &Testbed, invoices: u32) -> Result<Run> {
    let mut requests: Vec<Outgoing> = (1..=invoices).map(request).collect::<Result<_>>()?;
    let way = Way::open(testbed).await?;
    let meter = testbed.meter().await?;
    while !requests.is_empty() {
        let rest = requests.split_off(requests.len().min(GROUP));
        way.publisher.send(std::mem::replace(&mut requests, rest)).await?;
    }
    let all = way.taken(u64::from(invoices)).await;
    let elapsed = meter.elapsed();
    let usage = meter.stop(elapsed).await?;
    way.close().await?;
    all?;
    Ok(Run {
        rate: rate(u64::from(invoices), elapsed),
        usage,
    })
}

/// The same, one after another: how long each takes.
pub async fn one_by_one(testbed: &Testbed, invoices: u32) -> Result<Vec<Duration>> {
    let way = Way::open(testbed).await?;
    let mut took = Vec::new();
    for n in 1..=invoices {
        let request = request(n)?;
        let began = Instant::now();
        way.publisher.send(vec![request]).await?;
        way.taken(u64::from(n)).await?;
        took.push(began.elapsed());
    }
    way.close().await?;
    Ok(took)
}

impl Way {
    async fn open(testbed: &Testbed) -> Result<Self> {
        let nats = testbed.stack().nats();
        let (app, provider) = (
            connect(nats, User::InvoiceApp).await?,
            connect(nats, User::PaymentProvider).await?,
        );
        invoice_app::streams::provisioner(app.clone(), 1, &[])
            .ensure()
            .await?;
        payment_provider::streams::provisioner(provider.clone(), 1, &[])
            .ensure()
            .await?;
        let counting = Arc::new(Counting::default());
        let answering = Arc::new(Answering {
            publisher: Publisher::new(provider.clone()),
        });
        let stop = CancellationToken::new();
        let answers = tokio::spawn(delivery::run(
            provider.clone(),
            payment_provider::streams::REQUESTS,
            PROVIDER,
            answering,
            stop.clone(),
        ));
        let counts = tokio::spawn(delivery::run(
            app.clone(),
            invoice_app::streams::OUTCOMES,
            APP,
            Arc::clone(&counting),
            stop.clone(),
        ));
        Ok(Self {
            publisher: Publisher::new(app.clone()),
            app,
            provider,
            counting,
            stop,
            taking: [answers, counts],
        })
    }

    /// Waits until so many outcomes have come.
    async fn taken(&self, wanted: u64) -> Result<()> {
        let mut taken = self.counting.taken.subscribe();
        let all = tokio::time::timeout(LIMIT, taken.wait_for(|taken| *taken >= wanted)).await;
        all.map_err(|_| Error::new("not every message came through"))??;
        Ok(())
    }

    async fn close(self) -> Result<()> {
        self.stop.cancel();
        for taking in self.taking {
            taking.await?;
        }
        for connection in [self.app, self.provider] {
            connection.close(Duration::from_secs(5)).await;
        }
        Ok(())
    }
}

async fn connect(nats: &NatsServer, user: User) -> Result<Connection> {
    let connection = Connection::init(Settings {
        name: user.as_str(),
        url: nats.url(),
        nkey_seed: nats.keys().seed(user)?,
        nkey_seed_file: None,
        ca_file: Some(nats.keys().ca_file()),
    })
    .await?;
    let mut link = connection.link();
    let up = link.wait_for(|link| link.connected);
    tokio::time::timeout(LIMIT, up).await??;
    Ok(connection)
}

fn request(n: u32) -> Result<Outgoing> {
    let currency = match n % 3 {
        0 => "EUR",
        1 => "GBP",
        _ => "DKK",
    };
    let message = PayRequestV1 {
        payment_id: PaymentId::generate(),
        invoice_id: InvoiceId::generate(),
        invoice_number: format!("L{n}"),
        amount: Money::parse("12.15", currency)?,
        attempt: 1,
        requested_at: OffsetDateTime::now_utc(),
    };
    Ok(Outgoing {
        subject: message.subject(),
        template: subjects::PAY_REQUEST_TEMPLATE,
        message_id: message.message_id(1),
        conversation_id: message.payment_id.as_uuid(),
        sent: Sent::First,
        traceparent: Some(TraceParent::generate().to_string()),
        body: message.encode(),
    })
}

impl Handler for Answering {
    type Message = PayRequestV1;

    const TEMPLATE: &'static str = subjects::PAY_REQUEST_TEMPLATE;

    async fn handle(&self, batch: Vec<Received<PayRequestV1>>, decisions: Decisions) {
        let (mut tokens, mut outcomes) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for received in batch {
            let request = received.message;
            let outcome = PaymentOutcomeV1 {
                payment_id: request.payment_id,
                invoice_id: request.invoice_id,
                status: OutcomeStatus::Succeeded,
                reason: None,
                provider_reference: Some(format!("sim-{}", request.invoice_id)),
                settled_at: OffsetDateTime::now_utc(),
                provider: None,
            };
            tokens.push(received.token);
            outcomes.push(Outgoing {
                subject: outcome.subject(),
                template: subjects::PAYMENT_OUTCOME_TEMPLATE,
                message_id: outcome.message_id(),
                conversation_id: outcome.payment_id.as_uuid(),
                sent: Sent::Once,
                traceparent: received.traceparent,
                body: outcome.encode(),
            });
        }
        let confirmed = self.publisher.send_confirmed(outcomes).await;
        for (token, confirmed) in tokens.into_iter().zip(confirmed) {
            let decision = match confirmed {
                Ok(()) => Decision::Done,
                Err(_) => Decision::Retry(Duration::from_secs(1)),
            };
            decisions.decide(token, decision);
        }
    }

    async fn dead_letter(
        &self,
        letters: Vec<DeadLetter>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{} requests could not be read", letters.len()).into())
    }
}

impl Handler for Counting {
    type Message = PaymentOutcomeV1;

    const TEMPLATE: &'static str = subjects::PAYMENT_OUTCOME_TEMPLATE;

    async fn handle(&self, batch: Vec<Received<PaymentOutcomeV1>>, decisions: Decisions) {
        let mut taken = 0;
        for received in batch {
            // One that comes again was counted before.
            taken += u64::from(received.delivered == 1);
            decisions.decide(received.token, Decision::Done);
        }
        self.taken.send_modify(|all| *all += taken);
    }

    async fn dead_letter(
        &self,
        letters: Vec<DeadLetter>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{} outcomes could not be read", letters.len()).into())
    }
}
