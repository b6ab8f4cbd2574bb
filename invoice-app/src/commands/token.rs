//! `token`: makes one, without a configuration.

use std::{path::PathBuf, process::ExitCode};

use service::telemetry::chain;

use crate::tokens::{self, Scope};

/// What it is to be.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Whose it is: letters, digits, `.`, `_` and `-`.
    #[arg(long, value_parser = tokens::parse_name)]
    name: String,
    /// What it allows, separated by commas: invoices:read, invoices:write, invoices:pay.
    #[arg(long, value_delimiter = ',', required = true)]
    scopes: Vec<Scope>,
    /// The tokens file the entry is added to. Without it, the entry is printed to standard error.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// The token alone goes to standard output, so that it can be piped to where it is kept.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let (token, entry) = tokens::generate(&args.name, &args.scopes);
    match args.file.as_deref().map(|file| tokens::add(file, &entry)) {
        None => eprintln!("add this to the tokens file:\n\n{entry}"),
        Some(Ok(())) => {}
        Some(Err(error)) => {
            eprintln!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    }
    println!("{token}");
    ExitCode::SUCCESS
}
