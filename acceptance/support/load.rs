//! Invoices that are paid in waves, so that each fault strikes while work is certainly under way.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::{
    Client, Error, LIMIT, Report, Result, SeededRng, System,
    client::{NO_WAIT, import_lines},
    eventually,
};

/// Of a thousand invoices, these many have an amount that makes the simulated bank fail, or time out, once.
const TROUBLE: u32 = 4;

/// The load of one test.
#[derive(Debug)]
pub struct Load<'a> {
    name: String,
    system: &'a System,
    client: Client,
    chaos: SeededRng,
    database: Option<PgConnection>,
    trouble: u32,
    waves: u32,
    missed: u32,
    asked: u64,
}

impl<'a> Load<'a> {
    /// Through the system's own invoice-app. The name is the test's, for its output.
    pub fn try_new(name: &str, system: &'a System) -> Result<Self> {
        Ok(Self::through(name, system, system.client()?))
    }

    /// Through another replica.
    pub fn through(name: &str, system: &'a System, client: Client) -> Self {
        let chaos = SeededRng::new(name);
        Self {
            name: name.to_owned(),
            system,
            client,
            chaos,
            database: None,
            trouble: TROUBLE,
            waves: 0,
            missed: 0,
            asked: 0,
        }
    }

    /// Without amounts that make the bank fail.
    #[must_use]
    pub fn without_trouble(mut self) -> Self {
        self.trouble = 0;
        self
    }

    /// Imports and pays so many more, and returns at a random moment of the first half of their being paid.
    pub async fn wave(&mut self, invoices: u32) -> Result<()> {
        self.waves += 1;
        let lines = import_lines(&format!("W{}-", self.waves), invoices, self.trouble);
        // The last fault may still be felt; nothing is imported or paid twice.
        eventually("a wave is imported", || async {
            self.client.import(lines.clone()).await.map(Some)
        })
        .await?;
        let before = self.open().await?;
        eventually("a wave is being paid", || async {
            let answer = self.client.pay_all(NO_WAIT).await?;
            match answer.status {
                200 | 202 => Ok(Some(())),
                status => Err(Error::new(format!("{status}: {}", answer.body))),
            }
        })
        .await?;
        self.asked += u64::from(invoices);
        let strike_at = before + u64::from(invoices) - self.chaos.below(u64::from(invoices) / 2);
        let start = Instant::now();
        let mut open = self.open().await?;
        while open > strike_at && start.elapsed() < LIMIT {
            // Thousands are paid in a second: look as often as possible.
            tokio::time::sleep(Duration::from_millis(1)).await;
            open = self.open().await?;
        }
        eprintln!(
            "{}: wave {} of {invoices}: {open} payments open",
            self.name, self.waves
        );
        if open > strike_at {
            return Err(Error::new(format!("{open} of {invoices} payments stay open")));
        }
        if open == 0 {
            // This process got no turn while they were being paid. A fault afterwards proves little; one miss is bad luck.
            self.missed += 1;
        }
        Ok(())
    }

    /// How many payments have no outcome yet, past all proxies.
    async fn open(&mut self) -> Result<u64> {
        let url = self.system.stack().invoice_database_url();
        let mut database = match self.database.take() {
            Some(database) => database,
            None => PgConnection::connect(&url).await?,
        };
        let query = "select count(*) from payments where status = 'requested'";
        let open: std::result::Result<i64, _> = sqlx::query_scalar(query).fetch_one(&mut database).await;
        match open {
            Ok(open) => {
                self.database = Some(database);
                Ok(u64::try_from(open)?)
            }
            // Postgres was restarted since.
            Err(_) => self.system.count_payments("requested").await,
        }
    }

    /// A random time, so that a fault strikes at any point of a step, or lasts for a while.
    pub async fn moment(&mut self, longest: Duration) {
        tokio::time::sleep(self.chaos.moment(longest)).await;
    }

    /// How many invoices were asked to be paid.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Waits until all are paid, then the check. Faults that all came too late have proved nothing.
    pub async fn expect_all_paid(&self, minutes: u64) -> Result<Report> {
        if self.missed > 0 && self.missed == self.waves {
            return Err(Error::new("every wave was paid before its fault could strike"));
        }
        self.system.expect_all_paid(self.asked, minutes).await
    }
}
