//! One connection to NATS: NKEY login, the server's certificate checked, an inbox of one's own, reconnecting for ever.

use std::path::PathBuf;

use tokio::sync::watch;

/// How to reach NATS and as whom.
#[derive(Clone)]
pub struct Settings {
    /// The user's name, shown in the server's connection list; also decides the inbox prefix (`_INBOX_<name, - as _>`).
    pub name: &'static str,
    /// `tls://host:4222`, several separated by commas.
    pub url: String,
    /// The NKEY seed (`SU…`).
    pub nkey_seed: String,
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
    link: watch::Receiver<Link>,
}

/// What can go wrong when the connection is set up. Being unable to reach the server is not an error: it is retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are unusable (seed, CA file, address).
    #[error("could not set up the NATS connection")]
    Connect(#[from] async_nats::ConnectError),
}

impl Connection {
    /// Returns at once, connected or not; reconnects for ever with jitter. Must run inside a tokio runtime.
    pub async fn init(_settings: Settings) -> Result<Self, Error> {
        todo!()
    }
    /// The client, for what this module does not cover.
    #[must_use]
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }
    /// `JetStream` of the own account: streams and durables this service owns, and publishing.
    #[must_use]
    pub fn own_jetstream(&self) -> async_nats::jetstream::Context {
        todo!()
    }
    /// `JetStream` of the other side's account through the imported prefix `PEER.API`: info and pulls of one durable.
    #[must_use]
    pub fn peer_jetstream(&self) -> async_nats::jetstream::Context {
        todo!()
    }
    /// The link's state now, and a way to wait for changes.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }
    /// True while connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.borrow().connected
    }
    /// Flushes what was published and closes, within `limit`.
    pub async fn close(self, _limit: std::time::Duration) {
        todo!()
    }
}
