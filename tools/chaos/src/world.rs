//! What a chaos run breaks: two replicas of each service, each behind proxies of its own, one Postgres, one NATS with an
//! administrator, and a bank that misbehaves.

use std::time::Duration;

use local_stack::{CutProxy, NatsAdmin, Service, ServiceKind, ServiceOptions};

use super::plan::{Link, Replica};
use acceptance::{BankProcess, Client, Error, Result, System};
use bank_simulator::Mix;

/// A call to the bank takes at most this long.
const BANK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Calls still in flight after this have been given up by their callers, whatever the bank's line says: the timeout, less
/// what a delayed link adds to their arrival.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// Callers of the API turn to the other replica after this.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// One replica and its links.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) service: Service,
    nats: CutProxy,
    postgres: CutProxy,
    bank: CutProxy,
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    // Dropped in this order.
    apps: [Node; 2],
    providers: [Node; 2],
    pub(super) admin: NatsAdmin,
    pub(super) bank: BankProcess,
    pub(super) mix: Mix,
    pub(super) system: System,
}

impl World {
    /// Starts everything. The bank draws its faults from the seed too.
    pub(super) async fn start(seed: u64) -> Result<Self> {
        // Postgres is going to be killed, and must keep what it has committed.
        let system = System::start_with(|options| options.durable = true).await?;
        let stack = system.stack();
        let mix = Mix::everything()?;
        let mut options = bank_simulator::Options::new(stack.directory().join("bank.journal"));
        options.seed = seed;
        options.mix = mix.clone();
        options.caller_patience = PATIENCE;
        let log = stack.directory().join("logs/bank-simulator.log");
        let bank = BankProcess::start(&options, log).await?;
        // Their place is taken by replicas behind proxies.
        let limit = Duration::from_secs(30);
        tokio::join!(
            stack.invoice_app().stop(limit),
            stack.payment_provider().stop(limit)
        );
        let admin = NatsAdmin::take_over(stack.nats()).await?;
        let start = |kind, number| Node::start(&system, &bank, kind, number);
        let (app, other_app, provider, other_provider) = tokio::try_join!(
            start(ServiceKind::InvoiceApp, 0),
            start(ServiceKind::InvoiceApp, 1),
            start(ServiceKind::PaymentProvider, 0),
            start(ServiceKind::PaymentProvider, 1),
        )?;
        Ok(Self {
            apps: [app, other_app],
            providers: [provider, other_provider],
            admin,
            bank,
            mix,
            system,
        })
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.apps.iter().chain(&self.providers)
    }

    pub(super) fn providers(&self) -> impl Iterator<Item = &Node> {
        self.providers.iter()
    }

    pub(super) fn provider(&self) -> &Node {
        let [first, _] = &self.providers;
        first
    }

    pub(super) fn node(&self, replica: Replica) -> &Node {
        let ([first, second], number) = match replica {
            Replica::App(number) => (&self.apps, number),
            Replica::Provider(number) => (&self.providers, number),
        };
        if number == 0 { first } else { second }
    }

    pub(super) fn link(&self, link: Link) -> &CutProxy {
        match link {
            Link::Nats(replica) => &self.node(replica).nats,
            Link::Postgres(replica) => &self.node(replica).postgres,
            Link::Bank(provider) => &self.node(Replica::Provider(provider)).bank,
        }
    }

    /// Callers of both replicas of the API.
    pub(super) fn clients(&self) -> Result<[Client; 2]> {
        let [first, second] = &self.apps;
        let client = |node: &Node| Client::with_timeout(&node.service.url(), CALL_TIMEOUT);
        Ok([client(first)?, client(second)?])
    }

    /// Mends every link.
    pub(super) fn mend(&self) {
        for node in self.nodes() {
            node.nats.restore();
            node.postgres.restore();
            node.bank.restore();
        }
    }
}

impl Node {
    async fn start(system: &System, bank: &BankProcess, kind: ServiceKind, number: usize) -> Result<Self> {
        let stack = system.stack();
        let (nats, postgres, bank) = tokio::try_join!(
            CutProxy::start(stack.nats().port()),
            CutProxy::start(stack.postgres().port()),
            CutProxy::start(bank.port()),
        )?;
        let name = format!("{}-{number}", kind.as_str());
        let service = system.replica(kind, &name, |options| {
            let database = match kind {
                ServiceKind::InvoiceApp => "invoices",
                ServiceKind::PaymentProvider => "payments",
            };
            set(options, "nats.url", format!("tls://127.0.0.1:{}", nats.port()));
            let url = stack.postgres().url_at_port(database, postgres.port());
            set(options, "database.url", url);
            match kind {
                // What is lost is sent again soon, so that a run need not wait long for its end.
                ServiceKind::InvoiceApp => set(options, "sender.resend_after_s", "3"),
                ServiceKind::PaymentProvider => {
                    set(options, "gateway.kind", "http");
                    set(
                        options,
                        "gateway.url",
                        format!("http://127.0.0.1:{}", bank.port()),
                    );
                    set(
                        options,
                        "gateway.timeout_ms",
                        BANK_TIMEOUT.as_millis().to_string(),
                    );
                    set(options, "ledger.lease_ms", "5000");
                    set(options, "ledger.lease_margin_ms", "1000");
                }
            }
        });
        let service = service
            .await
            .map_err(|error| Error::during(error, &format!("starting {name}")))?;
        Ok(Self {
            name,
            service,
            nats,
            postgres,
            bank,
        })
    }
}

fn set(options: &mut ServiceOptions, key: &str, value: impl Into<String>) {
    options.settings.insert(key.to_owned(), value.into());
}
