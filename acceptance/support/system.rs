//! A whole system for one test: all four processes on free ports, thrown away afterwards.

use std::{path::Path, time::Duration};

use local_stack::{Ports, Service, ServiceKind, ServiceOptions, Stack, StackOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::{Client, Error, Report, Result, eventually, eventually_within};
use reconcile::BankBooks;

/// A running system.
#[derive(Debug)]
pub struct System {
    // Dropped in this order. `None` once dropped.
    stack: Stack,
    directory: Option<TempDir>,
    failed: bool,
}

impl System {
    /// Starts one as it is configured by default.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// Starts one with other options.
    pub async fn start_with(configure: impl FnOnce(&mut StackOptions)) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("acceptance-").tempdir()?;
        let mut options = StackOptions::for_tests(directory.path())?;
        options.ports = Ports::free();
        configure(&mut options);
        let stack = Stack::start(options).await?;
        Ok(Self {
            stack,
            directory: Some(directory),
            failed: false,
        })
    }

    /// Starts one for a test that lets no call fail. On a machine that is busy with other tests a connection to Postgres may take
    /// longer than a caller is usually made to wait, and that is not what such a test looks for.
    pub async fn start_patient(configure: impl FnOnce(&mut StackOptions)) -> Result<Self> {
        Self::start_with(|options| {
            let patience = ("database.acquire_timeout_ms".to_owned(), "20000".to_owned());
            options.invoice_app.extend([patience]);
            configure(options);
        })
        .await
    }

    /// Its processes.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// A caller of its API.
    pub fn client(&self) -> Result<Client> {
        Client::try_new(&self.stack.invoice_app().url())
    }

    /// Another replica of a service, changed by `configure`, ready to take work.
    pub async fn replica(
        &self,
        kind: ServiceKind,
        name: &str,
        configure: impl FnOnce(&mut ServiceOptions),
    ) -> Result<Service> {
        let mut options = self.another(kind, name)?;
        configure(&mut options);
        Ok(Service::start(options).await?)
    }

    /// Both services anew, each changed by `configure`, in place of those that run: invoice-app and payment-provider.
    pub async fn instead(&self, configure: impl Fn(&mut ServiceOptions)) -> Result<[Service; 2]> {
        const STOP: Duration = Duration::from_mins(1);
        self.stack.invoice_app().stop(STOP).await;
        self.stack.payment_provider().stop(STOP).await;
        Ok([
            self.replica(ServiceKind::InvoiceApp, "invoice-app-2", &configure)
                .await?,
            self.replica(ServiceKind::PaymentProvider, "payment-provider-2", &configure)
                .await?,
        ])
    }

    /// How another replica would be run.
    pub fn another(&self, kind: ServiceKind, name: &str) -> Result<ServiceOptions> {
        let mut options = self.stack.another(kind, name)?;
        let ports = Ports::free();
        options.http_port = ports.http;
        options.admin_port = ports.invoice_app_admin;
        Ok(options)
    }

    /// The check, once nothing is open any more.
    pub async fn check_when_settled(&self) -> Result<Report> {
        eventually("no payment is open", || async {
            Ok(self.count_payments("requested").await? == 0)
        })
        .await?;
        self.check().await
    }

    /// The check, now.
    pub async fn check(&self) -> Result<Report> {
        self.check_against(BankBooks::Simulated).await
    }

    /// The check, now, with another bank's books.
    pub async fn check_against(&self, bank: BankBooks) -> Result<Report> {
        reconcile::check_at_rest(
            &self.stack.invoice_database_url(),
            &self.stack.payment_database_url(),
            bank,
        )
        .await
    }

    /// How many invoices have this status.
    pub async fn count_invoices(&self, status: &str) -> Result<u64> {
        self.count_in_invoices(&format!(
            "select count(*) from invoices where status = '{status}'"
        ))
        .await
    }

    /// How many payments have this status.
    pub async fn count_payments(&self, status: &str) -> Result<u64> {
        self.count_in_invoices(&format!(
            "select count(*) from payments where status = '{status}'"
        ))
        .await
    }

    /// A count in invoice-app's database.
    pub async fn count_in_invoices(&self, query: &str) -> Result<u64> {
        count(&self.stack.invoice_database_url(), query).await
    }

    /// A count in payment-provider's database.
    pub async fn count_in_payments(&self, query: &str) -> Result<u64> {
        count(&self.stack.payment_database_url(), query).await
    }

    /// Waits until at least this many invoices are paid.
    pub async fn at_least_paid(&self, n: u64) -> Result<()> {
        eventually(&format!("{n} invoices are paid"), || async {
            Ok(self.count_invoices("paid").await? >= n)
        })
        .await
    }

    /// Waits until every one of `n` invoices is paid, then the check. `minutes` bounds the wait.
    pub async fn expect_all_paid(&self, n: u64, minutes: u64) -> Result<Report> {
        let limit = std::time::Duration::from_mins(minutes);
        let paid = eventually_within(limit, &format!("all {n} invoices are paid"), || async {
            Ok(self.count_invoices("paid").await? == n)
        })
        .await;
        let report = self.check().await?;
        match paid {
            Ok(()) => report.expect_succeeded(usize::try_from(n)?),
            Err(error) => Err(Error::new(format!("{error}\n{report}"))),
        }
    }
}

impl System {
    /// Has the logs printed at its end, as for a test that panics.
    pub fn keep_logs(&mut self) {
        self.failed = true;
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let failed = self.failed || std::thread::panicking();
        if failed {
            print_logs(&self.stack.directory().join("logs"));
        }
        if failed
            && std::env::var_os("ACCEPTANCE_KEEP").is_some()
            && let Some(directory) = self.directory.take()
        {
            eprintln!("kept: {}", directory.keep().display());
        }
    }
}

/// Of each log the last lines that tell of trouble, and the last lines of any kind.
fn print_logs(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let trouble = |line: &&str| {
            ["WARN", "ERROR", "FATAL", "PANIC", "panicked"]
                .iter()
                .any(|word| line.contains(word))
        };
        let (trouble, any): (Vec<&str>, Vec<&str>) = text.lines().partition(trouble);
        eprintln!("--- {} ---", entry.path().display());
        for (lines, shown) in [(trouble, 15), (any, 8)] {
            eprintln!(
                "{}\n",
                lines
                    .get(lines.len().saturating_sub(shown)..)
                    .unwrap_or_default()
                    .join("\n")
            );
        }
    }
}

/// The single number a query returns.
pub async fn count(database_url: &str, query: &str) -> Result<u64> {
    let mut database = PgConnection::connect(database_url).await?;
    let number: i64 = sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(&mut database)
        .await?;
    Ok(u64::try_from(number)?)
}
