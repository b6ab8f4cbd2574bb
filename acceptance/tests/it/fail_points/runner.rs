//! A running system on which one round follows the other: what the rounds before have left behind must not matter.

use std::time::Duration;

use acceptance::{Client, Result, System, eventually, eventually_within, streams::existing_stream};
use local_stack::{Service, ServiceKind};
use service::fail_points::DIRECTORY;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{Crash, load::Made};

/// Short leases and timeouts, so that what a crash has left behind goes on soon. Two calls of the bank at a time, so that others have
/// to wait.
const PAYMENT_PROVIDER: [(&str, &str); 4] = [
    ("gateway.timeout_ms", "600"),
    ("gateway.max_concurrent", "2"),
    ("ledger.lease_ms", "2000"),
    ("ledger.lease_margin_ms", "600"),
];
const INVOICE_APP: [(&str, &str); 1] = [("sender.resend_after_s", "1")];

/// Several times what any round takes on a busy machine: most take three seconds, those with an ack wait fifteen.
const LONGEST_ROUND: Duration = Duration::from_secs(75);

/// One system and what must be in its books by now.
pub(super) struct Runner {
    pub(super) system: System,
    pub(super) client: Client,
    armed: TempDir,
    books: Mutex<PgConnection>,
    expected: Made,
    letters: (u64, u64),
}

/// How often messages were delivered, and how often requests were sent, more than once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Repeats {
    pub(super) sends: i64,
    pub(super) deliveries: i64,
}

impl Runner {
    pub(super) async fn start() -> Result<Self> {
        let armed = tempfile::tempdir()?;
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let system = System::start_with(|options| {
            options.invoice_app.extend(INVOICE_APP.map(owned));
            options.payment_provider.extend(PAYMENT_PROVIDER.map(owned));
            let directory = armed.path().display().to_string();
            options.env.insert(DIRECTORY.to_owned(), directory);
        })
        .await?;
        Ok(Self {
            client: system.client()?,
            books: Mutex::new(PgConnection::connect(&system.stack().invoice_database_url()).await?),
            system,
            armed,
            expected: Made { invoices: 0, paid: 0 },
            letters: (0, 0),
        })
    }

    pub(super) fn service(&self, kind: ServiceKind) -> &Service {
        match kind {
            ServiceKind::InvoiceApp => self.system.stack().invoice_app(),
            ServiceKind::PaymentProvider => self.system.stack().payment_provider(),
        }
    }

    /// From now on the service dies at this point.
    pub(super) fn arm(&self, crash: Crash) -> Result<()> {
        Ok(std::fs::write(self.armed.path().join(crash.name()), "")?)
    }

    /// A point that was not reached is not to be reached in the next round.
    pub(super) fn disarm(&self, crash: Crash) {
        // It is gone if the point was reached.
        let _ = std::fs::remove_file(self.armed.path().join(crash.name()));
    }

    /// Adds what a round made to what must be there.
    pub(super) fn expect_more(&mut self, made: Made, (outcomes, requests): (u64, u64)) {
        self.expected.invoices += made.invoices;
        self.expected.paid += made.paid;
        self.letters.0 += outcomes;
        self.letters.1 += requests;
    }

    /// Waits until nothing is open any more.
    pub(super) async fn settled(&self) -> Result<()> {
        eventually_within(LONGEST_ROUND, "no payment is open", || async {
            let query = "select count(*) from payments where status = 'requested'";
            let open: i64 = sqlx::query_scalar(query)
                .fetch_one(&mut *self.books.lock().await)
                .await?;
            Ok(open == 0)
        })
        .await
    }

    /// The check, and that there is exactly what all rounds together have made: no call took effect twice.
    pub(super) async fn check(&self) -> Result<()> {
        self.system.check().await?.expect_succeeded(self.expected.paid)?;
        let query = "select count(*) from invoices";
        let invoices: i64 = sqlx::query_scalar(query)
            .fetch_one(&mut *self.books.lock().await)
            .await?;
        if usize::try_from(invoices)? != self.expected.invoices {
            let expected = self.expected.invoices;
            return Err(acceptance::Error::new(format!(
                "{invoices} invoices instead of {expected}"
            )));
        }
        let (outcomes, requests) = self.letters;
        let query = "select count(*) from dead_letters";
        eventually("each bad message is kept once", || async {
            let kept = (
                self.system.count_in_invoices(query).await?,
                self.system.count_in_payments(query).await?,
            );
            Ok(kept == (outcomes, requests))
        })
        .await
    }

    /// How many payments there are, and how often anything was repeated.
    pub(super) async fn counts(&self) -> Result<(i64, Repeats)> {
        let query = "select count(*), coalesce(sum(sends - 1), 0)::bigint from payments";
        let (payments, sends) = sqlx::query_as(query)
            .fetch_one(&mut *self.books.lock().await)
            .await?;
        let mut deliveries = 0;
        for stream in ["PAY_REQUESTS", "PAY_OUTCOMES"] {
            let state = existing_stream(self.system.stack().nats(), stream).await?;
            let messages = state.last_sequence.saturating_sub(state.pending);
            deliveries += state.deliveries.saturating_sub(messages).cast_signed();
        }
        Ok((payments, Repeats { sends, deliveries }))
    }
}
