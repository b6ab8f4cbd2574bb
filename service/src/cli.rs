//! Reading the command line: the same exit codes for every process.

use std::process::ExitCode;

use clap::Parser;

use crate::{
    config::LogFormat,
    shutdown::EXIT_CONFIG,
    telemetry::{chain, init_logs},
};

/// The command line, or the code to end with: 64 for a mistake, 0 after `--help` and `--version`. What clap has to say is
/// printed.
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    C::try_parse().map_err(|error| {
        let code = if error.use_stderr() {
            ExitCode::from(EXIT_CONFIG)
        } else {
            ExitCode::SUCCESS
        };
        // Nothing is left to be done about a closed terminal.
        let _ = error.print();
        code
    })
}

/// What can end a command.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Runs an operator's command. They read answers, not logs: only what is worth a warning is logged beside them.
pub async fn for_people(command: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    init_logs(LogFormat::Text, "warn");
    command
        .await
        .inspect_err(|error| eprintln!("error: {}", chain(error.as_ref())))
}
