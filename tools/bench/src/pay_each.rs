//! `pay_each`: `POST /invoices/{id}/pay` for one invoice after another at a constant rate: how long each takes to be paid, and
//! the highest rate at which no backlog grows.

pub mod backlog;
pub mod bank;
pub mod ladder;
pub mod open_loop;
pub mod wire;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use serde::Serialize;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use self::{
    ladder::{Ladder, Trial},
    open_loop::Measured,
    wire::Wires,
};
use super::{
    numbers::rounded,
    statistics::{milliseconds, percentile},
    testbed::{self, Testbed},
    usage::Usage,
};
use acceptance::{Error, Result};

/// Where the search begins, a second.
const FIRST_RATE: f64 = 250.0;
/// A short run lasts this part of a whole one.
const SHORT: u32 = 3;
/// Commits that the median is taken of.
const COMMITS: i32 = 2000;

/// How one rate went.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Requests a second.
    pub rate: f64,
    /// Seconds they kept coming.
    pub seconds: f64,
    /// Whether the backlog stayed flat and every payment was settled within its call.
    pub kept_up: bool,
    /// Milliseconds from request to settled.
    pub p50: f64,
    /// The same.
    pub p99: f64,
    /// The same.
    pub p999: f64,
    /// Open requests at the end.
    pub open_at_end: usize,
    /// Declined by the bank.
    pub declined: u64,
    /// What was not settled within its call.
    pub failed: BTreeMap<String, u64>,
    /// Milliseconds that the load itself was late, at most.
    pub late: f64,
}

/// What a search came to.
#[derive(Debug)]
pub struct Search {
    /// Every rate tried, in order.
    pub steps: Vec<Step>,
    /// At a tenth of the highest rate.
    pub tenth: Step,
    /// The highest rate with a flat backlog.
    pub highest: Step,
    /// Median of one commit in Postgres, at rest, in milliseconds.
    pub commit: f64,
    /// What the highest rate cost, and a tenth of it, and for how many invoices.
    pub usage: [(u64, Usage); 2],
}

/// The load of one testbed.
struct Loader<'a> {
    testbed: &'a Testbed,
    wires: Arc<Wires>,
    /// Seconds of a whole run.
    whole: u32,
    runs: u32,
    /// Payments that succeeded, by the answers.
    succeeded: u64,
}

/// Searches the highest rate, then measures at a tenth of it. Tells also how many payments succeeded by the answers, for the
/// check, which is the caller's: it knows the bank.
pub async fn measure(testbed: &Testbed, seconds: u32) -> Result<(Search, u64)> {
    let mut loader = Loader {
        testbed,
        wires: testbed.wires(),
        whole: seconds,
        runs: 0,
        succeeded: 0,
    };
    let mut ladder = Ladder::new(FIRST_RATE);
    let (mut steps, mut best) = (Vec::new(), None);
    while let Some(trial) = ladder.next() {
        let (step, usage) = loader.step(trial).await?;
        ladder.note(trial, step.kept_up);
        if step.kept_up && trial.whole {
            best = Some((step.clone(), usage));
        }
        steps.push(step);
    }
    let (highest, highest_usage) = best.ok_or_else(|| Error::new("no rate at all was kept up"))?;
    let commit = commit(&testbed.stack().invoice_database_url()).await?;
    let tenth = Trial {
        rate: highest.rate / 10.0,
        whole: true,
    };
    let (tenth, tenth_usage) = loader.step(tenth).await?;
    steps.push(tenth.clone());
    let search = Search {
        steps,
        tenth,
        highest,
        commit,
        usage: [highest_usage, tenth_usage],
    };
    Ok((search, loader.succeeded))
}

impl Loader<'_> {
    async fn step(&mut self, trial: Trial) -> Result<(Step, (u64, Usage))> {
        let seconds = if trial.whole {
            self.whole
        } else {
            self.whole.div_ceil(SHORT)
        };
        let ids = self.import(trial.rate * f64::from(seconds)).await?;
        let invoices = u64::try_from(ids.len())?;
        let meter = self.testbed.meter().await?;
        let load = open_loop::run(&self.wires, ids, trial.rate, &CancellationToken::new()).await;
        let elapsed = meter.elapsed();
        let usage = meter.stop(elapsed).await?;
        let load = load?;
        self.succeeded += load.succeeded;
        let step = Step::of(trial.rate, f64::from(seconds), load);
        eprintln!("bench:   {step}");
        // What was too much is worked off before the next begins.
        self.testbed.wait_until_settled().await?;
        Ok((step, (invoices, usage)))
    }

    /// Imports that many invoices, and tells their ids.
    async fn import(&mut self, invoices: f64) -> Result<Vec<String>> {
        self.runs += 1;
        let prefix = format!("E{}-", self.runs);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the ladder ends long before"
        )]
        let invoices = invoices.ceil() as u32;
        self.testbed.import(&prefix, invoices).await?;
        self.testbed.settle_databases().await?;
        self.testbed.unpaid(&prefix).await
    }
}

impl Step {
    fn of(rate: f64, seconds: f64, load: Measured) -> Self {
        let at = |per_mille| percentile(&load.latencies, per_mille).map_or(f64::NAN, milliseconds);
        Self {
            rate,
            seconds,
            kept_up: load.failed.is_empty() && backlog::is_flat(&load.backlog, rate),
            p50: at(500),
            p99: at(990),
            p999: at(999),
            open_at_end: load.backlog.last().copied().unwrap_or_default(),
            declined: load.declined,
            late: milliseconds(load.late),
            failed: load.failed,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} a second for {} s: {}, p50 {} p99 {} p99.9 {} ms, {} open at the end",
            rounded(self.rate),
            self.seconds,
            if self.kept_up { "kept up" } else { "too much" },
            rounded(self.p50),
            rounded(self.p99),
            rounded(self.p999),
            self.open_at_end,
        )?;
        self.failed
            .iter()
            .try_for_each(|(why, n)| write!(f, ", {n} x {why}"))
    }
}

/// The median of one commit of one small row, one after another on one connection, at rest.
async fn commit(url: &str) -> Result<f64> {
    testbed::execute(url, "create table bench_commits (n integer primary key)").await?;
    let mut database = PgConnection::connect(url).await?;
    let mut latencies = Vec::new();
    for n in 0..COMMITS {
        let began = Instant::now();
        sqlx::query("insert into bench_commits values ($1)")
            .bind(n)
            .execute(&mut database)
            .await?;
        latencies.push(began.elapsed());
    }
    testbed::execute(url, "drop table bench_commits").await?;
    latencies.sort_unstable();
    percentile(&latencies, 500)
        .map(milliseconds)
        .ok_or_else(|| Error::new("nothing was committed"))
}
