//! A system with a bank of its own, tokens and a NATS configuration that can be changed, and the faults that take those.

use std::{fs, path::PathBuf, time::Duration};

use acceptance::{BankProcess, Client, Result, cli, client::NO_WAIT, eventually};
use local_stack::{ServiceKind, Signal, StackOptions, workspace_root};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use crate::{Watched, runbook};

const TOKEN: &str = "a-token-that-is-as-good-as-any-other";
/// Without it invoice-app cannot tell its other replicas what changed, which harms nobody while there is none.
const GRANT: &str = "                        \"invoice.v1.changed\"\n";

/// What the system is configured by.
pub(crate) struct Configured {
    bank: BankProcess,
    directory: TempDir,
}

impl Configured {
    pub(crate) async fn init() -> Self {
        let configured = Self {
            bank: BankProcess::start_with(|_| {}).await.unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(configured.tokens(), tokens()).unwrap();
        for (name, text) in [
            ("nats-server.conf", nats_configuration()),
            ("cluster.conf", String::new()),
        ] {
            fs::write(configured.directory.path().join(name), text).unwrap();
        }
        configured
    }

    pub(crate) fn configure(&self, options: &mut StackOptions) {
        options.tokens_file = Some(self.tokens());
        options.nats_configuration = self.nats();
        let of_bank = [
            ("gateway.kind", "http".to_owned()),
            ("gateway.url", self.bank.url()),
        ];
        options
            .payment_provider
            .extend(of_bank.map(|(key, value)| (key.to_owned(), value)));
        // So few at once that callers are soon turned away.
        let of_app = [("sender.resend_after_s", "5"), ("http.max_in_flight", "2")];
        options
            .invoice_app
            .extend(of_app.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    pub(crate) const fn token() -> &'static str {
        TOKEN
    }

    fn tokens(&self) -> PathBuf {
        self.directory.path().join("tokens.toml")
    }

    fn nats(&self) -> PathBuf {
        self.directory.path().join("nats-server.conf")
    }

    /// Nobody was charged twice, and everything is paid.
    pub(crate) async fn check(&self, watched: &Watched) {
        acceptance::eventually("no payment is open", || async {
            Ok(watched.system.count_payments("requested").await? == 0)
        })
        .await
        .unwrap();
        let books = self.bank.books().unwrap();
        watched.system.check_against(books).await.unwrap();
    }
}

/// The bank fails whatever it is asked, and what waited for it settles late.
pub(crate) async fn bank_away(watched: &Watched, configured: &Configured) {
    configured.bank.fail_everything(true).await.unwrap();
    for _ in 0..30 {
        pay(&watched.client).await.unwrap();
    }
    watched.fire(&["BankAway"]).await;
    let mut ledger = PgConnection::connect(&watched.system.stack().payment_database_url())
        .await
        .unwrap();
    let older = "update ledger set created_at = created_at - interval '20 minutes' where status = 'started'";
    assert!(ledger.execute(older).await.unwrap().rows_affected() > 0);
    watched.fire(&["LedgerOpenTooLong"]).await;

    configured.bank.fail_everything(false).await.unwrap();
    let late = [
        "SettlingBurnFast",
        "SettlingBurnSteady",
        "SettlingBurnSlow",
        "SettlingBurnCreeping",
    ];
    watched.fire(&late).await;
    watched.clear(&["BankAway", "LedgerOpenTooLong"]).await;
    watched.clear(&late).await;
}

/// The bank is back after so long that it may have forgotten a payment which it had been asked for, and does not know it.
pub(crate) async fn bank_that_forgot(watched: &Watched, configured: &Configured) {
    configured.bank.fail_everything(true).await.unwrap();
    let payment = pay(&watched.client).await.unwrap();
    let ledger = watched.system.stack().payment_database_url();
    let older = format!(
        "update ledger set created_at = created_at - interval '25 hours' where payment_id = '{payment}' and tries > 0"
    );
    eventually("the bank was asked, a day ago", || async {
        let mut ledger = PgConnection::connect(&ledger).await?;
        let changed = ledger.execute(AssertSqlSafe(older.as_str())).await?;
        Ok(changed.rows_affected() == 1)
    })
    .await
    .unwrap();
    configured.bank.fail_everything(false).await.unwrap();
    watched.fire(&["PaymentsLeftToAnOperator"]).await;
    let printed = runbook::follow(&watched.system, "A payment stays `pending`", &[("ID", &payment)]).await;
    assert!(printed.contains(&payment), "{printed}");
    let service = watched.system.stack().payment_provider().options();
    let resolve = [
        "ledger", "resolve", &payment, "declined", "--force", "--reason", "the bank",
    ];
    cli::run_ok(service, &resolve).await.unwrap();
    watched.clear(&["PaymentsLeftToAnOperator"]).await;
}

/// Somebody forgot a transaction that keeps a table to itself, and calls wait for it.
pub(crate) async fn slow_database(watched: &Watched) {
    let database = watched.system.stack().invoice_database_url();
    let mut database = PgConnection::connect(&database).await.unwrap();
    database.execute("begin; lock table invoices").await.unwrap();
    let fired = watched.fire(&["TooManyCalls"]);
    let client = &watched.client;
    let calling = async {
        loop {
            // Some are turned away, and some given up.
            let _ = tokio::join!(client.list(""), client.list(""), client.list(""), client.list(""));
        }
    };
    tokio::select! {
        () = fired => {}
        () = calling => {}
    }
    database.execute("rollback").await.unwrap();
    watched.clear(&["TooManyCalls"]).await;
}

/// Somebody writes what is no list of tokens.
pub(crate) async fn broken_tokens(watched: &Watched, configured: &Configured) {
    fs::write(configured.tokens(), "[[tokens]").unwrap();
    watched.fire(&["TokensFileUnusable"]).await;
    pay(&watched.client).await.unwrap();
    fs::write(configured.tokens(), tokens()).unwrap();
    watched.clear(&["TokensFileUnusable"]).await;
}

/// New payments are held, and let go.
pub(crate) async fn payments_held(watched: &Watched) {
    let system = &watched.system;
    let service = system.stack().payment_provider();
    let stops_within = Duration::from_secs(20);
    service.stop(stops_within).await;
    // In its place, where Prometheus looks.
    let holding = system.replica(ServiceKind::PaymentProvider, "holding", |options| {
        options.admin_port = service.options().admin_port;
        let switch = ("ledger.hold_new_payments".to_owned(), "true".to_owned());
        options.settings.extend([switch]);
    });
    let holding = holding.await.unwrap();
    pay(&watched.client).await.unwrap();
    watched.fire(&["PaymentsHeld"]).await;
    holding.stop(stops_within).await;
    service.start_again().await.unwrap();
    let release = ["ledger", "release", "--new", "--reason", "reconciled"];
    cli::run_ok(service.options(), &release).await.unwrap();
    watched.clear(&["PaymentsHeld"]).await;
}

/// NATS is configured in a way that does not fit the services.
pub(crate) async fn refused_subject(watched: &Watched, configured: &Configured) {
    let whole = nats_configuration();
    assert!(whole.contains(GRANT), "the grant is written otherwise");
    reload(watched, configured, &whole.replacen(GRANT, "", 1));
    let fired = watched.fire(&["NatsRefuses"]);
    let paying = async {
        loop {
            // Accepted, whatever NATS says.
            pay(&watched.client).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = fired => {}
        () = paying => {}
    }
    reload(watched, configured, &whole);
    watched.clear(&["NatsRefuses"]).await;
}

fn reload(watched: &Watched, configured: &Configured, text: &str) {
    fs::write(configured.nats(), text).unwrap();
    let server = watched.system.stack().nats().program().process().unwrap();
    server.signal(Signal::HUP);
}

async fn pay(client: &Client) -> Result<String> {
    let id = client.create("1.00", "EUR").await?;
    let payment = client.pay(&id, NO_WAIT).await?;
    Ok(payment.text("/id").to_owned())
}

fn tokens() -> String {
    let hash = Sha256::digest(TOKEN);
    let hex: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    format!(
        "[[tokens]]\nname = \"shop\"\nsha256 = \"{hex}\"\nscopes = [\"invoices:read\", \"invoices:write\", \"invoices:pay\"]\n"
    )
}

fn nats_configuration() -> String {
    fs::read_to_string(workspace_root().join("nats/nats-server.conf")).unwrap()
}
