//! All rounds, a few runners at a time, and the table that shows them.

use std::{
    collections::VecDeque,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use acceptance::{Error, Result};
use local_stack::workspace_root;
use tokio::task::JoinSet;

use super::{
    Crash,
    round::{self, Row},
    runner::Runner,
};

/// Systems that run side by side. Rounds mostly wait: for leases, for timeouts, for messages to be delivered again.
const RUNNERS: usize = 4;

/// What came of all rounds.
pub(super) struct Matrix {
    rows: Vec<Row>,
}

impl Matrix {
    /// Runs them.
    pub(super) async fn of_rounds(rounds: Vec<Vec<Crash>>) -> Result<Self> {
        let order: Vec<String> = rounds.iter().map(|crashes| name(crashes)).collect();
        let runners = RUNNERS.min(rounds.len());
        let mut rounds = rounds;
        // The long ones first, so that no runner is left with one in the end.
        rounds.sort_by_key(|crashes| !crashes.iter().any(|crash| is_long(*crash)));
        let left = Arc::new(Mutex::new(VecDeque::from(rounds)));
        print(HEAD)?;
        let mut running = JoinSet::new();
        for _ in 0..runners {
            running.spawn(work_off(Arc::clone(&left)));
        }
        let mut rows = Vec::new();
        while let Some(ended) = running.join_next().await {
            rows.extend(ended??);
        }
        rows.sort_by_key(|row| order.iter().position(|name_| *name_ == name(&row.crashes)));
        Ok(Self { rows })
    }

    /// Keeps the table, in the order of the list.
    pub(super) fn keep(&self, file: &str) -> Result<()> {
        let rows = self.rows.iter().map(line);
        let table: String = [HEAD.to_owned()].into_iter().chain(rows).collect();
        Ok(std::fs::write(workspace_root().join("target").join(file), table)?)
    }

    /// Fails unless every point was reached and all books agree after every round.
    pub(super) fn expect_all_good(&self) -> Result<()> {
        let bad: Vec<String> = self
            .rows
            .iter()
            .filter(|row| !row.is_good())
            .map(|row| {
                format!(
                    "{}: reached {:?}, {:?}",
                    name(&row.crashes),
                    row.reached,
                    row.verdict
                )
            })
            .collect();
        if bad.is_empty() {
            return Ok(());
        }
        Err(Error::new(bad.join("\n")))
    }
}

const HEAD: &str = "\
| Died at | Reached | Payments | Sent again | Delivered again | Seconds | Verdict |
|---|---|--:|--:|--:|--:|---|
";

fn line(row: &Row) -> String {
    let reached = if row.reached.iter().all(|reached| *reached) {
        "yes"
    } else {
        "no"
    };
    let verdict = row
        .verdict
        .as_ref()
        .map_or_else(ToString::to_string, |()| "match".to_owned());
    format!(
        "| {} | {reached} | {} | {} | {} | {:.1} | {} |\n",
        name(&row.crashes),
        row.payments,
        row.repeats.sends,
        row.repeats.deliveries,
        row.took.as_secs_f64(),
        verdict.replace('\n', " "),
    )
}

/// Past the test's captured output: whoever waits for this sees it at once.
fn print(text: &str) -> Result<()> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}

fn name(crashes: &[Crash]) -> String {
    crashes
        .iter()
        .map(|crash| crash.name())
        .collect::<Vec<_>>()
        .join(" and ")
}

/// What the dead process held unacknowledged is delivered again only when its ack wait is over.
fn is_long(crash: Crash) -> bool {
    crash.service == local_stack::ServiceKind::InvoiceApp
        && matches!(
            crash.point,
            "outcomes.settling"
                | "outcomes.settled"
                | "messages.taken"
                | "message.acking"
                | "message.acked"
                | "dead_letters.storing"
                | "dead_letters.stored"
                | "message.terminating"
        )
}

/// Takes rounds until none is left, or until one has spoilt the books: what comes after it would only be judged by them, and
/// all that is broken would take hours to be seen.
async fn work_off(left: Arc<Mutex<VecDeque<Vec<Crash>>>>) -> Result<Vec<Row>> {
    let mut runner = Runner::start().await?;
    let mut rows = Vec::new();
    loop {
        let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(crashes) = next else {
            return Ok(rows);
        };
        let row = round::run(&mut runner, crashes).await?;
        let spoilt = row.verdict.is_err();
        print(&line(&row))?;
        rows.push(row);
        if spoilt {
            return Ok(rows);
        }
    }
}
