//! `limit.postgres`: the rows of paying, written by the services' own statements in their own batches, straight from here:
//! no NATS, no HTTP, no services.

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{join_all, try_join_all};
use invoice_app::batch_id::BatchId;
use invoice_app::store::paying::{
    PaymentParams, Selection, Single, insert_batch_in_tx, pay_free_in_tx, pay_in_tx,
};
use payment_contract::{
    Currency, InvoiceId, Money, PaymentId,
    messages::{OutcomeStatus, PayRequestV1, PaymentOutcomeV1},
    trace::TraceParent,
};
use payment_provider::{
    gateway::{Gateway, simulated::Simulated},
    ledger::{RequestHash, Settlement},
    order::{Answer, Order},
    store::{Intent, Recorded, ResultToRecord},
};
use service::database::allow_time_in_tx;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    statistics::rate,
    testbed::{self, Testbed},
    usage::Run,
};
use acceptance::{Error, Result};
use reconcile::BankBooks;

/// Rows read back together, as invoice-app's sender does at most.
const PAGE: i64 = 512;
/// Rows written together, as payment-provider does by default.
const BATCH: usize = 512;
/// Batches under way: enough to keep every core of a small machine busy, whoever waits for a commit.
const WORKERS: usize = 4;
/// Databases of their own.
const DATABASES: [&str; 2] = ["limit_invoices", "limit_payments"];
/// As the services' own.
const LEASE: Duration = Duration::from_secs(15);

/// Both stores, in databases of their own on the testbed's Postgres.
#[derive(Clone)]
struct Stores {
    invoices: invoice_app::store::Store,
    ledger: payment_provider::store::Store,
    bank: Arc<Simulated>,
}

/// Writes everything that paying `invoices` writes. The services must be stopped.
pub async fn measure(testbed: &Testbed, invoices: u32) -> Result<Run> {
    let stores = Stores::open(testbed, invoices).await?;
    let meter = testbed.meter().await?;
    stores.pay_all().await?;
    let elapsed = meter.elapsed();
    let usage = meter.stop(elapsed).await?;
    stores.close(testbed, invoices).await?;
    Ok(Run {
        rate: rate(u64::from(invoices), elapsed),
        usage,
    })
}

/// The same, one invoice after another as single calls pay them: how long each takes.
pub async fn one_by_one(testbed: &Testbed, invoices: u32) -> Result<Vec<Duration>> {
    let stores = Stores::open(testbed, invoices).await?;
    let unpaid: Vec<Uuid> = sqlx::query_scalar("select id from invoices order by id")
        .fetch_all(stores.invoices.pool())
        .await?;
    let mut took = Vec::new();
    for invoice in unpaid {
        let began = Instant::now();
        stores.pay_one(invoice.into()).await?;
        took.push(began.elapsed());
    }
    stores.close(testbed, invoices).await?;
    Ok(took)
}

/// As the services connect.
fn pool(url: &str) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url)?.options(service::database::SESSION);
    Ok(PgPoolOptions::new()
        .max_connections(16)
        .test_before_acquire(false)
        .connect_lazy_with(options))
}

impl Stores {
    async fn open(testbed: &Testbed, invoices: u32) -> Result<Self> {
        let postgres = testbed.stack().postgres();
        for name in DATABASES {
            postgres.create_database(name).await?;
        }
        let urls = DATABASES.map(|name| postgres.url(name));
        let [invoice_url, ledger_url] = &urls;
        let (invoice_pool, ledger_pool) = (pool(invoice_url)?, pool(ledger_url)?);
        invoice_app::store::MIGRATOR.run(&invoice_pool).await?;
        payment_provider::store::MIGRATOR.run(&ledger_pool).await?;
        let insert = format!(
            "insert into invoices (id, number, amount_minor, currency)
             select uuidv7(), 'L' || n, 100 + n % 99900, (array['EUR', 'GBP', 'DKK'])[1 + n % 3]
             from generate_series(1, {invoices}) n"
        );
        testbed::execute(invoice_url, &insert).await?;
        for url in &urls {
            testbed::settle_database(url).await?;
        }
        let ledger = payment_provider::store::Store::new(ledger_pool, LEASE);
        Ok(Self {
            invoices: invoice_app::store::Store::new(invoice_pool),
            bank: Arc::new(Simulated::new(ledger.warm().clone())),
            ledger,
        })
    }

    /// Checks that everything was paid, and removes the databases.
    async fn close(self, testbed: &Testbed, invoices: u32) -> Result<()> {
        let postgres = testbed.stack().postgres();
        let [invoice_url, ledger_url] = DATABASES.map(|name| postgres.url(name));
        let report = reconcile::check_at_rest(&invoice_url, &ledger_url, BankBooks::Simulated).await?;
        report.expect_succeeded(usize::try_from(invoices)?)?;
        let pools = [self.invoices.pool().clone(), self.ledger.pool().clone()];
        // They keep connections, and closing waits for all.
        drop(self);
        for pool in pools {
            pool.close().await;
        }
        for name in DATABASES {
            testbed::execute(&postgres.url("postgres"), &format!("drop database {name}")).await?;
        }
        Ok(())
    }

    async fn pay_all(&self) -> Result<()> {
        let batch = self.ask().await?;
        let (pages, inbox) = mpsc::channel::<Vec<PayRequestV1>>(WORKERS);
        let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
        let workers = (0..WORKERS).map(|_| {
            let (stores, inbox) = (self.clone(), Arc::clone(&inbox));
            tokio::spawn(async move {
                loop {
                    let Some(requests) = inbox.lock().await.recv().await else {
                        return Ok::<_, Error>(());
                    };
                    stores.pay(&requests).await?;
                }
            })
        });
        let workers: Vec<_> = workers.collect();
        self.read_back(batch, pages).await?;
        for worked in try_join_all(workers).await? {
            worked?;
        }
        Ok(())
    }

    /// `POST /invoices/pay`: one transaction, however many invoices.
    async fn ask(&self) -> Result<BatchId> {
        let batch = BatchId::generate();
        let trace = TraceParent::generate();
        let params = PaymentParams {
            batch_id: batch,
            traceparent: trace.as_str(),
            requested_by: None,
            lease: LEASE,
            most: 1,
        };
        let mut tx = self.invoices.begin().await?;
        allow_time_in_tx(&mut tx).await?;
        let asked = pay_in_tx(&mut tx, &Selection::AllUnpaid, &params).await?;
        insert_batch_in_tx(&mut tx, &asked, &params, "[]").await?;
        tx.commit().await?;
        if asked.total == 0 {
            return Err(Error::new("nothing was unpaid"));
        }
        Ok(batch)
    }

    /// `POST /invoices/{id}/pay`, and the four commits that follow.
    async fn pay_one(&self, id: InvoiceId) -> Result<()> {
        let trace = TraceParent::generate();
        let single = Single {
            id,
            trace: &trace,
            requested_by: None,
        };
        let mut connection = self.invoices.warm().acquire().await?;
        let asked = pay_free_in_tx(&mut connection, &[single], LEASE).await?;
        connection.release();
        let requests = asked.iter().map(message).collect::<Result<Vec<_>>>()?;
        if requests.is_empty() {
            return Err(Error::new(format!("{id} was not unpaid")));
        }
        self.pay(&requests).await
    }

    /// What the sender reads to publish it.
    async fn read_back(&self, batch: BatchId, pages: mpsc::Sender<Vec<PayRequestV1>>) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.invoices.batch_page(batch, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.payment_id);
            for requests in page.chunks(BATCH) {
                let requests = requests.iter().map(message).collect::<Result<_>>()?;
                // Closed only when every worker has failed, which tells more.
                if pages.send(requests).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Intents, charges, results, and the settled payments and invoices: four statements, each a commit.
    async fn pay(&self, requests: &[PayRequestV1]) -> Result<()> {
        let intents: Vec<Intent> = requests.iter().map(intent).collect();
        let inserted = self.ledger.insert_intents(&intents, Uuid::new_v4()).await?;
        if inserted.len() != requests.len() {
            return Err(Error::new("an intent was there before"));
        }
        let orders = requests.iter().map(|request| {
            let order = Order::of(request);
            async move { self.bank.pay(request.payment_id.into(), &order).await }
        });
        let mut results = Vec::with_capacity(requests.len());
        for (request, answer) in requests.iter().zip(join_all(orders).await) {
            let Answer::Succeeded { reference } = answer? else {
                return Err(Error::new(format!("{} was not paid", request.payment_id)));
            };
            results.push(ResultToRecord {
                payment_id: request.payment_id,
                settlement: Settlement {
                    status: OutcomeStatus::Succeeded,
                    reason: None,
                    reference,
                },
            });
        }
        let mut outcomes = Vec::with_capacity(requests.len());
        let recorded = self.ledger.record(&results).await?;
        for (request, recorded) in requests.iter().zip(recorded) {
            let Recorded::Finished(ending) = recorded else {
                return Err(Error::new(format!("{} was not recorded", request.payment_id)));
            };
            outcomes.push(ending.outcome(request.payment_id, request.invoice_id));
        }
        let outcomes: Vec<&PaymentOutcomeV1> = outcomes.iter().collect();
        self.invoices.settle(&outcomes).await?;
        Ok(())
    }
}

fn message(request: &invoice_app::payment::OutboxRequest) -> Result<PayRequestV1> {
    let currency = Currency::try_new(&request.currency)?;
    Ok(PayRequestV1 {
        payment_id: PaymentId::from(request.payment_id.as_uuid()),
        invoice_id: request.invoice_id,
        invoice_number: request.invoice_number.clone(),
        amount: Money::try_from_minor_units(request.amount_minor, currency)?,
        attempt: request.attempt.unsigned_abs(),
        requested_at: request.requested_at,
    })
}

fn intent(request: &PayRequestV1) -> Intent {
    Intent {
        payment_id: request.payment_id,
        invoice_id: request.invoice_id,
        request_hash: RequestHash::of(request),
        order: Order::of(request),
        attempt: request.attempt,
        requested_at: request.requested_at,
        trace: Some(TraceParent::generate()),
        rejected: false,
        held: None,
    }
}
