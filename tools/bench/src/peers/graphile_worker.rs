//! `peer.graphile_worker` and `peer.graphile_worker.rust`: a job queue that lives in Postgres, and its port to Rust, each in a
//! process of its own, set up as the documentation of the first does for throughput: 24 jobs at a time, 500 taken at once,
//! completed in batches.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use local_stack::{Process, Spec, free_port, wait_for_ok, workspace_root};
use tempfile::TempDir;

use super::books::Books;
use crate::{
    testbed,
    usage::{Meter, Run, Watched},
};
use acceptance::{Client, Result, client::count, eventually_within};

/// One of the two. `just bench --peers` builds or installs both, where that can be done.
#[derive(Clone, Copy)]
pub(super) enum Worker {
    Node,
    Rust,
}

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

impl Worker {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Node => "peer.graphile_worker",
            Self::Rust => "peer.graphile_worker.rust",
        }
    }

    /// What `just bench --peers` has made of it.
    fn installed(self) -> PathBuf {
        workspace_root().join(match self {
            Self::Node => "tools/bench/peers/node_modules/graphile-worker",
            Self::Rust => "target/peers/release/peer-graphile-worker",
        })
    }

    pub(super) fn is_installed(self) -> bool {
        self.installed().exists()
    }

    fn command(self) -> (PathBuf, Vec<OsString>) {
        match self {
            Self::Node => {
                let script = workspace_root().join("tools/bench/peers/graphile-worker.js");
                ("node".into(), vec![script.into()])
            }
            Self::Rust => (self.installed(), Vec::new()),
        }
    }
}

/// Starts it, adds a job for every invoice by one call, and waits until it has paid all.
pub(super) async fn measure(books: &Books<'_>, worker: Worker) -> Result<Run> {
    let (log, port) = (TempDir::new()?, free_port());
    let (program, args) = worker.command();
    let mut spec = Spec::new("graphile-worker", program, log.path().join("log"));
    spec.args = args;
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
