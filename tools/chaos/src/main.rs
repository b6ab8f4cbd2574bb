//! `chaos`: everything fails for minutes, under load, as one seed says; then everything must have been paid, once.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use acceptance::Result;
use chaos::{Options, REST, Verdict, run};
use clap::Parser;

/// Breaks a whole system under load, waits until it is at rest, and checks every payment. Exits with 0 when all is well.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long faults strike.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Repeats the faults of an earlier run; without it, a fresh one is drawn and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How long everything may take to come to rest afterwards, if not 12 minutes.
    #[arg(long)]
    rest_minutes: Option<u64>,
    /// Where a picture of the run goes.
    #[arg(long, default_value = "target/chaos.svg")]
    svg: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let options = Options {
        seed,
        length: Duration::from_mins(arguments.minutes),
        rest: arguments.rest_minutes.map_or(REST, Duration::from_mins),
    };
    match chaos(options, &arguments.svg) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!(
                "chaos: not clean; repeat with --minutes {} --seed {seed}",
                arguments.minutes
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!(
                "chaos: {error}\nrepeat with --minutes {} --seed {seed}",
                arguments.minutes
            );
            ExitCode::FAILURE
        }
    }
}

fn chaos(options: Options, svg: &Path) -> Result<bool> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let verdict = run(options).await?;
        std::fs::write(svg, verdict.timeline.draw(&title(options, &verdict)))?;
        println!("seed {}, {} s\n{verdict}", options.seed, options.length.as_secs());
        eprintln!("its picture: {}", svg.display());
        Ok(verdict.is_clean())
    })
}

/// What stands above the picture: two lines.
fn title(options: Options, verdict: &Verdict) -> [String; 2] {
    let faults: usize = verdict.struck.values().sum();
    let payments = verdict.timeline.payments();
    let end = if verdict.is_clean() {
        "lost: only what restores took back; no payment is charged twice"
    } else {
        "NOT CLEAN: see what the run has printed"
    };
    [
        format!("seed {} · {faults} faults · {payments} payments", options.seed),
        end.to_owned(),
    ]
}
