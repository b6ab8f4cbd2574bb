//! The sections that both services have.

use std::{net::SocketAddr, path::PathBuf, str::FromStr as _, time::Duration};

use jetstream::{
    BoxError,
    connection::{self, Connection},
};
use secrecy::SecretString;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
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
    pub fn read(reader: &mut Reader) -> Self {
        let url = reader.required_text("database.url");
        let database = Self {
            password_file: reader.text("database.password_file").map(PathBuf::from),
            max_connections: reader.number("database.max_connections", 1..=1000),
            acquire_timeout: reader.duration("database.acquire_timeout_ms"),
            url: SecretString::from(url.as_str()),
        };
        let is_postgres = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        if !url.is_empty() && (!is_postgres || PgConnectOptions::from_str(&url).is_err()) {
            // The parser's own words may quote the password.
            let problem = "must be a URL like postgres://user@host:5432/name";
            reader.mistake("database.url", problem);
        }
        database
    }
}

impl Nats {
    /// Reads `nats.{url,nkey_seed_file,ca_file,replicas,more_readers}`.
    pub fn read(reader: &mut Reader) -> Self {
        let nats = Self {
            url: reader.required_text("nats.url"),
            nkey_seed_file: reader.required_text("nats.nkey_seed_file").into(),
            ca_file: reader.text("nats.ca_file").map(PathBuf::from),
            replicas: reader.number("nats.replicas", 1..=5),
            more_readers: reader.get("nats.more_readers"),
        };
        if !nats.more_readers.iter().all(|name| is_consumer_name(name)) {
            let problem =
                "must be a list of names made of letters, digits, `-` and `_`, like [\"accounting\"]";
            reader.mistake("nats.more_readers", problem);
        }
        if !nats.url.is_empty()
            && let Err(error) = connection::parse_urls(&nats.url)
        {
            reader.mistake("nats.url", error.to_string());
        }
        nats
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
    pub fn read(reader: &mut Reader) -> Self {
        let common = Self {
            admin_listen: listen(reader, "admin.listen"),
            keep_resolved_days: reader.number("dead_letters.keep_resolved_days", 0..=36_500),
            log_format: reader.get("log.format"),
            log_filter: reader.required_text("log.filter"),
            shutdown_grace: reader.duration("shutdown.grace_s"),
        };
        if let Err(error) = EnvFilter::try_new(&common.log_filter) {
            reader.mistake("log.filter", format!("{error}; write for example info,sqlx=warn"));
        }
        common
    }
}

/// An address to listen on; `host:port` with an IP address as host.
pub fn listen(reader: &mut Reader, key: &str) -> SocketAddr {
    let text = reader.required_text(key);
    text.parse().unwrap_or_else(|_| {
        if !text.is_empty() {
            let problem = format!("must be address:port, like 127.0.0.1:9081, not {text:?}");
            reader.mistake(key, problem);
        }
        SocketAddr::from(([0, 0, 0, 0], 0))
    })
}
