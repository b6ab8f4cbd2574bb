//! What every peer works on: unpaid invoices, with a queue of its own beside them, and the check that all were paid once.

use std::time::Duration;

use futures_util::future::try_join_all;
use sqlx::{Connection, PgConnection};

use crate::{
    results::Results,
    statistics::rate,
    testbed::{self, Testbed},
    usage::Run,
};
use acceptance::{Error, Result, system};

/// Invoices and payments, the same for each.
const SCHEMA: &str = include_str!("../../peers/schema.sql");
/// Pays those of `$1` that are unpaid.
pub(super) const PAY: &str = include_str!("../../peers/pay.sql");
/// They have a database of their own.
const DATABASE: &str = "peers";

/// Unpaid invoices in a database of their own, for one peer.
pub(super) struct Books<'a> {
    pub(super) testbed: &'a Testbed,
    pub(super) url: String,
    pub(super) invoices: u32,
    name: &'static str,
}

impl<'a> Books<'a> {
    pub(super) async fn open(testbed: &'a Testbed, invoices: u32, name: &'static str) -> Result<Self> {
        eprintln!("bench: {name} ...");
        let postgres = testbed.stack().postgres();
        postgres.create_database(DATABASE).await?;
        let url = postgres.url(DATABASE);
        let insert = format!(
            "{SCHEMA};
             insert into invoices (id, number, amount_minor, currency)
             select uuidv7(), 'P' || n, 100 + n % 99900, (array['EUR', 'GBP', 'DKK'])[1 + n % 3]
             from generate_series(1, {invoices}) n"
        );
        testbed::execute(&url, &insert).await?;
        Ok(Self {
            testbed,
            url,
            invoices,
            name,
        })
    }

    /// Makes the queue, fills it by one statement, and has it worked off by so many workers, each with a connection.
    pub(super) async fn work_off<W>(
        &self,
        queue: &str,
        fill: &'static str,
        workers: u32,
        work: impl Fn(PgConnection) -> W,
    ) -> Result<Run>
    where
        W: Future<Output = Result<()>> + Send + 'static,
    {
        testbed::execute(&self.url, queue).await?;
        testbed::settle_database(&self.url).await?;
        let connections = try_join_all((0..workers).map(|_| self.connect())).await?;
        let mut filling = self.connect().await?;
        let meter = self.testbed.meter().await?;
        sqlx::query(fill).execute(&mut filling).await?;
        let workers = connections
            .into_iter()
            .map(|connection| tokio::spawn(work(connection)));
        for worked in try_join_all(workers).await? {
            worked?;
        }
        let elapsed = meter.elapsed();
        Ok(Run {
            rate: self.rate(elapsed),
            usage: meter.stop(elapsed).await?,
        })
    }

    pub(super) async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// Checks, notes, and removes it.
    pub(super) async fn close(self, run: Run, results: &mut Results) -> Result<()> {
        for query in [
            "select count(*) from invoices where status = 'paid'",
            "select count(distinct invoice_id) from payments",
        ] {
            let found = system::count(&self.url, query).await?;
            if found != u64::from(self.invoices) {
                return Err(Error::new(format!(
                    "{}: {found} of {}: {query}",
                    self.name, self.invoices
                )));
            }
        }
        let drop = format!("drop database {DATABASE}");
        testbed::execute(&self.testbed.stack().postgres().url("postgres"), &drop).await?;
        results.note(self.name, "invoices/s", run.rate);
        results.note_usage(self.name, u64::from(self.invoices), run.usage);
        Ok(())
    }

    pub(super) fn rate(&self, elapsed: Duration) -> f64 {
        rate(u64::from(self.invoices), elapsed)
    }
}
