//! What a measurement stands on: the stack that `bin/just up` runs, in release, with its durable settings, thrown away
//! afterwards. Each repetition has one of its own, so that none is slowed down by what an earlier one left.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use local_stack::{Ports, Service, ServiceKind, Stack, StackOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::{
    pay_each::wire::Wires,
    usage::{Meter, Watched},
};
use acceptance::{Client, Error, Report, Result, eventually_within, system::count};
use reconcile::BankBooks;

/// How long a service may take to stop or start in between.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Whatever was asked for is paid by then, or never.
const SETTLE_LIMIT: Duration = Duration::from_mins(10);
/// One import holds this many lines at most: its body stays some megabytes small.
const IMPORTED_AT_ONCE: u32 = 100_000;

/// A running stack.
#[derive(Debug)]
pub struct Testbed {
    // Dropped in this order.
    replicas: Vec<(ServiceKind, Service)>,
    others: Vec<Watched>,
    stack: Stack,
    _directory: TempDir,
}

impl Testbed {
    /// Starts one as it is configured by default.
    pub async fn open() -> Result<Self> {
        Self::open_with(|_| {}).await
    }

    /// Starts one whose bank is at this address.
    pub async fn open_at_bank(url: &str) -> Result<Self> {
        Self::open_with(|stack| {
            let settings = [("gateway.kind", "http"), ("gateway.url", url)];
            stack
                .payment_provider
                .extend(settings.map(|(key, value)| (key.to_owned(), value.to_owned())));
        })
        .await
    }

    async fn open_with(configure: impl FnOnce(&mut StackOptions)) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir()?;
        let mut options = StackOptions::for_tests(directory.path())?;
        options.ports = Ports::free();
        // As `up` has it. Everything here is about what durable payments cost.
        options.durable = true;
        configure(&mut options);
        let stack = Stack::start(options).await?;
        Ok(Self {
            replicas: Vec::new(),
            others: Vec::new(),
            stack,
            _directory: directory,
        })
    }

    /// Its processes.
    pub const fn stack(&self) -> &Stack {
        &self.stack
    }

    /// A caller of its API.
    pub fn client(&self) -> Result<Client> {
        Client::try_new(&self.stack.invoice_app().url())
    }

    /// Connections to it that cost the cores little.
    pub fn wires(&self) -> Arc<Wires> {
        let port = self.stack.invoice_app().options().http_port;
        Arc::new(Wires::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// Starts a second replica of each service.
    pub async fn add_replicas(&mut self) -> Result<()> {
        for kind in [ServiceKind::InvoiceApp, ServiceKind::PaymentProvider] {
            let options = self.stack.another(kind, &format!("{}-2", kind.as_str()))?;
            self.replicas.push((kind, Service::start(options).await?));
        }
        Ok(())
    }

    /// Watches a process more, which belongs to the measurement and not to the stack.
    pub fn watch(&mut self, name: &'static str, pid: u32) {
        self.others.push(Watched {
            name,
            pid,
            with_children: false,
        });
    }

    /// Stops the services, for measurements without them.
    pub async fn stop_services(&self) {
        tokio::join!(
            self.stack.invoice_app().stop(STOP_LIMIT),
            self.stack.payment_provider().stop(STOP_LIMIT)
        );
    }

    /// Starts them again.
    pub async fn start_services(&self) -> Result<()> {
        self.stack.invoice_app().start_again().await?;
        self.stack.payment_provider().start_again().await?;
        Ok(())
    }

    /// Its processes, for a meter. Those that do not run cost nothing and are left out.
    pub fn watched(&self) -> Vec<Watched> {
        let mut programs = vec![
            ("invoice-app", self.stack.invoice_app().program()),
            ("payment-provider", self.stack.payment_provider().program()),
            ("nats-server", self.stack.nats().program()),
            ("postgres", self.stack.postgres().program()),
        ];
        for (kind, service) in &self.replicas {
            programs.push((kind.as_str(), service.program()));
        }
        let running = programs.into_iter().filter(|(_, program)| {
            program
                .process()
                .is_some_and(|process| process.exit_status().is_none())
        });
        let watched = running.map(|(name, program)| Watched {
            name,
            pid: program.pid(),
            with_children: name == "postgres",
        });
        watched.chain(self.others.iter().cloned()).collect()
    }

    /// A meter of all of them.
    pub async fn meter(&self) -> Result<Meter> {
        Meter::start(self.watched(), &self.stack.invoice_database_url()).await
    }

    /// Imports `invoices` unpaid ones, numbered `<prefix>1` and so on; answers with how long that took. Amounts differ, in
    /// three currencies, so that messages go to several subjects.
    pub async fn import(&self, prefix: &str, invoices: u32) -> Result<Duration> {
        let currency = |n| match n % 3 {
            0 => "EUR",
            1 => "GBP",
            _ => "DKK",
        };
        self.import_of(prefix, invoices, |n| (amount(n), currency(n)))
            .await
    }

    /// The same, of other amounts and currencies.
    pub async fn import_of(
        &self,
        prefix: &str,
        invoices: u32,
        money: impl Fn(u32) -> (String, &'static str),
    ) -> Result<Duration> {
        let client = self.client()?;
        let mut took = Duration::ZERO;
        let mut first = 1;
        while first <= invoices {
            let last = invoices.min(first + IMPORTED_AT_ONCE - 1);
            let lines = lines(prefix, first..=last, &money);
            let began = Instant::now();
            let imported = client.import(lines).await?;
            took += began.elapsed();
            if acceptance::client::count(&imported, "/created") != u64::from(last - first + 1) {
                return Err(Error::new(format!("not all invoices were imported: {imported}")));
            }
            first = last + 1;
        }
        Ok(took)
    }

    /// The ids of the unpaid ones whose numbers begin so.
    pub async fn unpaid(&self, prefix: &str) -> Result<Vec<String>> {
        let mut database = PgConnection::connect(&self.stack.invoice_database_url()).await?;
        let ids = sqlx::query_scalar(
            "select id::text from invoices where number ^@ $1 and status = 'unpaid' order by id",
        )
        .bind(prefix)
        .fetch_all(&mut database)
        .await?;
        Ok(ids)
    }

    /// Brings the databases to rest, so that a measurement pays for its own writes and nobody else's: statistics and
    /// visibility as autovacuum leaves them, everything on disk. The first change of each page after a checkpoint is
    /// logged as a whole page, so nothing is made cheaper by this.
    pub async fn settle_databases(&self) -> Result<()> {
        for url in [
            self.stack.invoice_database_url(),
            self.stack.payment_database_url(),
        ] {
            settle_database(&url).await?;
        }
        Ok(())
    }

    /// Waits until no payment is open.
    pub async fn wait_until_settled(&self) -> Result<()> {
        let url = self.stack.invoice_database_url();
        let query = "select count(*) from payments where status = 'requested'";
        eventually_within(SETTLE_LIMIT, "no payment is open", || async {
            Ok(count(&url, query).await? == 0)
        })
        .await
    }

    /// The check. Fails unless everything matches and exactly so many payments succeeded.
    pub async fn expect_succeeded(&self, payments: usize) -> Result<Report> {
        self.check_against(BankBooks::Simulated)
            .await?
            .expect_succeeded(payments)
    }

    /// The check, against this bank's books.
    pub async fn check_against(&self, bank: BankBooks) -> Result<Report> {
        reconcile::check_at_rest(
            &self.stack.invoice_database_url(),
            &self.stack.payment_database_url(),
            bank,
        )
        .await
    }

    /// Stops everything in good order.
    pub async fn close(self) {
        for (_, service) in &self.replicas {
            service.stop(STOP_LIMIT).await;
        }
        self.stack.stop().await;
    }
}

/// See [`Testbed::settle_databases`].
pub async fn settle_database(url: &str) -> Result<()> {
    let mut database = PgConnection::connect(url).await?;
    database.execute("vacuum (analyze)").await?;
    database.execute("checkpoint").await?;
    Ok(database.close().await?)
}

/// Runs statements that a measurement needs done and does not measure.
pub async fn execute(url: &str, statements: &str) -> Result<()> {
    let mut database = PgConnection::connect(url).await?;
    database.execute(AssertSqlSafe(statements)).await?;
    Ok(database.close().await?)
}

/// Different ones, none of which brings trouble at the simulated bank.
pub fn amount(n: u32) -> String {
    format!("{}.{:02}", 1 + n % 997, n % 100)
}

/// Import lines.
fn lines(
    prefix: &str,
    numbers: std::ops::RangeInclusive<u32>,
    money: impl Fn(u32) -> (String, &'static str),
) -> String {
    use std::fmt::Write as _;
    let mut lines = String::new();
    for n in numbers {
        let (value, currency) = money(n);
        // Writing into a string cannot fail.
        let _ = writeln!(
            lines,
            r#"{{"number":"{prefix}{n}","amount":{{"value":"{value}","currency":"{currency}"}}}}"#
        );
    }
    lines
}
