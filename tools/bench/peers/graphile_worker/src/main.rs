//! graphile_worker, the port to Rust, set up as graphile-worker.js beside it: works off whatever is in the queue of
//! `DATABASE_URL`, and tells at `PORT` how many invoices it has paid.

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use graphile_worker::{IntoTaskHandlerResult, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use uuid::Uuid;

const PAY: &str = include_str!("../../pay.sql");
/// What its documentation recommends.
const BATCH_DELAY: Duration = Duration::from_millis(5);

#[derive(Deserialize, Serialize)]
struct Pay {
    invoice_id: Uuid,
}

#[derive(Clone, Debug)]
struct Payer {
    pool: PgPool,
    paid: Arc<AtomicU64>,
}

impl TaskHandler for Pay {
    const IDENTIFIER: &'static str = "pay";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let payer = context.get_ext::<Payer>().ok_or("no payer")?;
        let done = sqlx::query(PAY)
            .bind([self.invoice_id])
            .execute(&payer.pool)
            .await
            .map_err(|error| error.to_string())?;
        payer.paid.fetch_add(done.rows_affected(), Ordering::Relaxed);
        Ok::<(), String>(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = PgPoolOptions::new()
        .max_connections(25)
        .test_before_acquire(false)
        .connect(&env::var("DATABASE_URL")?)
        .await?;
    let listener = TcpListener::bind(("127.0.0.1", env::var("PORT")?.parse()?)).await?;
    let paid = Arc::default();
    let payer = Payer {
        pool: pool.clone(),
        paid: Arc::clone(&paid),
    };
    let worker = WorkerOptions::default()
        .pg_pool(pool)
        .concurrency(24)
        .local_queue(LocalQueueConfig::default().with_size(500))
        .complete_job_batch_delay(BATCH_DELAY)
        .fail_job_batch_delay(BATCH_DELAY)
        .add_extension(payer)
        .define_job::<Pay>()
        .init()
        .await?;
    tokio::try_join!(
        async { worker.run().await.map_err(Box::<dyn Error>::from) },
        async { tell(&listener, &paid).await.map_err(Box::<dyn Error>::from) },
    )?;
    Ok(())
}

/// Answers every connection with the number of paid invoices.
async fn tell(listener: &TcpListener, paid: &AtomicU64) -> std::io::Result<()> {
    loop {
        let (mut connection, _) = listener.accept().await?;
        let mut request = [0; 4096];
        let body = format!(r#"{{"paid":{}}}"#, paid.load(Ordering::Relaxed));
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        // Whoever has gone asks again.
        if connection.read(&mut request).await.is_ok() {
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    }
}
