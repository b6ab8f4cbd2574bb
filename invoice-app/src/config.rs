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
        let common = Common::read(&mut reader);
        let database = Database::read(&mut reader);
        let migrate_on_start = reader.get("database.migrate_on_start");
        let nats = Nats::read(&mut reader);
        let auth = Auth::read(&mut reader);
        let http = Http::read(&mut reader);
        let resend_after = reader.duration("sender.resend_after_s");
        let effective = reader.effective();
        reader.finish()?;
        let whole = || {
            Some(Self {
                common: common?,
                database: database?,
                migrate_on_start: migrate_on_start?,
                nats: nats?,
                auth: auth?,
                http: http?,
                effective,
                resend_after: resend_after?,
            })
        };
        // A missing part without a noted mistake cannot happen; an empty list of mistakes says so if it does.
        whole().ok_or(Mistakes(Vec::new()))
    }
}

impl Auth {
    fn read(reader: &mut Reader) -> Option<Self> {
        let file = reader.text("auth.tokens_file");
        match (reader.required_text("auth.mode")?.as_str(), file) {
            ("disabled", _) => Some(Self::Disabled),
            ("token", Some(file)) => Some(Self::Token(file.into())),
            ("token", None) => {
                reader.mistake("auth.tokens_file", "is needed when auth.mode is \"token\"");
                None
            }
            _ => {
                reader.mistake("auth.mode", "must be \"token\" or \"disabled\"");
                None
            }
        }
    }
}

impl Http {
    /// Reads `http.*`.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let listen = listen(reader, "http.listen");
        let mut count = |key, most| reader.number(key, 1..=most).and_then(|n| usize::try_from(n).ok());
        let max_connections = count("http.max_connections", 1_000_000);
        let max_in_flight = count("http.max_in_flight", 100_000);
        let max_waiting = count("http.max_waiting", 1_000_000);
        let max_imports = count("http.max_imports", 1_000);
        let max_exports = count("http.max_exports", 1_000);
        let max_listeners = count("http.max_listeners", 1_000_000);
        let import_mib = count("http.import_limit_mib", 65_536);
        let per_second = reader.number("http.requests_per_second", 0..=1_000_000);
        let burst = reader.number("http.burst", 1..=1_000_000);
        let request = reader.duration("http.request_timeout_s");
        let import = reader.duration("http.import_timeout_s");
        let body_stall = reader.duration("http.body_stall_timeout_s");
        let write_stall = reader.duration("http.write_stall_timeout_s");
        Some(Self {
            listen: listen?,
            limits: Limits {
                max_connections: max_connections?,
                max_in_flight: max_in_flight?,
                max_waiting: max_waiting?,
                max_imports: max_imports?,
                max_exports: max_exports?,
                max_listeners: max_listeners?,
                rate: Rate::of(per_second?, burst?),
                import_bytes: import_mib?.saturating_mul(1024 * 1024),
                request: request?,
                import: import?,
                body_stall: body_stall?,
                write_stall: write_stall?,
            },
        })
    }
}

impl Rate {
    /// None for zero.
    fn of(per_second: u64, burst: u64) -> Option<Self> {
        let some = |n| u32::try_from(n).ok().and_then(NonZeroU32::new);
        Some(Self {
            per_second: some(per_second)?,
            burst: some(burst)?,
        })
    }
}
