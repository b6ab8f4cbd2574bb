//! Configuration: compiled-in defaults, then a file, then the environment. Every mistake is reported at once, with its key.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;
use serde::de::DeserializeOwned;

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, dotted: `database.url`.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

/// Everything wrong with the configuration; the process ends with exit code 64.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl std::fmt::Display for Mistakes {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// Reads keys one by one and collects what is wrong. Keys that nobody took are unknown keys: mistakes too.
///
/// Every key stands in `config.default.toml`, commented; a required one without a default is written there as `""`.
pub struct Reader {}

impl Reader {
    /// Layers `defaults` (TOML text compiled in), then `file`, then variables `<prefix>A__B` (`prefix` = `INVOICE_APP__`).
    #[must_use]
    pub fn new(_defaults: &str, _file: Option<&Path>, _prefix: &str) -> Self {
        todo!()
    }
    /// A value of any deserializable type. On a mistake: notes it and returns `None`.
    pub fn get<T: DeserializeOwned>(&mut self, _key: &str) -> Option<T> {
        todo!()
    }
    /// Text, even where the environment's value looks like a number. Empty is `None` without a mistake.
    pub fn text(&mut self, _key: &str) -> Option<String> {
        todo!()
    }
    /// Text that must not be empty.
    pub fn required_text(&mut self, _key: &str) -> Option<String> {
        todo!()
    }
    /// A duration written in the key's unit: the key ends in `_ms` or `_s`. Must be above zero.
    pub fn duration(&mut self, _key: &str) -> Option<Duration> {
        todo!()
    }
    /// A whole number within the given range.
    pub fn number(&mut self, _key: &str, _range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        todo!()
    }
    /// Notes a mistake found by the caller (values that do not fit together).
    pub fn mistake(&mut self, _key: &str, _problem: impl Into<String>) {
        todo!()
    }
    /// Ends reading: unknown keys are noted; any mistake at all is an error.
    pub fn finish(self) -> Result<(), Mistakes> {
        todo!()
    }
}

/// `database.*`
#[derive(Clone, Debug)]
pub struct Database {
    /// libpq URL; may lack the password. Redacted in logs.
    pub url: SecretString,
    /// File holding the password, read at every connect so that it can be rotated.
    pub password_file: Option<PathBuf>,
    /// Connections in the pool, at most.
    pub max_connections: u32,
    /// How long a request waits for a connection before it is answered 503.
    pub acquire_timeout: Duration,
}

/// `nats.*`
#[derive(Clone, Debug)]
pub struct Nats {
    /// `tls://host:4222`.
    pub url: String,
    /// File with this service's NKEY seed.
    pub nkey_seed_file: PathBuf,
    /// CA of the server's certificate.
    pub ca_file: Option<PathBuf>,
    /// Replicas of the stream this service owns.
    pub replicas: usize,
}

/// `admin.*`, `log.*` and `shutdown.*`
#[derive(Clone, Debug)]
pub struct Common {
    /// `admin.listen`: health and metrics.
    pub admin_listen: std::net::SocketAddr,
    /// `log.format`: `text` or `json`.
    pub log_format: LogFormat,
    /// `log.filter`: as tracing's `EnvFilter`.
    pub log_filter: String,
    /// `shutdown.grace_s`: everything in hand is finished within this.
    pub shutdown_grace: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Database {
    /// Reads `database.{url,password_file,max_connections,acquire_timeout_ms}`.
    pub fn read(_reader: &mut Reader) -> Option<Self> {
        todo!()
    }
}

impl Nats {
    /// Reads `nats.{url,nkey_seed_file,ca_file,replicas}`.
    pub fn read(_reader: &mut Reader) -> Option<Self> {
        todo!()
    }
    /// Opens the connection these settings describe; the seed file is read now.
    pub async fn connect(
        &self,
        _name: &'static str,
    ) -> Result<payment_contract::connection::Connection, Box<dyn std::error::Error + Send + Sync>> {
        todo!()
    }
}

impl Common {
    /// Reads `admin.listen`, `log.format`, `log.filter`, `shutdown.grace_s`.
    pub fn read(_reader: &mut Reader) -> Option<Self> {
        todo!()
    }
}
