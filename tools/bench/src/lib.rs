//! The benchmark: measures the system, the original it grew from, and what its parts alone allow, in one run on one machine.

use std::path::{Path, PathBuf};

use acceptance::{Error, Result};
use local_stack::free_port;
use reconcile::BankBooks;

pub mod backlog;
pub mod crowd;
pub mod limit;
pub mod lists;
pub mod machine;
pub mod mixed;
pub mod numbers;
pub mod original;
pub mod pay_all;
pub mod pay_each;
pub mod peers;
pub mod picture;
pub mod proc;
pub mod results;
pub mod seed;
pub mod size;
pub mod statistics;
pub mod table;
pub mod targets;
pub mod testbed;
pub mod usage;

use numbers::mebibytes;
use results::Results;
use statistics::{milliseconds, percentile};
use testbed::Testbed;

/// A call beside which single payments are made pays as many as so many calls otherwise.
const LARGE_CALL: u32 = 3;
/// This part of a usual call is paid one by one.
const ALONE: u32 = 100;
/// One that the bank is slow for pays this part of a usual call: at 256 a second it takes half a minute nevertheless.
const SLOW_CALL: u32 = 20;

/// A part of the benchmark that can be asked for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Part {
    /// What the challenge does: a call for each invoice, in sequence, all in memory.
    Original,
    /// What Postgres and NATS alone allow.
    Limit,
    /// What a team would pick instead: jobs in a table of Postgres, graphile-worker for Node and for Rust among others.
    Peers,
    /// One call that pays everything.
    PayAll,
    /// The same with two replicas of each service.
    Replicas,
    /// The same in a small and in a large table; and importing and listing in the large one.
    Growth,
    /// Single payments at a constant rate.
    PayEach,
    /// The same through a bank that is slow, times out and declines.
    PayEachBank,
    /// Single payments at a low rate, alone, beside one large call, and beside a call that the bank is slow for.
    Mixed,
    /// Memory at rest, and the time to start.
    Size,
    /// The most memory, with a million open payments, waiting calls, listeners, a large import and an export together.
    Crowd,
    /// A very large call, worked off at an even rate. Takes minutes.
    Backlog,
}

/// How much to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which parts.
    pub parts: Vec<Part>,
    /// How often each is repeated.
    pub repetitions: u32,
    /// How many invoices one call pays.
    pub invoices: u32,
    /// How many a small and a large table hold before.
    pub tables: (u32, u32),
    /// Seconds for which a rate has to be kept up.
    pub seconds: u32,
    /// Where the figures go, for programs.
    pub json: PathBuf,
    /// Where the picture goes.
    pub svg: PathBuf,
}

impl Options {
    fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

/// Measures, and tells what was measured: until the first part that fails, and what that said.
pub async fn run(options: &Options) -> Result<(Results, Result<()>)> {
    let mut results = Results {
        machine: machine::facts(),
        ..Results::default()
    };
    let measured = Box::pin(measure(options, &mut results)).await;
    for (process, figure) in [
        ("invoice-app", "peak.invoice-app"),
        ("payment-provider", "peak.payment-provider"),
    ] {
        if let Some(peak) = results.peaks.get(process) {
            results.note(figure, "MiB", mebibytes(*peak));
        }
    }
    peers::compare(&mut results);
    results.targets = targets::judge(|figure| results.median(figure));
    results.write(&options.json)?;
    draw(&options.json, &options.svg)?;
    Ok((results, measured))
}

/// Repetition by repetition, so that what disturbs the machine for a while disturbs all parts alike.
async fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let large = if options.has(Part::Growth) {
        Some(large_table(options, results).await?)
    } else {
        None
    };
    for repetition in 1..=options.repetitions {
        say(&format!("repetition {repetition} of {}", options.repetitions));
        compared(options, results).await?;
        if options.has(Part::Replicas) {
            replicas(options, results).await?;
        }
        if let Some(large) = &large {
            growth(options, large, repetition, results).await?;
        }
    }
    if let Some(large) = large {
        large.close().await;
    }
    if options.has(Part::PayEach) {
        pay_each(options, results).await?;
    }
    if options.has(Part::PayEachBank) {
        pay_each_bank(options, results).await?;
    }
    if options.has(Part::Mixed) {
        mixed(options, results).await?;
    }
    if options.has(Part::Crowd) {
        say("crowd");
        // Nobody listens there.
        let testbed = Testbed::open_at_bank(&format!("http://127.0.0.1:{}", free_port())).await?;
        crowd::measure(&testbed, options.tables.1, results).await?;
        testbed.close().await;
    }
    if options.has(Part::Backlog) {
        say("backlog");
        let testbed = open(results).await?;
        backlog::measure(&testbed, options.tables.1, results).await?;
        testbed.close().await;
    }
    Ok(())
}

/// Draws the figures of this run or an earlier one.
pub fn draw(json: &Path, svg: &Path) -> Result<()> {
    let told = std::fs::read(json)
        .map_err(|error| Error::new(format!("{} cannot be read: {error}", json.display())))?;
    Ok(std::fs::write(
        svg,
        picture::draw(&serde_json::from_slice(&told)?),
    )?)
}

async fn open(results: &mut Results) -> Result<Testbed> {
    let testbed = Testbed::open().await?;
    results.settings = machine::settings(&testbed).await?;
    Ok(testbed)
}

/// The rates that are compared with each other, one straight after another.
async fn compared(options: &Options, results: &mut Results) -> Result<()> {
    let invoices = u64::from(options.invoices);
    if options.has(Part::Original) {
        say("original");
        let run = original::measure(options.invoices).await?;
        results.note("original", "invoices/s", run.rate);
        results.note_usage("original", invoices, run.usage);
    }
    if ![Part::Limit, Part::Peers, Part::PayAll, Part::Size]
        .iter()
        .any(|part| options.has(*part))
    {
        return Ok(());
    }
    let testbed = open(results).await?;
    if options.has(Part::Limit) || options.has(Part::Peers) {
        testbed.stop_services().await;
        if options.has(Part::Limit) {
            limit(&testbed, options.invoices, results).await?;
        }
        if options.has(Part::Peers) {
            peers::measure(&testbed, options.invoices, results).await?;
        }
        testbed.start_services().await?;
    }
    if options.has(Part::Size) {
        say("size");
        size::measure(&testbed, results).await?;
    }
    if options.has(Part::PayAll) {
        pay_all(&testbed, "pay_all", ("B", options.invoices, 0), results).await?;
    }
    testbed.close().await;
    Ok(())
}

async fn limit(testbed: &Testbed, invoices: u32, results: &mut Results) -> Result<()> {
    say("limit.postgres");
    let postgres = limit::postgres::measure(testbed, invoices).await?;
    say("limit.nats");
    let nats = limit::nats::measure(testbed, invoices).await?;
    results.note("limit.postgres", "invoices/s", postgres.rate);
    results.note("limit.nats", "invoices/s", nats.rate);
    results.note("limit", "invoices/s", limit::combined(postgres.rate, nats.rate));
    results.note_usage("limit.postgres", u64::from(invoices), postgres.usage);
    results.note_usage("limit.nats", u64::from(invoices), nats.usage);
    say("limit.single");
    let invoices = invoices.div_ceil(ALONE);
    let postgres = limit::postgres::one_by_one(testbed, invoices).await?;
    let nats = limit::nats::one_by_one(testbed, invoices).await?;
    let mut floor = 0.0;
    for (name, mut took) in [("limit.postgres.single", postgres), ("limit.nats.single", nats)] {
        took.sort_unstable();
        let median = percentile(&took, 500).map_or(f64::NAN, milliseconds);
        results.note(name, "ms", median);
        floor += median;
    }
    results.note("limit.single", "ms", floor);
    Ok(())
}

/// Answers with how many invoices a second were imported.
async fn pay_all(
    testbed: &Testbed,
    name: &str,
    (prefix, invoices, paid_before): (&str, u32, u64),
    results: &mut Results,
) -> Result<f64> {
    say(name);
    let (run, imported) = pay_all::measure(testbed, prefix, invoices, paid_before).await?;
    results.note(name, "invoices/s", run.rate);
    results.note_usage(name, u64::from(invoices), run.usage);
    Ok(imported)
}

async fn replicas(options: &Options, results: &mut Results) -> Result<()> {
    let mut testbed = open(results).await?;
    testbed.add_replicas().await?;
    pay_all(&testbed, "replicas", ("B", options.invoices, 0), results).await?;
    testbed.close().await;
    Ok(())
}

/// A large table, with what importing into it and listing it takes.
async fn large_table(options: &Options, results: &mut Results) -> Result<Testbed> {
    let (_, rows) = options.tables;
    say(&format!("filling a table with {rows} paid invoices"));
    let testbed = open(results).await?;
    seed::paid(&testbed, rows).await?;
    say("list");
    lists::measure(&testbed.client()?, rows, results).await?;
    Ok(testbed)
}

/// A small and the large table in turn.
async fn growth(options: &Options, large: &Testbed, repetition: u32, results: &mut Results) -> Result<()> {
    let (few, many) = options.tables;
    let small = open(results).await?;
    seed::paid(&small, few).await?;
    pay_all(
        &small,
        "growth.small",
        ("B", options.invoices, u64::from(few)),
        results,
    )
    .await?;
    small.close().await;
    let paid_before = u64::from(many) + u64::from(options.invoices) * u64::from(repetition - 1);
    let prefix = format!("B{repetition}-");
    let imported = pay_all(
        large,
        "growth.large",
        (&prefix, options.invoices, paid_before),
        results,
    )
    .await?;
    results.note("import", "invoices/s", imported);
    // So that nothing is left to be vacuumed there while something else is measured.
    large.settle_databases().await
}

async fn pay_each(options: &Options, results: &mut Results) -> Result<()> {
    say("pay_each");
    let testbed = open(results).await?;
    let (search, succeeded) = pay_each::measure(&testbed, options.seconds).await?;
    note_search("pay_each", search, results)?;
    expect_all(testbed.check_against(BankBooks::Simulated).await?, succeeded)?;
    testbed.close().await;
    Ok(())
}

async fn pay_each_bank(options: &Options, results: &mut Results) -> Result<()> {
    let seed = rand::random();
    say(&format!("pay_each.bank, seed {seed}"));
    let bank = pay_each::bank::start(seed).await?;
    let mut testbed = Testbed::open_at_bank(&bank.url()).await?;
    results.settings = machine::settings(&testbed).await?;
    testbed.watch("bank", bank.program().pid());
    let (search, succeeded) = pay_each::measure(&testbed, options.seconds).await?;
    note_search("pay_each.bank", search, results)?;
    expect_all(testbed.check_against(bank.books()?).await?, succeeded)?;
    testbed.close().await;
    Ok(())
}

async fn mixed(options: &Options, results: &mut Results) -> Result<()> {
    say("mixed");
    let testbed = open(results).await?;
    let invoices = options.invoices;
    let sizes = (
        options.seconds,
        invoices * LARGE_CALL,
        invoices.div_ceil(SLOW_CALL),
    );
    let succeeded = mixed::measure(&testbed, sizes, results).await?;
    expect_all(testbed.check_against(BankBooks::Simulated).await?, succeeded)?;
    testbed.close().await;
    Ok(())
}

/// Everything matches, and no answer that told of a success is without one.
fn expect_all(report: reconcile::Report, succeeded: u64) -> Result<()> {
    let report = report.expect_clean()?;
    if u64::try_from(report.succeeded)? < succeeded {
        return Err(Error::new(format!(
            "{succeeded} answers told of a success, but: {report}"
        )));
    }
    Ok(())
}

fn note_search(name: &str, search: pay_each::Search, results: &mut Results) -> Result<()> {
    results.note(name, "invoices/s", search.highest.rate);
    for (place, step) in [("highest", &search.highest), ("tenth", &search.tenth)] {
        for (percentile, value) in [("p50", step.p50), ("p99", step.p99), ("p99.9", step.p999)] {
            results.note(&format!("{name}.{place}.{percentile}"), "ms", value);
        }
    }
    if name == "pay_each" {
        results.note("commit", "ms", search.commit);
    }
    let [highest, tenth] = search.usage;
    results.note_usage(name, highest.0, highest.1);
    results.note_usage(&format!("{name}.tenth"), tenth.0, tenth.1);
    results
        .details
        .insert(name.to_owned(), serde_json::to_value(search.steps)?);
    Ok(())
}

/// Progress goes where it does not disturb the table.
fn say(what: &str) {
    eprintln!("bench: {what} ...");
}
