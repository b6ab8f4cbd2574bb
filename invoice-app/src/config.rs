//! What a deployment can set, read once at start. Every key stands, commented, in `config.default.toml`.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use service::config::{Common, Database, Mistakes, Nats, Reader, listen};

#[derive(Clone, Debug)]
pub struct Config {
    pub common: Common,
    pub database: Database,
    pub migrate_on_start: bool,
    pub nats: Nats,
    /// Who may call.
    pub auth: Auth,
    pub http: Http,
    /// Every value in effect, secrets left out, for `check-config`.
    pub effective: String,
    /// After how long without an outcome a request is sent again, at first.
    pub resend_after: Duration,
}

/// `auth.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everybody may do everything.
    Disabled,
    /// Bearer tokens, as hashes in this file.
    Token(PathBuf),
}

/// `http.*`
#[derive(Clone, Debug)]
pub struct Http {
    pub listen: SocketAddr,
    pub limits: Limits,
}

/// What bounds requests.
#[derive(Clone, Debug)]
pub struct Limits {
    pub max_connections: usize,
    /// Requests handled at once.
    pub max_in_flight: usize,
    /// Pay calls waiting at once.
    pub max_waiting: usize,
    pub max_imports: usize,
    /// Lists streamed as CSV at once.
    pub max_exports: usize,
    pub max_listeners: usize,
    /// How often one caller may call; as often as it likes without it.
    pub rate: Option<Rate>,
    /// Largest import, in bytes.
    pub import_bytes: usize,
    pub request: Duration,
    pub import: Duration,
    /// Limit of a pause within a body.
    pub body_stall: Duration,
    /// Limit of a pause in which a client takes nothing of its answer.
    pub write_stall: Duration,
}

/// How often a caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl Config {
    /// Reads the defaults, then `file`, then the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(include_str!("../config.default.toml"), file, "INVOICE_APP__");
        let config = Self {
            common: Common::read(&mut reader),
            database: Database::read(&mut reader),
            migrate_on_start: reader.get("database.migrate_on_start"),
            nats: Nats::read(&mut reader),
            auth: Auth::read(&mut reader),
            http: Http::read(&mut reader),
            resend_after: reader.duration("sender.resend_after_s"),
            effective: reader.effective(),
        };
        reader.finish(config)
    }
}

impl Auth {
    fn read(reader: &mut Reader) -> Self {
        let file = reader.text("auth.tokens_file").map(PathBuf::from);
        match (reader.required_text("auth.mode").as_str(), &file) {
            ("disabled", _) => return Self::Disabled,
            ("token", None) => {
                reader.mistake("auth.tokens_file", "is needed when auth.mode is \"token\"");
            }
            ("token", Some(_)) | ("", _) => {}
            _ => reader.mistake("auth.mode", "must be \"token\" or \"disabled\""),
        }
        Self::Token(file.unwrap_or_default())
    }
}

impl Http {
    /// Reads `http.*`.
    pub fn read(reader: &mut Reader) -> Self {
        let import_mib: usize = reader.number("http.import_limit_mib", 1..=65_536);
        Self {
            listen: listen(reader, "http.listen"),
            limits: Limits {
                max_connections: reader.number("http.max_connections", 1..=1_000_000),
                max_in_flight: reader.number("http.max_in_flight", 1..=100_000),
                max_waiting: reader.number("http.max_waiting", 1..=1_000_000),
                max_imports: reader.number("http.max_imports", 1..=1_000),
                max_exports: reader.number("http.max_exports", 1..=1_000),
                max_listeners: reader.number("http.max_listeners", 1..=1_000_000),
                rate: Rate::read(reader),
                import_bytes: import_mib.saturating_mul(1024 * 1024),
                request: reader.duration("http.request_timeout_s"),
                import: reader.duration("http.import_timeout_s"),
                body_stall: reader.duration("http.body_stall_timeout_s"),
                write_stall: reader.duration("http.write_stall_timeout_s"),
            },
        }
    }
}

impl Rate {
    /// None for zero.
    fn read(reader: &mut Reader) -> Option<Self> {
        let per_second = reader.number("http.requests_per_second", 0..=1_000_000);
        let burst = reader.number("http.burst", 1..=1_000_000);
        Some(Self {
            per_second: NonZeroU32::new(per_second)?,
            burst: NonZeroU32::new(burst)?,
        })
    }
}
