//! A third service, of a team of its own: it hears how every payment ends, and can do nothing else. What adding one takes is
//! here as docs/extending.md lists it: an account in nats-server.conf, a name in `nats.more_readers`, and a consumer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use acceptance::{
    System,
    client::{WAIT, import_lines},
    eventually,
    streams::existing_stream,
};
use jetstream::{
    connection::{Connection, Settings},
    delivery::{self, DeadLetter, Decision, Decisions, Handler, Received},
    streams::Consumer,
};
use payment_contract::{
    PaymentId,
    messages::PaymentOutcomeV1,
    streams::{PAY_OUTCOMES, PAY_REQUESTS},
    subjects::PAYMENT_OUTCOME_TEMPLATE,
};
use tokio_util::sync::{CancellationToken, DropGuard};

mod grants;

const NAME: &str = "accounting";

/// What it was told: how often, by payment.
type Ledger = Arc<Mutex<BTreeMap<PaymentId, u64>>>;

/// The service itself.
struct Accounting {
    heard: Ledger,
    _stop: DropGuard,
}

struct Booking(Ledger);

impl Handler for Booking {
    type Message = PaymentOutcomeV1;

    const TEMPLATE: &'static str = PAYMENT_OUTCOME_TEMPLATE;

    async fn handle(&self, batch: Vec<Received<PaymentOutcomeV1>>, decisions: Decisions) {
        for received in batch {
            *self
                .0
                .lock()
                .unwrap()
                .entry(received.message.payment_id)
                .or_default() += 1;
            decisions.decide(received.token, Decision::Done);
        }
    }

    async fn dead_letter(
        &self,
        letters: Vec<DeadLetter>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("unexpected: {letters:?}").into())
    }
}

impl Accounting {
    /// Reads from the beginning of the stream, or from where its consumer stands.
    fn start(connection: Connection) -> Self {
        let heard = Ledger::default();
        let stop = CancellationToken::new();
        let settings = delivery::Settings {
            slots: 500,
            max_batch: 100,
            retry_delay: Duration::from_millis(200),
            drain: Duration::from_secs(5),
        };
        tokio::spawn(delivery::run(
            connection,
            Consumer::new(PAY_OUTCOMES, NAME),
            settings,
            Arc::new(Booking(Arc::clone(&heard))),
            stop.clone(),
        ));
        Self {
            heard,
            _stop: stop.drop_guard(),
        }
    }

    /// How many payments it heard of, and the most often of any.
    fn heard(&self) -> (usize, u64) {
        let heard = self.heard.lock().unwrap();
        (heard.len(), heard.values().copied().max().unwrap_or_default())
    }
}

/// A system with an account for it, and a connection by its key.
async fn system() -> (System, Connection) {
    let key = nkeys::KeyPair::new_user();
    let configuration = tempfile::tempdir().unwrap();
    let path = grants::configuration(configuration.path(), &key.public_key()).unwrap();
    let system = System::start_with(|options| {
        options.nats_configuration = path;
        let readers = ("nats.more_readers".to_owned(), format!("[\"{NAME}\"]"));
        options.payment_provider.extend([readers]);
    })
    .await
    .unwrap();
    let nats = system.stack().nats();
    let connection = Connection::init(Settings {
        name: NAME,
        url: nats.url(),
        nkey_seed: key.seed().unwrap(),
        nkey_seed_file: None,
        ca_file: Some(nats.keys().ca_file()),
    })
    .await
    .unwrap();
    let mut link = connection.link();
    link.wait_for(|link| link.connected).await.unwrap();
    (system, connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_service_hears_every_outcome_once_and_can_do_nothing_else() {
    let (system, connection) = system().await;
    let client = system.client().unwrap();
    client.import(import_lines("A", 300, 0)).await.unwrap();
    client.pay_all(WAIT).await.unwrap().expect(200).unwrap();

    let accounting = Accounting::start(connection.clone());
    eventually("accounting has heard of all 300", || async {
        Ok(accounting.heard().0 >= 300)
    })
    .await
    .unwrap();

    // It was away for a while, and goes on from where it stood.
    drop(accounting);
    client.import(import_lines("B", 50, 0)).await.unwrap();
    client.pay_all(WAIT).await.unwrap().expect(200).unwrap();
    let accounting = Accounting::start(connection.clone());
    eventually("accounting has heard of the other 50", || async {
        Ok(accounting.heard().0 >= 50)
    })
    .await
    .unwrap();
    assert_eq!(accounting.heard(), (50, 1));
    drop(accounting);

    let streams = async || {
        let nats = system.stack().nats();
        let [requests, outcomes] = [PAY_REQUESTS, PAY_OUTCOMES].map(|stream| existing_stream(nats, stream));
        (
            requests.await.unwrap().last_sequence,
            outcomes.await.unwrap().last_sequence,
        )
    };
    let before = streams().await;
    for subject in grants::FORBIDDEN {
        connection.client().publish(*subject, "{}".into()).await.unwrap();
    }
    connection.client().flush().await.unwrap();
    let log = system.stack().directory().join("logs/nats-server.log");
    eventually("each was refused", || async {
        let log = std::fs::read_to_string(&log)?;
        let refused = |subject: &&&str| {
            let mut violations = log.lines().filter(|line| line.contains("Publish Violation"));
            violations.any(|line| line.contains(&format!("\"{subject}\"")))
        };
        let refused = grants::FORBIDDEN.iter().filter(refused).count();
        Ok(refused == grants::FORBIDDEN.len())
    })
    .await
    .unwrap();
    assert_eq!(streams().await, before);
    system.check().await.unwrap().expect_succeeded(350).unwrap();
}
