//! The commands behind the recipes of the justfile.

mod commands;
mod control_room;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use local_stack::{ChildArgs, Error};

/// Runs Postgres, NATS, invoice-app and payment-provider on this machine.
#[derive(Parser)]
#[command(
    name = "local-stack",
    after_help = "STACK_DIR, STACK_PORT_BASE, STACK_TOKENS_FILE, NATS_NODES=3 and KEEP=1 change where and how the stack runs."
)]
enum Command {
    /// Start the stack, empty and quiet, until Ctrl-C or SIGTERM.
    Up,
    /// Start the stack, import three invoices, pay them, show them paid.
    Demo {
        /// Stop the stack then, and tell by the exit code whether all three were paid.
        #[arg(long)]
        once: bool,
    },
    /// Show the invoices of the running stack.
    Invoices,
    /// Import a file of invoices into the running stack: CSV if its name ends so, else NDJSON.
    Import {
        /// Which one.
        file: PathBuf,
    },
    /// Pay every unpaid invoice of the running stack.
    Pay,
    /// Print the messages on a subject of the running stack.
    NatsSub {
        /// With the usual wildcards.
        #[arg(default_value = "pay.>")]
        subject: String,
    },
    /// Make NKEYs, a CA and a server certificate for a stack.
    Keys {
        /// Where to; must hold none yet.
        directory: PathBuf,
        /// A further name of the server, beside localhost.
        #[arg(long)]
        dns: Vec<String>,
    },
    /// Run a throw-away Postgres with both databases migrated, until Ctrl-C or for one command.
    DevPostgres {
        /// 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Gets `INVOICE_DATABASE_URL` and `PAYMENT_DATABASE_URL`.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Internal: becomes a process of the stack.
    #[command(hide = true)]
    Child(ChildArgs),
    /// Internal: removes a directory when its owner is gone.
    #[command(hide = true)]
    Guard {
        /// Which one.
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        // These two first: they must not have a second thread.
        Command::Child(args) => {
            eprintln!(
                "local-stack: could not start {args:?}: {}",
                local_stack::run_child(&args)
            );
            return ExitCode::from(127);
        }
        Command::Guard { directory } => {
            local_stack::run_guard(&directory);
            return ExitCode::SUCCESS;
        }
        Command::Keys { directory, dns } => commands::keys::run(&directory, &dns),
        command => run_async(command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run_async(command: Command) -> local_stack::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().map_err(|source| Error::Spawn {
        name: "the runtime".to_owned(),
        source,
    })?;
    runtime.block_on(async {
        match command {
            Command::Up => commands::up::run().await,
            Command::Demo { once } => commands::demo::run(once).await,
            Command::Invoices => commands::invoices::invoices().await,
            Command::Import { file } => commands::invoices::import(&file).await,
            Command::Pay => commands::invoices::pay().await,
            Command::NatsSub { subject } => commands::nats_sub::run(&subject).await,
            Command::DevPostgres { port, command } => commands::dev_postgres::run(port, &command).await,
            Command::Keys { .. } | Command::Child(_) | Command::Guard { .. } => Ok(ExitCode::SUCCESS),
        }
    })
}

fn print_error(error: &dyn std::error::Error) {
    eprint!("local-stack: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
}
