//! A nats-server of our own, with the one configuration and fresh keys.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;

use crate::{Error, Keys, Program, Result, Spec, User, free_port, http::wait_for_ok, tools};

/// A member of a cluster is ready once it has caught up with the others, which takes them long on a busy machine.
const READY_LIMIT: Duration = Duration::from_mins(2);

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

impl NatsOptions {
    /// For a test: on free ports, with everything in `directory`.
    pub fn for_tests(directory: &Path, keys: Keys) -> Self {
        Self {
            directory: directory.to_owned(),
            log: directory.join("nats.log"),
            port: free_port(),
            monitor_port: free_port(),
            keys,
        }
    }
}

/// The one configuration of laptops, tests and clusters.
pub fn nats_configuration() -> PathBuf {
    tools::workspace_root().join("nats/nats-server.conf")
}

/// A server's place in a cluster.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Its name; the others know it by that.
    pub name: String,
    /// Where the others reach it, on the loopback address.
    pub route_port: u16,
    /// The same of every member.
    pub all_route_ports: Vec<u16>,
}

/// A running nats-server.
#[derive(Debug)]
pub struct NatsServer {
    program: Program,
    options: NatsOptions,
}

impl NatsServer {
    /// Starts a single one and waits until it is ready.
    pub async fn start(options: NatsOptions) -> Result<Self> {
        Self::start_with(options, nats_configuration()).await
    }

    /// The same with another configuration, beside which there is a `cluster.conf`.
    pub async fn start_with(options: NatsOptions, configuration: PathBuf) -> Result<Self> {
        let server = Self::prepare("nats-server", options, configuration, BTreeMap::new())?;
        server.start_again().await?;
        Ok(server)
    }

    /// Starts a member of a cluster and waits until it is ready, which takes a majority of members.
    pub async fn start_member(options: NatsOptions, membership: Membership) -> Result<Self> {
        let configuration = member_configuration(&options.directory)?;
        let environment = member_environment(&options.keys, &membership);
        let server = Self::prepare(&membership.name, options, configuration, environment)?;
        server.start_again().await?;
        Ok(server)
    }

    /// `further` goes over the environment that every server has.
    fn prepare(
        name: &str,
        options: NatsOptions,
        configuration: PathBuf,
        further: BTreeMap<String, String>,
    ) -> Result<Self> {
        let store = options.directory.join("store");
        std::fs::create_dir_all(&store).map_err(Error::file("make the directory", store))?;
        let mut spec = Spec::new(name, tools::tool("nats-server")?, options.log.clone());
        spec.args = vec![OsString::from("--config"), configuration.into_os_string()];
        spec.env = environment(&options)?;
        spec.env.extend(further);
        spec.working_directory.clone_from(&options.directory);
        Ok(Self {
            program: Program::new(spec),
            options,
        })
    }

    /// Starts it again after a stop or crash, and waits until it is ready.
    pub async fn start_again(&self) -> Result<()> {
        let process = self.program.start().await?;
        let health = format!("http://127.0.0.1:{}/healthz", self.options.monitor_port);
        process.ready_within(READY_LIMIT, wait_for_ok(&health)).await
    }

    /// `tls://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        Self::url_at_port(self.options.port)
    }

    /// The same through another port, for a proxy.
    pub fn url_at_port(port: u16) -> String {
        format!("tls://127.0.0.1:{port}")
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// `http://127.0.0.1:<port>`
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.monitor_port)
    }

    /// How it is run.
    pub fn options(&self) -> &NatsOptions {
        &self.options
    }

    /// Seeds, CA and certificate.
    pub fn keys(&self) -> &Keys {
        &self.options.keys
    }

    /// The running process.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Everything JetStream remembers.
    pub fn store_dir(&self) -> PathBuf {
        self.options.directory.join("store")
    }

    /// Makes it leave as a rollout does: its leaders hand over, its clients are asked to go one after another, and then it
    /// ends. Waits for that.
    pub async fn leave(&self) -> Option<std::process::ExitStatus> {
        let process = self.program.process()?;
        process.signal(Signal::USR2);
        process.wait().await
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

/// Connects as one of the users to a server that may not be our own, or to one of several (`url` with commas); the inbox
/// prefix follows from the user's name.
pub async fn connect_nats(url: &str, ca: &Path, seed_file: &Path, user: User) -> Result<async_nats::Client> {
    crate::http::install_crypto_provider();
    let seed = std::fs::read_to_string(seed_file).map_err(Error::file("read", seed_file))?;
    async_nats::ConnectOptions::with_nkey(seed.trim().to_owned())
        .name(user.as_str())
        .require_tls(true)
        .add_root_certificates(ca.to_owned())
        .custom_inbox_prefix(format!("_INBOX_{}", user.as_str().replace('-', "_")))
        .connect(url.split(',').collect::<Vec<_>>())
        .await
        .map_err(|error| {
            Error::Nats(format!(
                "could not connect to {url} as {}: {error}",
                user.as_str()
            ))
        })
}

/// Puts the one configuration beside what production's servers have in the place of the empty `cluster.conf`: it is looked
/// for in the same directory.
fn member_configuration(directory: &Path) -> Result<PathBuf> {
    let root = tools::workspace_root();
    let target = directory.join("config");
    std::fs::create_dir_all(&target).map_err(Error::file("make the directory", &target))?;
    for source in ["nats/nats-server.conf", "k8s/overlays/production/cluster.conf"] {
        let source = root.join(source);
        let name = source.file_name().unwrap_or_default();
        std::fs::copy(&source, target.join(name)).map_err(Error::file("copy", &source))?;
    }
    Ok(target.join("nats-server.conf"))
}

fn member_environment(keys: &Keys, membership: &Membership) -> BTreeMap<String, String> {
    let address = |port: &u16| format!("127.0.0.1:{port}");
    let routes: Vec<String> = membership
        .all_route_ports
        .iter()
        .map(|port| format!("tls://{}", address(port)))
        .collect();
    [
        ("NATS_SERVER_NAME", membership.name.clone()),
        ("NATS_CLUSTER_LISTEN", address(&membership.route_port)),
        ("NATS_ROUTES", format!("[{}]", routes.join(", "))),
        ("NATS_TLS_CA", quoted(&keys.ca_file())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Paths may hold any character; the server reads a value like a line of its configuration.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

fn half_of_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

fn environment(options: &NatsOptions) -> Result<BTreeMap<String, String>> {
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
            // The other half is for everybody else: on few cores Go's threads wake each other for less than that costs.
            ("GOMAXPROCS", half_of_the_cores().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(environment)
}
