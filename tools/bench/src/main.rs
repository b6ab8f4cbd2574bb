//! `bin/just bench`: runs the benchmark; and, in other roles, the processes it compares the system with.

use std::{path::PathBuf, process::ExitCode};

use acceptance::Result;
use bench::{self, Options, Part, original};
use clap::{Parser, Subcommand, ValueEnum as _};

/// What a quick run leaves of the numbers: a fifth.
const QUICK: u32 = 5;
/// How many invoices a small and a large table hold.
const SMALL_TABLE: u32 = 10_000;
const LARGE_TABLE: u32 = 1_000_000;
/// A rate that is kept up for so long is kept up.
const KEPT_UP_SECONDS: u32 = 30;

/// Measures the system on this machine: one table on standard output, everything in a JSON file.
#[derive(Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "flags, each for itself")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    /// Only these parts, with commas.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    /// How often each part is measured.
    #[arg(long, default_value_t = 3)]
    repetitions: u32,
    /// How many invoices one call pays.
    #[arg(long, default_value_t = 100_000)]
    invoices: u32,
    /// Everything smaller, and once: for development, not for figures.
    #[arg(long)]
    quick: bool,
    /// Also the part that takes minutes: `backlog`.
    #[arg(long)]
    long: bool,
    /// Also what a team would pick instead; graphile-worker among it, for Node where there is npm.
    #[arg(long)]
    peers: bool,
    /// Where the figures go.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Where their picture goes.
    #[arg(long, default_value = "target/bench.svg")]
    svg: PathBuf,
    /// Measure nothing: only draw the figures that are there.
    #[arg(long)]
    draw: bool,
}

#[derive(Subcommand)]
#[command(hide = true)]
enum Role {
    /// The original's provider.
    OriginalPayments {
        #[arg(long)]
        port: u16,
    },
    /// The original's invoice-app.
    OriginalInvoices {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        provider_port: u16,
        #[arg(long)]
        invoices: u32,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.role {
        // One thread, like the work: handing each call from thread to thread would only slow the original down.
        Some(role) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(play(role))),
        None if cli.draw => bench::draw(&cli.json, &cli.svg),
        None => tokio::runtime::Runtime::new()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(measure(cli))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(role: Role) -> Result<()> {
    match role {
        Role::OriginalPayments { port } => original::serve_payments(port).await,
        Role::OriginalInvoices {
            port,
            provider_port,
            invoices,
        } => original::serve_invoices(port, provider_port, invoices).await,
    }
}

async fn measure(cli: Cli) -> Result<()> {
    let all = Part::value_variants().iter().copied();
    let mut parts = cli.only;
    if parts.is_empty() {
        parts.extend(all.filter(|part| match part {
            Part::Backlog | Part::Peers => false,
            // As large for those in a hurry.
            Part::Crowd => !cli.quick,
            _ => true,
        }));
    }
    parts.extend(cli.long.then_some(Part::Backlog));
    parts.extend(cli.peers.then_some(Part::Peers));
    let (repetitions, part) = if cli.quick {
        (1, QUICK)
    } else {
        (cli.repetitions, 1)
    };
    let options = Options {
        parts,
        repetitions,
        invoices: cli.invoices / part,
        tables: (SMALL_TABLE, LARGE_TABLE / part),
        seconds: KEPT_UP_SECONDS / part.min(3),
        json: cli.json,
        svg: cli.svg,
    };
    let (results, measured) = Box::pin(bench::run(&options)).await?;
    print!("{results}");
    measured
}
