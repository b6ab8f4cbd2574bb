//! A nats-server of our own, with the one configuration and fresh keys.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Error, Keys, Program, Result, Spec, User, http::wait_for_ok, tools};

/// How to run a nats-server.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Holds the store and the pid file.
    pub directory: PathBuf,
    /// Its output.
    pub log: PathBuf,
    /// Where clients connect, on the loopback address.
    pub port: u16,
    /// Where it tells about itself, on the loopback address.
    pub monitor_port: u16,
    /// Who may connect.
    pub keys: Keys,
}

/// A running nats-server.
#[derive(Debug)]
pub struct NatsServer {
    program: Program,
    options: NatsOptions,
}

impl NatsServer {
    /// Starts it and waits until it is ready.
    pub async fn start(options: NatsOptions) -> Result<Self> {
        let store = options.directory.join("store");
        std::fs::create_dir_all(&store).map_err(Error::file("make the directory", store))?;
        let mut spec = Spec::new("nats-server", tools::tool("nats-server")?, options.log.clone());
        let configuration = tools::workspace_root().join("nats/nats-server.conf");
        spec.args = vec![OsString::from("--config"), configuration.into_os_string()];
        spec.env = environment(&options)?;
        spec.working_directory.clone_from(&options.directory);
        let server = Self {
            program: Program::new(spec),
            options,
        };
        server.start_again().await?;
        Ok(server)
    }

    /// Starts it again after a stop or crash, and waits until it is ready.
    pub async fn start_again(&self) -> Result<()> {
        let process = self.program.start().await?;
        let health = format!("http://127.0.0.1:{}/healthz", self.options.monitor_port);
        process
            .ready_within(Duration::from_secs(30), wait_for_ok(&health))
            .await
    }

    /// `tls://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.options.port)
    }

    /// Where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// `http://127.0.0.1:<port>`
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.monitor_port)
    }

    /// Seeds, CA and certificate.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.options.keys
    }

    /// The running process.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Everything JetStream remembers.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.options.directory.join("store")
    }

    /// Stops it in good order.
    pub async fn stop(&self) {
        self.program.stop(Duration::from_secs(10)).await;
    }

    /// Kills it with -9.
    pub async fn kill9(&self) {
        self.program.kill9().await;
    }

    /// Forgets every stream and consumer. Only while it is stopped.
    pub fn wipe_store(&self) -> Result<()> {
        let store = self.store_dir();
        std::fs::remove_dir_all(&store).map_err(Error::file("remove", &store))?;
        std::fs::create_dir_all(&store).map_err(Error::file("make the directory", store))
    }

    /// A connection as one of the users, with the inbox it may read. Reconnects for ever, as the services do.
    pub async fn connect(&self, user: User) -> Result<async_nats::Client> {
        let keys = &self.options.keys;
        connect_nats(&self.url(), &keys.ca_file(), &keys.seed_file(user), user).await
    }
}

/// Connects as one of the users to a server that may not be our own; the inbox prefix follows from the user's name.
pub async fn connect_nats(url: &str, ca: &Path, seed_file: &Path, user: User) -> Result<async_nats::Client> {
    crate::http::install_crypto_provider();
    let seed = std::fs::read_to_string(seed_file).map_err(Error::file("read", seed_file))?;
    async_nats::ConnectOptions::with_nkey(seed.trim().to_owned())
        .name(user.as_str())
        .require_tls(true)
        .add_root_certificates(ca.to_owned())
        .custom_inbox_prefix(format!("_INBOX_{}", user.as_str().replace('-', "_")))
        .connect(url)
        .await
        .map_err(|error| {
            Error::Nats(format!(
                "could not connect to {url} as {}: {error}",
                user.as_str()
            ))
        })
}

fn environment(options: &NatsOptions) -> Result<BTreeMap<String, String>> {
    // Paths may hold any character; the server reads a value like a line of its configuration.
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let keys = &options.keys;
    let mut environment: BTreeMap<String, String> = keys.public_keys()?.into_iter().collect();
    environment.extend(
        [
            ("NATS_SERVER_NAME", "local".to_owned()),
            ("NATS_HOST", "127.0.0.1".to_owned()),
            ("NATS_PORT", options.port.to_string()),
            ("NATS_MONITOR", format!("127.0.0.1:{}", options.monitor_port)),
            ("NATS_STORE_DIR", quoted(&options.directory.join("store"))),
            ("NATS_PID_FILE", quoted(&options.directory.join("nats.pid"))),
            ("NATS_TLS_CERT", quoted(&keys.server_certificate_file())),
            ("NATS_TLS_KEY", quoted(&keys.server_key_file())),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(environment)
}
