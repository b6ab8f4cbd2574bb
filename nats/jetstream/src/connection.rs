//! One connection to NATS: NKEY login, the server's certificate checked, an inbox of one's own, reconnecting for ever.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use async_nats::{Auth, AuthError, ConnectOptions, Event, ServerAddr, jetstream};
use tokio::sync::watch;

use crate::trouble::backoff;

mod watcher;

/// A link is checked this often; it ends when the third check in a row comes and none was answered.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// A link that leads nowhere is noticed by then. A second more, for a process that was busy.
pub const DEAD_LINK_NOTICED_WITHIN: Duration = Duration::from_secs(3 * PING_INTERVAL.as_secs() + 1);
/// TCP, TLS and login together. A server that accepts and then says nothing must not hold up trying the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The first wait before another try; doubled each time.
const RECONNECT_DELAY: Duration = Duration::from_millis(50);
/// Reconnecting waits at most this long: every second without NATS is a second in which no payment moves.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Longest wait for an answer of the `JetStream` API. Longer than a leader needs to answer, shorter than an election.
const API_TIMEOUT: Duration = Duration::from_secs(3);
/// Commands the client queues before `publish` waits. A pipelined batch fits, a runaway sender does not.
const QUEUED_COMMANDS: usize = 8192;
/// Where the server's configuration imports the other account's `JetStream` API.
pub(crate) const PEER_API: &str = "PEER.API";

/// How to reach NATS and as whom.
#[derive(Clone)]
pub struct Settings {
    /// The user's name, shown in the server's connection list; also decides the inbox prefix (`_INBOX_<name, - as _>`).
    pub name: &'static str,
    /// `tls://host:4222`, several separated by commas.
    pub url: String,
    /// The NKEY seed (`SU…`).
    pub nkey_seed: String,
    /// Where to read it again before each connection is made, so that it can be replaced.
    pub nkey_seed_file: Option<PathBuf>,
    /// The CA that signed the server's certificate; the system's roots when absent.
    pub ca_file: Option<PathBuf>,
}

/// Whether the link is up, and how many times it came up: work that a reconnect invalidates compares `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Link {
    /// True between `Connected` and `Disconnected`.
    pub connected: bool,
    /// Counts connections made.
    pub epoch: u64,
}

/// A connection to NATS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection {
    client: async_nats::Client,
    own: jetstream::Context,
    peer: jetstream::Context,
    link: watch::Receiver<Link>,
    settings: Arc<Settings>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The seed is nobody's business.
        f.debug_struct("Settings")
            .field("name", &self.name)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What can go wrong when the connection is set up. Being unable to reach the server is not an error: it is retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are unusable (seed, CA file, address).
    #[error("could not set up the NATS connection")]
    Connect(#[from] async_nats::ConnectError),
    /// Not `tls://host:port`, or several of it.
    #[error("unusable NATS address: {0}")]
    Url(String),
    /// Not the seed of a user's NKEY.
    #[error("the NKEY seed is not one of a user (SU…)")]
    Seed,
    /// The CA file cannot be read.
    #[error("could not read the NATS server's CA from {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Parses `tls://host:4222`, several separated by commas; for checking configuration early.
///
/// `nats://` means the same: there is no plain-text mode, since a scheme is easily mistyped and a seed's signature alone
/// does not keep anyone from reading or changing what is sent.
pub fn parse_urls(urls: &str) -> Result<Vec<ServerAddr>, Error> {
    urls.split(',').map(str::trim).map(parse_url).collect()
}

fn parse_url(url: &str) -> Result<ServerAddr, Error> {
    if url.contains('@') {
        // Not shown: it may hold a password.
        return Err(Error::Url(
            "users log in with an NKEY, the address holds no user".into(),
        ));
    }
    let address: ServerAddr = url
        .parse()
        .map_err(|error| Error::Url(format!("{url:?}: {error}")))?;
    match address.scheme() {
        _ if address.host().is_empty() => Err(Error::Url(format!("{url:?} names no host"))),
        "tls" | "nats" => Ok(address),
        scheme => Err(Error::Url(format!(
            "{scheme}:// is not supported, write tls://host:4222"
        ))),
    }
}

impl Connection {
    /// Returns at once, connected or not; reconnects for ever with jitter. Must run inside a tokio runtime.
    pub async fn init(settings: Settings) -> Result<Self, Error> {
        let addresses = parse_urls(&settings.url)?;
        let settings = Arc::new(settings);
        user(&settings.nkey_seed)?;
        let (events, received) = tokio::sync::mpsc::unbounded_channel();
        let mut options = options(&settings, events);
        if let Some(path) = settings.ca_file.clone() {
            // The client reads it again at each connect; reading it now tells a wrong path from a server that is away.
            if let Err(source) = tokio::fs::read(&path).await {
                return Err(Error::CaFile { path, source });
            }
            options = options.add_root_certificates(path);
        }
        let client = options.connect(addresses).await?;
        let (sender, link) = watch::channel(Link::default());
        tokio::spawn(watcher::run(
            client.clone(),
            settings.url.clone(),
            received,
            sender,
        ));
        let context = || jetstream::ContextBuilder::new().timeout(API_TIMEOUT);
        let own = context().build(client.clone());
        let peer = context()
            .api_prefix(PEER_API)
            .timeout(API_TIMEOUT)
            .build(client.clone());
        Ok(Self {
            client,
            own,
            peer,
            link,
            settings,
        })
    }

    /// What it was made with, for a connection of another kind to the same place.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The client, for what this module does not cover.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// `JetStream` of the own account: streams and durables this service owns, and publishing.
    pub fn own_jetstream(&self) -> jetstream::Context {
        self.own.clone()
    }

    /// `JetStream` of the other side's account through the imported prefix `PEER.API`: info and pulls of one durable.
    pub fn peer_jetstream(&self) -> jetstream::Context {
        self.peer.clone()
    }

    /// The link's state now, and a way to wait for changes.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// True while connected.
    pub fn is_connected(&self) -> bool {
        self.link.borrow().connected
    }

    /// Flushes what was published and closes, within `limit`.
    pub async fn close(mut self, limit: Duration) {
        if !self.is_connected() {
            return;
        }
        let closing = async {
            // `drain` only starts draining, and the end of the link tells that it is done.
            if self.client.flush().await.is_ok() && self.client.drain().await.is_ok() {
                let _ = self.link.wait_for(|link| !link.connected).await;
            }
        };
        if tokio::time::timeout(limit, closing).await.is_err() {
            tracing::warn!(
                "NATS connection not closed in time; unsent messages are sent again by whoever needs them"
            );
        }
    }
}

impl Settings {
    /// Who logs in by now: the seed as it is in its file, or as it was read last where that cannot be used.
    pub(crate) fn user(&self) -> Result<nkeys::KeyPair, Error> {
        let read = self.nkey_seed_file.as_ref().and_then(|path| {
            // A few bytes, once for each connection.
            user(&std::fs::read_to_string(path).ok()?).ok()
        });
        read.map_or_else(|| user(&self.nkey_seed), Ok)
    }
}

fn user(seed: &str) -> Result<nkeys::KeyPair, Error> {
    let user = nkeys::KeyPair::from_seed(seed.trim()).map_err(|_| Error::Seed)?;
    if user.key_pair_type() == nkeys::KeyPairType::User {
        Ok(user)
    } else {
        Err(Error::Seed)
    }
}

/// Answers the server's challenge.
fn login(settings: &Settings, nonce: &[u8]) -> Result<Auth, AuthError> {
    let user = settings.user().map_err(AuthError::new)?;
    let mut auth = Auth::new();
    auth.signature = Some(user.sign(nonce).map_err(AuthError::new)?);
    auth.nkey = Some(user.public_key());
    Ok(auth)
}

fn options(settings: &Arc<Settings>, events: tokio::sync::mpsc::UnboundedSender<Event>) -> ConnectOptions {
    let name = settings.name;
    let settings = Arc::clone(settings);
    ConnectOptions::with_auth_callback(move |nonce| std::future::ready(login(&settings, &nonce)))
        .name(name)
        .custom_inbox_prefix(inbox_prefix(name))
        .require_tls(true)
        // The address given is the one the certificate is for; servers announce bare IP addresses.
        .ignore_discovered_servers()
        // A service may start before NATS, and outlives any outage of it: no limit on reconnects.
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(API_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .client_capacity(QUEUED_COMMANDS)
        // What one replica tells the others it knows already.
        .no_echo()
        .event_callback(move |event| {
            let events = events.clone();
            async move {
                // Without a watcher nobody holds this connection any more.
                let _ = events.send(event);
            }
        })
}

/// The only subjects the server lets this user subscribe to.
pub(crate) fn inbox_prefix(name: &str) -> String {
    format!("_INBOX_{}", name.replace('-', "_"))
}

/// The first try is made at once.
fn reconnect_delay(attempts: usize) -> Duration {
    attempts.checked_sub(2).map_or(Duration::ZERO, |doublings| {
        let doublings = u32::try_from(doublings).unwrap_or(u32::MAX);
        backoff(RECONNECT_DELAY, doublings, MAX_RECONNECT_DELAY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inbox_prefix_is_the_one_the_server_allows() {
        assert_eq!(inbox_prefix("invoice-app"), "_INBOX_invoice_app");
        assert_eq!(inbox_prefix("payment-provider"), "_INBOX_payment_provider");
    }

    #[test]
    fn reconnecting_is_immediate_first_and_never_waits_longer_than_two_seconds() {
        assert_eq!(reconnect_delay(0), Duration::ZERO);
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        assert!(reconnect_delay(2) <= Duration::from_millis(50));
        for attempts in [3, 10, 1000, usize::MAX] {
            let delay = reconnect_delay(attempts);
            assert!(
                delay > Duration::ZERO && delay <= MAX_RECONNECT_DELAY,
                "{attempts}: {delay:?}"
            );
        }
    }

    #[test]
    fn addresses_are_checked_before_connecting() {
        assert_eq!(parse_urls("tls://a:4222, tls://b").unwrap().len(), 2);
        assert!(parse_urls("nats://localhost:4222").is_ok());
        for url in [
            "",
            "tls://",
            "http://a:4222",
            "ws://a:4222",
            "tls://a:x",
            "tls://a,",
            "tls://user:secret@a",
        ] {
            assert!(parse_urls(url).is_err(), "{url}");
        }
        let error = parse_urls("tls://user:secret@a").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
