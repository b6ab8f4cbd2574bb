//! `peer.graphile_worker`: the job queue of the Node world that lives in Postgres, in a process of its own, set up as its
//! documentation does for throughput: 24 jobs at a time, 500 taken at once, completed in batches.

use std::time::Duration;

use local_stack::{Process, Spec, free_port, wait_for_ok, workspace_root};
use tempfile::TempDir;

use super::books::Books;
use crate::{
    testbed,
    usage::{Meter, Run, Watched},
};
use acceptance::{Client, Result, client::count, eventually_within};

const DIRECTORY: &str = "tools/bench/peers";
const ENQUEUE: &str = "select graphile_worker.add_jobs(array(
    select json_populate_record(
        null::graphile_worker.job_spec,
        json_build_object('identifier', 'pay', 'payload', json_build_object('invoice_id', id))
    )
    from invoices order by id
))";
/// It starts Node and migrates.
const START_LIMIT: Duration = Duration::from_secs(30);
/// It gives back what it has locked.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// As for `pay_all`.
const LIMIT: Duration = Duration::from_mins(10);

/// Whether `bin/just bench --peers` found npm to install it with.
pub(super) fn is_installed() -> bool {
    workspace_root().join(DIRECTORY).join("node_modules").is_dir()
}

/// Starts it, adds a job for every invoice by one call, and waits until it has paid all.
pub(super) async fn measure(books: &Books<'_>) -> Result<Run> {
    let (log, port) = (TempDir::new()?, free_port());
    let mut spec = Spec::new("graphile-worker", "node".into(), log.path().join("log"));
    spec.args = vec![workspace_root().join(DIRECTORY).join("graphile-worker.js").into()];
    spec.env = [("DATABASE_URL", books.url.clone()), ("PORT", port.to_string())]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let process = Process::init(spec).await?;
    let address = format!("http://127.0.0.1:{port}");
    process
        .ready_within(START_LIMIT, async { wait_for_ok(&address).await })
        .await?;
    testbed::settle_database(&books.url).await?;
    let client = Client::try_new(&address)?;
    let mut adding = books.connect().await?;

    let mut watched = books.testbed.watched();
    watched.push(Watched {
        name: "graphile-worker",
        pid: process.pid(),
        with_children: false,
    });
    let meter = Meter::start(watched, &books.url).await?;
    sqlx::query(ENQUEUE).execute(&mut adding).await?;
    let paid = eventually_within(LIMIT, "graphile-worker has paid everything", || async {
        let paid = count(&client.get("/").await?.expect(200)?, "/paid");
        Ok(paid >= u64::from(books.invoices))
    })
    .await;
    let elapsed = meter.elapsed();
    let usage = meter.stop(elapsed).await?;
    paid?;
    process.stop(STOP_LIMIT).await;
    Ok(Run {
        rate: books.rate(elapsed),
        usage,
    })
}
