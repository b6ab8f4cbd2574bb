//! `bank-simulator`: the bank of fault tests and benchmarks, as a process that can be killed like any other.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use bank_simulator::{Mix, MixError, Options, Result};
use clap::Parser;
use tokio::net::TcpListener;

/// A bank for tests: speaks the protocol of payment-provider's gateway `http`, misbehaves as told, and writes down every
/// charge it makes. `PUT /admin/faults` with `{"error_before": 1.0}` changes what goes wrong while it runs, and
/// `PUT /admin/script` with `{"I1": ["late"]}` says what meets the first calls to pay an invoice.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; `gateway.url` is http:// and this.
    #[arg(long, default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Where it writes down what it does; continued if it exists.
    #[arg(long)]
    journal: PathBuf,
    /// Decides what goes wrong, together with an invoice's number and the count of its calls.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How often what goes wrong, such as `decline=0.05,timeout_after=0.01`. One of: decline, slow, `error_before`,
    /// `error_after`, `reset_before`, `reset_after`, `timeout_before`, `timeout_after`, late, twice, `too_many`,
    /// `undocumented_before`, `undocumented_after`, unreadable, `other_payment`.
    #[arg(long, default_value = "", value_parser = parse_mix)]
    faults: Mix,
    /// Forget idempotency keys after this long, and charge again under the same key.
    #[arg(long)]
    forget_after_ms: Option<u64>,
    /// How long callers wait: two calls under one key within this time, the first unanswered, are reported.
    #[arg(long, default_value_t = 5_000)]
    caller_patience_ms: u64,
    /// The least that a slow call takes.
    #[arg(long, default_value_t = 0)]
    fastest_ms: u64,
    /// The longest that a slow call takes.
    #[arg(long, default_value_t = 1_000)]
    slowest_ms: u64,
    /// The longest that a late charge takes.
    #[arg(long, default_value_t = 4_000)]
    latest_ms: u64,
}

fn parse_mix(text: &str) -> std::result::Result<Mix, String> {
    text.parse().map_err(|error: MixError| error.to_string())
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bank-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let options = Options {
        journal: arguments.journal,
        seed: arguments.seed,
        mix: arguments.faults,
        forget_after: arguments.forget_after_ms.map(Duration::from_millis),
        caller_patience: Duration::from_millis(arguments.caller_patience_ms),
        fastest: Duration::from_millis(arguments.fastest_ms),
        slowest: Duration::from_millis(arguments.slowest_ms),
        latest: Duration::from_millis(arguments.latest_ms),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(arguments.listen).await?;
        bank_simulator::serve(listener, options).await
    })
}
