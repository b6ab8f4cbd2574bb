//! The command line: the same exit codes for every process, and what commands of both services share.

use std::process::ExitCode;

use clap::{Command, CommandFactory, Parser};
use jetstream::BoxError;
use sqlx::migrate::Migrator;

use crate::{
    config::{Common, Database, LogFormat},
    database, log_writer, output,
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

/// Types the examples that stand at the end of each command's help; how many there are, or what is wrong with one. For tests.
pub fn try_examples<C: Parser>() -> Result<usize, String> {
    let examples = examples(&C::command());
    for example in &examples {
        C::try_parse_from(example).map_err(|error| format!("{example:?}: {error}"))?;
    }
    Ok(examples.len())
}

/// Those of a command's help, and of the commands below it: each in words.
fn examples(command: &Command) -> Vec<Vec<String>> {
    let shown = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let lines = shown.lines().filter_map(|line| line.strip_prefix("  "));
    let below = command.get_subcommands().flat_map(examples);
    lines.map(words).chain(below).collect()
}

/// As a shell would, of what examples need: quotes keep words together.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate().flat_map(|(at, part)| {
        if at % 2 == 1 {
            vec![part]
        } else {
            part.split_whitespace().collect()
        }
    });
    parts.map(str::to_owned).collect()
}

/// `completions`, for clap.
#[derive(clap::Args, Debug)]
pub struct Completions {
    /// For this shell.
    pub shell: clap_complete::Shell,
}

impl Completions {
    /// Prints them, to be sourced by the shell.
    #[must_use]
    pub fn run<C: CommandFactory>(&self) -> ExitCode {
        let mut command = C::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        output::print(&String::from_utf8_lossy(&script));
        ExitCode::SUCCESS
    }
}

/// Runs what machines start, `serve` and `migrate`. What ends it is logged once, with its whole chain.
pub async fn for_machines(
    name: &str,
    common: &Common,
    command: impl Future<Output = Result<ExitCode, BoxError>>,
) -> Result<ExitCode, BoxError> {
    init_logs(common.log_format, &common.log_filter);
    let ended = command.await;
    ended.inspect_err(|error| tracing::error!(error = chain(error.as_ref()), "{name} ended"))
}

/// `migrate`: brings the schema up to date and ends.
pub async fn migrate(config: &Database, name: &str, migrator: &Migrator) -> Result<ExitCode, BoxError> {
    let pool = database::pool(config, name)?;
    database::migrate(&pool, migrator).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs an operator's command. They read answers, not logs: only what is worth a warning is logged beside them.
pub async fn for_people(
    command: impl Future<Output = Result<ExitCode, BoxError>>,
) -> Result<ExitCode, BoxError> {
    init_logs(LogFormat::Text, "warn");
    let ended = command.await;
    log_writer::flush();
    ended.inspect_err(|error| eprintln!("error: {}", chain(error.as_ref())))
}
