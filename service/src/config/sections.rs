//! The sections that both services have.

use std::{net::SocketAddr, path::PathBuf, str::FromStr as _, time::Duration};

use jetstream::{
    BoxError,
    connection::{self, Connection},
};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::EnvFilter;

use super::Reader;

/// `database.*`
#[derive(Clone, Debug)]
pub struct Database {
    /// libpq URL; may lack the password. Redacted in logs.
    pub url: SecretString,
    /// File holding the password; read again every few seconds, so that it can be rotated.
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
    /// Services that read that stream, too: a consumer is made for each, by its name.
    pub more_readers: Vec<String>,
}

/// `admin.*`, `dead_letters.*`, `log.*` and `shutdown.*`
#[derive(Clone, Debug)]
pub struct Common {
    /// `admin.listen`: health and metrics.
    pub admin_listen: SocketAddr,
    /// `dead_letters.keep_resolved_days`: for so long one that was ended is kept; 0 keeps them all.
    pub keep_resolved_days: u16,
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

/// Why the NATS connection could not be set up. A server that is away is not among it.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The seed file cannot be read.
    #[error("could not read nats.nkey_seed_file {path}")]
    SeedFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The settings are unusable.
    #[error("the settings under nats.* are unusable")]
    Settings(#[from] connection::Error),
}

impl Database {
    /// Reads `database.{url,password_file,max_connections,acquire_timeout_ms}`.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.required_text("database.url").map(SecretString::from);
        let password_file = reader.text("database.password_file").map(PathBuf::from);
        let max_connections = reader.number("database.max_connections", 1..=1000);
        let acquire_timeout = reader.duration("database.acquire_timeout_ms");
        let url = url?;
        let text = url.expose_secret();
        let is_postgres = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        if !is_postgres || PgConnectOptions::from_str(text).is_err() {
            // The parser's own words may quote the password.
            reader.mistake(
                "database.url",
                "must be a URL like postgres://user@host:5432/name",
            );
            return None;
        }
        Some(Self {
            url,
            password_file,
            max_connections: u32::try_from(max_connections?).ok()?,
            acquire_timeout: acquire_timeout?,
        })
    }
}

impl Nats {
    /// Reads `nats.{url,nkey_seed_file,ca_file,replicas,more_readers}`.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let url = reader.required_text("nats.url");
        let nkey_seed_file = reader.required_text("nats.nkey_seed_file").map(PathBuf::from);
        let ca_file = reader.text("nats.ca_file").map(PathBuf::from);
        let replicas = reader.number("nats.replicas", 1..=5);
        let more_readers: Option<Vec<String>> = reader.get("nats.more_readers");
        if !more_readers.iter().flatten().all(|name| is_consumer_name(name)) {
            reader.mistake(
                "nats.more_readers",
                "must be a list of names made of letters, digits, `-` and `_`, like [\"accounting\"]",
            );
        }
        if let Some(Err(error)) = url.as_deref().map(connection::parse_urls) {
            reader.mistake("nats.url", error.to_string());
        }
        Some(Self {
            url: url?,
            nkey_seed_file: nkey_seed_file?,
            ca_file,
            replicas: usize::try_from(replicas?).ok()?,
            more_readers: more_readers?,
        })
    }

    /// Opens the connection these settings describe; the seed file is read now, and before each further connection.
    pub async fn connect(&self, name: &'static str) -> Result<Connection, BoxError> {
        let nkey_seed = tokio::fs::read_to_string(&self.nkey_seed_file)
            .await
            .map_err(|source| NatsError::SeedFile {
                path: self.nkey_seed_file.clone(),
                source,
            })?;
        let settings = connection::Settings {
            name,
            url: self.url.clone(),
            nkey_seed,
            nkey_seed_file: Some(self.nkey_seed_file.clone()),
            ca_file: self.ca_file.clone(),
        };
        Ok(Connection::init(settings).await.map_err(NatsError::Settings)?)
    }
}

/// A dot would be another level of the subject that it becomes part of.
fn is_consumer_name(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(usual)
}

impl Common {
    /// Reads `admin.listen`, `dead_letters.keep_resolved_days`, `log.format`, `log.filter`, `shutdown.grace_s`.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let admin_listen = listen(reader, "admin.listen");
        let keep_resolved_days = reader.number("dead_letters.keep_resolved_days", 0..=36_500);
        let log_format = reader.get("log.format");
        let log_filter = reader.required_text("log.filter");
        let shutdown_grace = reader.duration("shutdown.grace_s");
        if let Some(Err(error)) = log_filter.as_ref().map(EnvFilter::try_new) {
            reader.mistake("log.filter", format!("{error}; write for example info,sqlx=warn"));
        }
        Some(Self {
            admin_listen: admin_listen?,
            keep_resolved_days: u16::try_from(keep_resolved_days?).ok()?,
            log_format: log_format?,
            log_filter: log_filter?,
            shutdown_grace: shutdown_grace?,
        })
    }
}

/// An address to listen on; `host:port` with an IP address as host.
pub fn listen(reader: &mut Reader, key: &str) -> Option<SocketAddr> {
    let text = reader.required_text(key)?;
    let address = text.parse().ok();
    if address.is_none() {
        reader.mistake(
            key,
            format!("must be address:port, like 127.0.0.1:9081, not {text:?}"),
        );
    }
    address
}
