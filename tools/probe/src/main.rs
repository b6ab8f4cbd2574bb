//! Tries, from wherever it runs, what the system's isolation must allow or refuse, and prints one line for each try.
//!
//! It judges nothing: the tests that start it know which answer is right.

mod nats;
mod tcp;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

/// Tries connections and NATS permissions from inside a cluster.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Opens a TCP connection to each address and prints `<address> open`, `refused`, `silent` or `unknown`.
    Tcp {
        /// As `host:port`.
        #[arg(required = true)]
        addresses: Vec<String>,
        /// How long silence takes to count as such.
        #[arg(long, default_value_t = 3000)]
        timeout_ms: u64,
        /// Addresses that should be open, unlike all the others: tries again until twice in a row that is so.
        #[arg(long = "open", value_name = "ADDRESS")]
        open: Vec<String>,
        /// How long to try again at most. A network takes a while to apply its policies to a pod that is new.
        #[arg(long, default_value_t = 0)]
        within_ms: u64,
    },
    /// Logs in to NATS and prints `<try> allowed` or `refused` for each try.
    Nats {
        /// As `tls://host:port`.
        #[arg(long)]
        url: String,
        /// The user's seed.
        #[arg(long)]
        nkey_seed_file: PathBuf,
        /// Whose certificate the server must show.
        #[arg(long)]
        ca_file: PathBuf,
        /// `publish:SUBJECT` or `subscribe:SUBJECT`.
        #[arg(required = true)]
        tries: Vec<nats::Try>,
    },
    /// Serves TCP on a port and says nothing, as the far end of a connection that must or must not be possible.
    Listen {
        /// On every address.
        port: u16,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = match Command::parse() {
        Command::Tcp {
            addresses,
            timeout_ms,
            open,
            within_ms,
        } => {
            let patience = tcp::Patience {
                silence: Duration::from_millis(timeout_ms),
                settling: Duration::from_millis(within_ms),
            };
            tcp::run(&addresses, &open, &patience).await;
            Ok(())
        }
        Command::Nats {
            url,
            nkey_seed_file,
            ca_file,
            tries,
        } => nats::run(&url, &nkey_seed_file, &ca_file, &tries).await,
        Command::Listen { port } => tcp::listen(port)
            .await
            .map_err(|error| format!("could not listen: {error}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}
