//! The command line: reads it and the configuration, and hands over.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use service::{cli, config, log_writer, telemetry};

use crate::{
    app::{self, NAME},
    commands::{dead_letters, ledger},
    config::Config,
    store::MIGRATOR,
};

/// Owns payments: takes pay requests from NATS, pays them through a bank, and answers with outcomes.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Settings over the compiled-in defaults, in TOML; the environment wins over both.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Takes and pays requests until SIGTERM.
    Serve,
    /// Brings the database's schema up to date.
    Migrate,
    /// Checks the configuration and shows the values in effect.
    CheckConfig,
    /// Looks at the ledger, and ends payments that only an operator can end.
    #[command(subcommand, after_help = ledger::EXAMPLES)]
    Ledger(ledger::Command),
    /// Looks at requests that could not be handled, and replays or discards them.
    #[command(subcommand, after_help = dead_letters::EXAMPLES)]
    DeadLetters(service::dead_letters::Command),
    /// Prints completions for a shell: `source <(payment-provider completions bash)`. Needs no configuration.
    Completions(cli::Completions),
}

/// The whole program; its exit code. One thread: it waits for others most of the time, and threads that wake each other cost
/// more than they do. More replicas use more cores.
///
/// # Panics
///
/// Where the system allows no runtime.
#[tokio::main(flavor = "current_thread")]
pub async fn main() -> ExitCode {
    let cli: Cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let Command::Completions(completions) = &cli.command {
        return completions.run::<Cli>();
    }
    let loaded = Config::load(cli.config.as_deref());
    let settings = match (loaded, &cli.command) {
        (Ok(settings), Command::CheckConfig) => return config::report(&settings.effective),
        (Ok(settings), _) => settings,
        (Err(mistakes), _) => return config::refuse(&mistakes),
    };
    telemetry::install_crypto();
    Box::pin(run(settings, cli.command)).await
}

async fn run(settings: Config, command: Command) -> ExitCode {
    let common = settings.common.clone();
    let ended = match command {
        Command::Serve => cli::for_machines(NAME, &common, Box::pin(app::serve(settings))).await,
        Command::Migrate => {
            let migrating = cli::migrate(&settings.database, NAME, &MIGRATOR);
            cli::for_machines(NAME, &common, migrating).await
        }
        Command::CheckConfig | Command::Completions(_) => Ok(ExitCode::SUCCESS),
        Command::Ledger(command) => cli::for_people(Box::pin(ledger::run(&settings, command))).await,
        Command::DeadLetters(command) => {
            cli::for_people(Box::pin(dead_letters::run(&settings, command))).await
        }
    };
    log_writer::flush();
    ended.unwrap_or(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_in_help_can_be_typed() {
        let examples = cli::try_examples::<Cli>().unwrap();
        assert!(examples > 5, "{examples}");
    }
}
