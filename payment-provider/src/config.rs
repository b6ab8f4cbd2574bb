//! What a deployment can set, read once at start. Every key stands, commented, in `config.default.toml`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use payment_contract::Currency;
use reqwest::Url;
use service::config::{Common, Database, Mistakes, Nats, Reader};

use crate::gateway::credentials::Credentials;

#[derive(Clone, Debug)]
pub struct Config {
    pub common: Common,
    pub database: Database,
    pub migrate_on_start: bool,
    pub nats: Nats,
    /// How requests are taken.
    pub requests: Requests,
    pub gateway: Gateway,
    pub ledger: Ledger,
    /// All values with their sources, secrets hidden.
    pub effective: String,
}

/// `requests.*`
#[derive(Clone, Copy, Debug)]
pub struct Requests {
    /// In hand at once.
    pub slots: usize,
    /// Written together.
    pub max_batch: usize,
}

/// `gateway.*`
#[derive(Clone, Debug)]
pub struct Gateway {
    pub kind: Kind,
    pub timeout: Duration,
    pub max_concurrent: usize,
    /// How long the bank surely remembers a key.
    pub key_retention: Duration,
    /// The currencies it takes; empty: all.
    pub currencies: Vec<Currency>,
}

/// `gateway.kind`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bank that is not there.
    Simulated,
    /// The bank at this address, which knows us by these.
    Http(Url, Credentials),
}

/// `ledger.*`
#[derive(Clone, Copy, Debug)]
pub struct Ledger {
    pub lease: Duration,
    /// By how much a lease must outlast a call.
    pub lease_margin: Duration,
    /// New payments are held until an operator releases them.
    pub hold_new_payments: bool,
}

impl Config {
    /// Reads the defaults, then `file`, then the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, Mistakes> {
        Self::read(Reader::new(
            include_str!("../config.default.toml"),
            file,
            "PAYMENT_PROVIDER__",
        ))
    }

    fn read(mut reader: Reader) -> Result<Self, Mistakes> {
        let gateway = Gateway::read(&mut reader);
        let config = Self {
            common: Common::read(&mut reader),
            database: Database::read(&mut reader),
            migrate_on_start: reader.get("database.migrate_on_start"),
            nats: Nats::read(&mut reader),
            requests: Requests::read(&mut reader),
            ledger: Ledger::read(&mut reader, gateway.timeout),
            gateway,
            effective: reader.effective(),
        };
        reader.finish(config)
    }
}

impl Requests {
    fn read(reader: &mut Reader) -> Self {
        Self {
            slots: reader.number("requests.slots", 1..=100_000),
            max_batch: reader.number("requests.max_batch", 1..=10_000),
        }
    }
}

impl Gateway {
    fn read(reader: &mut Reader) -> Self {
        Self {
            kind: Kind::read(reader),
            timeout: reader.duration("gateway.timeout_ms"),
            max_concurrent: reader.number("gateway.max_concurrent", 1..=100_000),
            key_retention: reader.duration("gateway.key_retention_s"),
            currencies: currencies(reader),
        }
    }
}

impl Kind {
    fn read(reader: &mut Reader) -> Self {
        const KEY: &str = "gateway.url";
        let credentials = credentials(reader);
        let url = reader.text(KEY);
        match (reader.required_text("gateway.kind").as_str(), url) {
            ("simulated" | "", _) => {}
            ("http", Some(url)) => match Url::parse(&url) {
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    let problem = "must have neither user nor password: it is shown; use gateway.token_file";
                    reader.mistake(KEY, problem);
                }
                Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => {
                    return Self::Http(url, credentials);
                }
                _ => {
                    let problem =
                        "must be a URL like https://bank.example/api; http only where the host is loopback";
                    reader.mistake(KEY, problem);
                }
            },
            ("http", None) => reader.mistake(KEY, "is needed when gateway.kind is \"http\""),
            _ => reader.mistake("gateway.kind", "must be \"simulated\" or \"http\""),
        }
        Self::Simulated
    }
}

impl Ledger {
    fn read(reader: &mut Reader, timeout: Duration) -> Self {
        let lease = reader.duration("ledger.lease_ms");
        let lease_margin = reader.duration("ledger.lease_margin_ms");
        // None of them is zero where it is no mistake.
        let known = [lease, lease_margin, timeout].iter().all(|time| !time.is_zero());
        if known && lease <= timeout + lease_margin {
            let problem = "must be more than gateway.timeout_ms and ledger.lease_margin_ms together";
            reader.mistake("ledger.lease_ms", problem);
        }
        Self {
            lease,
            lease_margin,
            hold_new_payments: reader.get("ledger.hold_new_payments"),
        }
    }
}

fn credentials(reader: &mut Reader) -> Credentials {
    let [token_file, certificate, key, ca_file] = [
        "gateway.token_file",
        "gateway.client_cert_file",
        "gateway.client_key_file",
        "gateway.ca_file",
    ]
    .map(|key| reader.text(key).map(PathBuf::from));
    if certificate.is_some() != key.is_some() {
        let problem = "goes with gateway.client_key_file: both or neither";
        reader.mistake("gateway.client_cert_file", problem);
    }
    Credentials {
        token_file,
        client_cert: certificate.zip(key),
        ca_file,
    }
}

/// Whether nothing between here and there can listen.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn currencies(reader: &mut Reader) -> Vec<Currency> {
    const KEY: &str = "gateway.currencies";
    let codes: Vec<String> = reader.get(KEY);
    let parsed: Result<_, _> = codes.iter().map(|code| Currency::try_new(code)).collect();
    parsed.unwrap_or_else(|_| {
        reader.mistake(KEY, "must be a list of ISO 4217 codes, like [\"EUR\", \"DKK\"]");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    //! Which settings are refused, and under which key.

    use std::ffi::OsString;

    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let required = [
            ("PAYMENT_PROVIDER__DATABASE__URL", "postgres://u@h/payments"),
            ("PAYMENT_PROVIDER__NATS__URL", "tls://h:4222"),
            ("PAYMENT_PROVIDER__NATS__NKEY_SEED_FILE", "/seed"),
        ];
        let environment = required
            .iter()
            .chain(environment)
            .map(|(k, v)| (OsString::from(k), OsString::from(v)));
        let defaults = include_str!("../config.default.toml");
        let reader = Reader::with_environment(defaults, None, "PAYMENT_PROVIDER__", environment);
        Config::read(reader)
            .map_err(|Mistakes(mistakes)| mistakes.into_iter().map(|mistake| mistake.key).collect())
    }

    #[test]
    fn defaults_need_three_keys_and_no_more() {
        let config = load(&[]).unwrap();
        assert_eq!(config.gateway.kind, Kind::Simulated);
        assert_eq!(config.gateway.key_retention, Duration::from_hours(23));
        assert!(config.gateway.currencies.is_empty());
    }

    #[test]
    fn http_bank_needs_a_url() {
        let http = ("PAYMENT_PROVIDER__GATEWAY__KIND", "http");
        assert_eq!(load(&[http]).unwrap_err(), ["gateway.url"]);
        assert_eq!(
            load(&[http, ("PAYMENT_PROVIDER__GATEWAY__URL", "ftp://x")]).unwrap_err(),
            ["gateway.url"]
        );
        let config = load(&[http, ("PAYMENT_PROVIDER__GATEWAY__URL", "http://127.0.0.1:1/api")]).unwrap();
        assert!(matches!(config.gateway.kind, Kind::Http(..)));
        for (url, is_good) in [
            ("http://bank.example/api", false),
            ("http://127.0.0.1.example/api", false),
            ("https://bank.example/api", true),
            ("http://localhost:1/", true),
            ("http://[::1]:1/", true),
        ] {
            let loaded = load(&[http, ("PAYMENT_PROVIDER__GATEWAY__URL", url)]);
            assert_eq!(loaded.is_ok(), is_good, "{url}");
        }
    }

    #[test]
    fn client_certificate_needs_its_key() {
        let settings = [
            ("PAYMENT_PROVIDER__GATEWAY__KIND", "http"),
            ("PAYMENT_PROVIDER__GATEWAY__URL", "https://bank.example"),
            ("PAYMENT_PROVIDER__GATEWAY__CLIENT_CERT_FILE", "/cert.pem"),
        ];
        assert_eq!(load(&settings).unwrap_err(), ["gateway.client_cert_file"]);
    }

    #[test]
    fn lease_that_does_not_outlast_a_call_is_refused() {
        assert_eq!(
            load(&[("PAYMENT_PROVIDER__GATEWAY__TIMEOUT_MS", "14000")]).unwrap_err(),
            ["ledger.lease_ms"]
        );
        assert!(load(&[("PAYMENT_PROVIDER__GATEWAY__TIMEOUT_MS", "13999")]).is_ok());
    }

    #[test]
    fn mistakes_are_told_all_at_once() {
        let mistakes = load(&[
            ("PAYMENT_PROVIDER__GATEWAY__KIND", "swift"),
            ("PAYMENT_PROVIDER__GATEWAY__CURRENCIES", "[\"EURO\"]"),
            ("PAYMENT_PROVIDER__REQUESTS__SLOTS", "0"),
        ])
        .unwrap_err();
        for key in ["gateway.kind", "gateway.currencies", "requests.slots"] {
            assert!(
                mistakes.iter().any(|mistake| mistake == key),
                "{key} in {mistakes:?}"
            );
        }
    }
}
