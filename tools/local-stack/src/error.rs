//! What can keep a stack from running, in words that say what to do about it.

use std::path::PathBuf;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something of the stack did not start, stop or answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A binary is missing.
    #[error("{name} is missing at {}: {hint}", path.display())]
    Missing {
        /// Which one.
        name: String,
        /// Where it was expected.
        path: PathBuf,
        /// How to get it.
        hint: &'static str,
    },
    /// Another process listens there.
    #[error(
        "port {port} ({purpose}) is in use: stop what holds it, or move all ports, for example with STACK_PORT_BASE=18000"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// What the stack wants it for.
        purpose: &'static str,
    },
    /// The state directory may not be emptied or shared.
    #[error("{} {problem}", path.display())]
    Directory {
        /// The state directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file or directory could not be used.
    #[error("could not {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A process could not be started.
    #[error("could not start {name}")]
    Spawn {
        /// Which one.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A process ended though it should run, or ended badly.
    #[error("{name} ended with {status}; its log {} ends:\n{tail}", log.display())]
    Ended {
        /// Which one.
        name: String,
        /// How.
        status: std::process::ExitStatus,
        /// Its whole log.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// A process runs but is not ready in time.
    #[error("{name} was not ready after {seconds} s; its log {} ends:\n{tail}", log.display())]
    NotReady {
        /// Which one.
        name: String,
        /// How long it was given.
        seconds: u64,
        /// Its whole log.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// A key or certificate could not be made.
    #[error("could not make keys and certificates: {0}")]
    Keys(String),
    /// Postgres refused.
    #[error("could not {action}")]
    Database {
        /// What was tried, as a verb.
        action: String,
        /// Why not.
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("could not run the migrations of {}", path.display())]
    Migrate {
        /// The directory they are in.
        path: PathBuf,
        /// Why not.
        source: sqlx::migrate::MigrateError,
    },
    /// An HTTP call failed or answered with an error.
    #[error("{0}")]
    Http(String),
    /// NATS refused.
    #[error("{0}")]
    Nats(String),
    /// Something was asked for that is not there.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
