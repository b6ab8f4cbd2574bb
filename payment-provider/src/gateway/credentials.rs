//! What the bank knows this service by, and what it knows the bank by.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use reqwest::{Certificate, ClientBuilder, Identity};
use secrecy::SecretString;
use service::{lock, telemetry::chain};
use tracing::warn;

/// How often the token's file is looked at.
const RE_READ: Duration = Duration::from_secs(1);

/// Where they are kept; each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// A bearer token.
    pub token_file: Option<PathBuf>,
    /// A client certificate and its key, in PEM.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// The CA of the bank's certificate, in PEM; without it the system's.
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} has no {what} in PEM that can be used")]
    Unusable {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: reqwest::Error,
    },
}

impl Credentials {
    /// Has a client show its certificate, and believe only the bank's CA where one is given.
    pub(super) fn apply(&self, mut client: ClientBuilder) -> Result<ClientBuilder, Error> {
        if let Some(path) = &self.ca_file {
            let ca = Certificate::from_pem_bundle(&read(path)?).map_err(|source| Error::Unusable {
                path: path.clone(),
                what: "certificate",
                source,
            })?;
            client = client.tls_certs_only(ca);
        }
        if let Some((certificate, key)) = &self.client_cert {
            let mut pem = read(certificate)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            let identity = Identity::from_pem(&pem).map_err(|source| Error::Unusable {
                path: certificate.clone(),
                what: "certificate, and its key beside it,",
                source,
            })?;
            client = client.identity(identity);
        }
        Ok(client)
    }
}

/// A bearer token in a file that may be replaced at any time.
pub(super) struct Token {
    path: PathBuf,
    current: Mutex<(SecretString, Instant)>,
}

impl Token {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            current: Mutex::new((token(path)?, Instant::now())),
        })
    }

    /// As it was in the file within the last second; the last one that could be read.
    pub(super) fn current(&self) -> SecretString {
        let mut current = lock(&self.current);
        if current.1.elapsed() >= RE_READ {
            current.1 = Instant::now();
            match token(&self.path) {
                Ok(token) => current.0 = token,
                Err(error) => warn!(error = chain(&error), "the bank's token stays as it was"),
            }
        }
        current.0.clone()
    }
}

fn token(path: &Path) -> Result<SecretString, Error> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let token = text.trim();
    if token.is_empty() {
        return Err(Error::Unreadable {
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidData, "it is empty"),
        });
    }
    Ok(SecretString::from(token))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Unreadable {
        path: path.to_owned(),
        source,
    })
}
