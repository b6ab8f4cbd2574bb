//! The command line: reads it and the configuration, and hands over.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use invoice_app::{
    app,
    config::Config,
    tokens::{self, Scope},
};
use service::{cli, config, telemetry};

/// Owns invoices: HTTP in, pay requests out, outcomes settled.
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
    /// Serves the API until SIGTERM.
    Serve,
    /// Brings the database's schema up to date.
    Migrate,
    /// Checks the configuration and shows the values in effect.
    CheckConfig,
    /// Looks at outcomes that could not be applied, and replays or discards them.
    #[command(subcommand)]
    DeadLetters(service::dead_letters::Command),
    /// Makes a token: prints it once, and the entry that lets it in. Needs no configuration.
    Token {
        /// Whose it is: letters, digits, `.`, `_` and `-`.
        #[arg(long, value_parser = tokens::parse_name)]
        name: String,
        /// What it allows, separated by commas: invoices:read, invoices:write, invoices:pay.
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// The tokens file the entry is added to. Without it, the entry is printed to standard error.
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

// One thread: it waits for others most of the time, and threads that wake each other cost more than they do. More
// replicas use more cores.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli: Cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let Command::Token { name, scopes, file } = &cli.command {
        return token(name, scopes, file.as_deref());
    }
    let settings = match (Config::load(cli.config.as_deref()), &cli.command) {
        (Ok(settings), Command::CheckConfig) => return config::report(Ok(()), &settings.effective),
        (Ok(settings), _) => settings,
        (Err(mistakes), _) => return config::refuse(&mistakes),
    };
    telemetry::init_logs(settings.common.log_format, &settings.common.log_filter);
    telemetry::install_crypto();
    let ended = match cli.command {
        Command::Serve => app::serve(settings).await,
        Command::Migrate => app::migrate(&settings).await,
        Command::DeadLetters(command) => app::dead_letters(&settings, command).await,
        Command::CheckConfig | Command::Token { .. } => Ok(ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|error| app::report(&error))
}

/// The token alone goes to standard output, so that it can be piped to where it is kept.
fn token(name: &str, scopes: &[Scope], file: Option<&std::path::Path>) -> ExitCode {
    let (token, entry) = tokens::generate(name, scopes);
    match file.map(|file| tokens::add(file, &entry)) {
        None => eprintln!("add this to the tokens file:\n\n{entry}"),
        Some(Ok(())) => {}
        Some(Err(error)) => {
            eprintln!("{}", telemetry::chain(&error));
            return ExitCode::FAILURE;
        }
    }
    println!("{token}");
    ExitCode::SUCCESS
}
