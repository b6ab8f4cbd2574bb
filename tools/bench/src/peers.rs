//! `peers`: what a team would pick instead, on the same Postgres with the same settings: jobs in a table, each of which is one
//! durable payment row and one paid invoice, in one database and one transaction. They promise less: no bank is called, nothing
//! is looked up, no second team's database is kept in step.

mod books;
mod graphile_worker;
mod pgmq;
mod skip_locked;

use self::{books::Books, graphile_worker::Worker};
use super::{results::Results, testbed::Testbed};
use acceptance::Result;

/// Runs each peer once, those that are programs of their own where they are installed. The services must be stopped.
pub async fn measure(testbed: &Testbed, invoices: u32, results: &mut Results) -> Result<()> {
    for (name, size) in [("peer.skip_locked", 1), ("peer.skip_locked.100", 100)] {
        let books = Books::open(testbed, invoices, name).await?;
        let run = skip_locked::measure(&books, size).await?;
        books.close(run, results).await?;
    }
    let books = Books::open(testbed, invoices, "peer.pgmq").await?;
    let run = pgmq::measure(&books).await?;
    books.close(run, results).await?;
    for worker in [Worker::Node, Worker::Rust] {
        if !worker.is_installed() {
            eprintln!("bench: {} is left out: it is not installed", worker.name());
            continue;
        }
        let books = Books::open(testbed, invoices, worker.name()).await?;
        let run = graphile_worker::measure(&books, worker).await?;
        books.close(run, results).await?;
    }
    Ok(())
}

/// How many times as much `pay_all` pays, of each peer that was measured beside it.
pub fn compare(results: &mut Results) {
    let Some(ours) = results.median("pay_all") else {
        return;
    };
    for peer in [
        "skip_locked",
        "skip_locked.100",
        "pgmq",
        "graphile_worker",
        "graphile_worker.rust",
    ] {
        if let Some(theirs) = results.median(&format!("peer.{peer}")) {
            results.note(&format!("pay_all / {peer}"), "times", ours / theirs);
        }
    }
}
