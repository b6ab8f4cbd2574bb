//! All processes as one system: started in order, described by `env`, stopped in reverse order.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    Error, Keys, Links, NatsNodes, NatsServer, NatsServers, Ports, Postgres, PostgresOptions, Program,
    Result, Service, ServiceKind, ServiceOptions, StackDirectory, User, env_file, nats_configuration, tools,
};

/// The two databases.
pub(crate) const INVOICES: &str = "invoices";
pub(crate) const PAYMENTS: &str = "payments";

/// How to run a stack.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Where it keeps its state.
    pub directory: PathBuf,
    /// Keep what an earlier stack left there.
    pub keep: bool,
    /// Where it listens.
    pub ports: Ports,
    /// One nats-server, or a cluster.
    pub nats_nodes: NatsNodes,
    /// What a single one is configured by.
    pub nats_configuration: PathBuf,
    /// False where a power cut is of no interest; see `PostgresOptions`.
    pub durable: bool,
    /// Let each service reach NATS and Postgres by links that can be cut.
    pub links: bool,
    /// Demand tokens from this file instead of answering everybody.
    pub tokens_file: Option<PathBuf>,
    /// Further settings of invoice-app, by key with dots.
    pub invoice_app: BTreeMap<String, String>,
    /// Further settings of payment-provider.
    pub payment_provider: BTreeMap<String, String>,
    /// Further environment of both.
    pub env: BTreeMap<String, String>,
    /// Is told what is being started.
    pub progress: watch::Sender<&'static str>,
}

impl StackOptions {
    /// For tests: free ports, and no fsync.
    pub fn for_tests(directory: &Path) -> Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            keep: false,
            ports: Ports::free(),
            nats_nodes: NatsNodes::One,
            nats_configuration: nats_configuration(),
            durable: false,
            links: false,
            tokens_file: None,
            invoice_app: BTreeMap::new(),
            payment_provider: BTreeMap::new(),
            env: BTreeMap::new(),
            progress: watch::Sender::default(),
        })
    }

    /// For people: `STACK_DIR`, `STACK_PORT_BASE`, `STACK_TOKENS_FILE`, `NATS_NODES` and `KEEP` decide, and the services' own
    /// variables win over what they are given here.
    pub fn from_env() -> Result<Self> {
        let tokens_file = std::env::var_os("STACK_TOKENS_FILE").map(PathBuf::from);
        Ok(Self {
            directory: Self::directory_from_env(),
            keep: std::env::var("KEEP").is_ok_and(|keep| keep == "1"),
            ports: Ports::from_env()?,
            nats_nodes: NatsNodes::from_env()?,
            nats_configuration: nats_configuration(),
            durable: true,
            links: false,
            tokens_file: tokens_file
                .map(|path| path.canonicalize().map_err(Error::file("find", path)))
                .transpose()?,
            invoice_app: ServiceKind::InvoiceApp.settings_from_env(),
            payment_provider: ServiceKind::PaymentProvider.settings_from_env(),
            env: BTreeMap::new(),
            progress: watch::Sender::default(),
        })
    }

    /// `STACK_DIR`, or `.stack` in the checkout.
    pub fn directory_from_env() -> PathBuf {
        std::env::var_os("STACK_DIR").map_or_else(|| tools::workspace_root().join(".stack"), PathBuf::from)
    }
}

/// A running system. What is left of it when it is dropped is killed.
#[derive(Debug)]
pub struct Stack {
    // Dropped in this order.
    invoice_app: Service,
    payment_provider: Service,
    /// Of invoice-app, and of payment-provider.
    links: Option<[Links; 2]>,
    nats: NatsServers,
    postgres: Postgres,
    directory: StackDirectory,
}

impl Stack {
    /// Starts everything and writes `env`. Checks first that nothing is in the way.
    pub async fn start(options: StackOptions) -> Result<Self> {
        for binary in [ServiceKind::InvoiceApp, ServiceKind::PaymentProvider] {
            tools::built_binary(binary.as_str())?;
        }
        options.ports.check_free(options.nats_nodes.count())?;
        let directory = StackDirectory::try_new(&options.directory, options.keep)?;
        let keys = Keys::open_or_generate(&directory.path().join("keys"))?;
        options.progress.send_replace("Postgres and NATS");
        let (postgres, nats) = tokio::try_join!(
            start_postgres(&options, &directory),
            NatsServers::start(
                options.nats_nodes,
                &options.nats_configuration,
                &directory,
                &keys,
                &options.ports.nats
            )
        )?;
        let links = if options.links {
            let start = || Links::start(&postgres, &nats);
            Some([start().await?, start().await?])
        } else {
            None
        };
        let [of_app, of_provider] = links
            .as_ref()
            .map_or([None, None], |links| links.each_ref().map(Some));
        options.progress.send_replace("invoice-app and payment-provider");
        let (invoice_app, payment_provider) = tokio::try_join!(
            Service::start(invoice_app_options(
                &options, &directory, &postgres, &nats, of_app
            )),
            Service::start(payment_provider_options(
                &options,
                &directory,
                &postgres,
                &nats,
                of_provider
            )),
        )?;
        let stack = Self {
            invoice_app,
            payment_provider,
            links,
            nats,
            postgres,
            directory,
        };
        stack.write_env()?;
        Ok(stack)
    }

    /// The invoice-app replica.
    pub fn invoice_app(&self) -> &Service {
        &self.invoice_app
    }

    /// The payment-provider replica.
    pub fn payment_provider(&self) -> &Service {
        &self.payment_provider
    }

    /// How a service reaches NATS and Postgres, where that can be cut.
    pub fn links(&self, kind: ServiceKind) -> Option<&Links> {
        let [of_app, of_provider] = self.links.as_ref()?;
        Some(match kind {
            ServiceKind::InvoiceApp => of_app,
            ServiceKind::PaymentProvider => of_provider,
        })
    }

    /// The NATS server; of a cluster, the first.
    pub fn nats(&self) -> &NatsServer {
        self.nats.first()
    }

    /// All NATS servers.
    pub fn nats_servers(&self) -> &NatsServers {
        &self.nats
    }

    /// The Postgres server.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Where it keeps its state.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// invoice-app's database.
    pub fn invoice_database_url(&self) -> String {
        self.postgres.url(INVOICES)
    }

    /// payment-provider's database.
    pub fn payment_database_url(&self) -> String {
        self.postgres.url(PAYMENTS)
    }

    /// Another replica of a service on free ports, to be changed or given to `Service::start`.
    pub fn another(&self, kind: ServiceKind, name: &str) -> Result<ServiceOptions> {
        let service = match kind {
            ServiceKind::InvoiceApp => &self.invoice_app,
            ServiceKind::PaymentProvider => &self.payment_provider,
        };
        let mut options = service.options().clone();
        options.log = self.directory.log(name);
        options.http_port = crate::free_port();
        options.admin_port = crate::free_port();
        Ok(options)
    }

    /// What `env` says now.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let (first, keys) = (self.nats(), self.nats().keys());
        let store_dir = |nats: &NatsServer| nats.store_dir().display().to_string();
        let pid = |nats: &NatsServer| nats.program().pid().to_string();
        let seed = |user| keys.seed_file(user).display().to_string();
        vec![
            ("INVOICE_APP_URL", self.invoice_app.url()),
            ("INVOICE_APP_ADMIN_URL", self.invoice_app.admin_url()),
            ("PAYMENT_PROVIDER_ADMIN_URL", self.payment_provider.admin_url()),
            ("NATS_URL", self.nats.url()),
            ("NATS_CA", keys.ca_file().display().to_string()),
            ("NATS_STORE_DIR", store_dir(first)),
            ("NATS_STORE_DIRS", self.nats.listed(store_dir)),
            ("NATS_NKEY_INVOICE_APP", seed(User::InvoiceApp)),
            ("NATS_NKEY_PAYMENT_PROVIDER", seed(User::PaymentProvider)),
            ("NATS_NKEY_DEBUG", seed(User::Debug)),
            ("INVOICE_DATABASE_URL", self.invoice_database_url()),
            ("PAYMENT_DATABASE_URL", self.payment_database_url()),
            ("INVOICE_APP_PID", self.invoice_app.program().pid().to_string()),
            (
                "PAYMENT_PROVIDER_PID",
                self.payment_provider.program().pid().to_string(),
            ),
            ("NATS_PID", pid(first)),
            ("NATS_PIDS", self.nats.listed(pid)),
            ("POSTGRES_PID", self.postgres.program().pid().to_string()),
        ]
    }

    /// Writes `env` anew.
    pub fn write_env(&self) -> Result<()> {
        env_file::write_env(self.directory(), &self.env())
    }

    /// All programs, in the order in which they are stopped.
    pub fn programs(&self) -> Vec<&Program> {
        let mut programs = vec![self.invoice_app.program(), self.payment_provider.program()];
        programs.extend(self.nats.iter().map(NatsServer::program));
        programs.push(self.postgres.program());
        programs
    }

    /// Stops everything in good order: the services while what they depend on is still there. An `env` of a stopped
    /// stack would send people to ports where somebody else may listen by then, so it goes too.
    pub async fn stop(&self) {
        let limit = Duration::from_secs(20);
        tokio::join!(self.invoice_app.stop(limit), self.payment_provider.stop(limit));
        self.nats.stop().await;
        self.postgres.stop().await;
        // It may have been removed by hand.
        let _ = std::fs::remove_file(self.directory().join("env"));
    }

    /// Kills everything at once.
    pub fn kill(self: Arc<Self>) {
        for program in self.programs() {
            if let Some(process) = program.process() {
                process.signal(program.spec().death_signal);
            }
        }
    }
}

async fn start_postgres(options: &StackOptions, directory: &StackDirectory) -> Result<Postgres> {
    let postgres = Box::pin(Postgres::start(PostgresOptions {
        directory: directory.path().to_owned(),
        log: directory.log("postgres"),
        port: options.ports.postgres,
        durable: options.durable,
        max_connections: 200,
    }))
    .await?;
    postgres.create_database(INVOICES).await?;
    postgres.create_database(PAYMENTS).await?;
    Ok(postgres)
}

fn invoice_app_options(
    options: &StackOptions,
    directory: &StackDirectory,
    postgres: &Postgres,
    nats: &NatsServers,
    links: Option<&Links>,
) -> ServiceOptions {
    let (database_url, nats_url) = urls(postgres, INVOICES, nats, links);
    let mut service = ServiceOptions::new(
        ServiceKind::InvoiceApp,
        directory.log("invoice-app"),
        options.ports.invoice_app_admin,
        &database_url,
        &nats_url,
        nats.first().keys(),
    );
    set_replicas(options, &mut service);
    service.http_port = options.ports.http;
    if let Some(tokens) = &options.tokens_file {
        service
            .settings
            .insert("auth.mode".to_owned(), "token".to_owned());
        service
            .settings
            .insert("auth.tokens_file".to_owned(), tokens.display().to_string());
    }
    service.settings.extend(options.invoice_app.clone());
    service.env.extend(options.env.clone());
    service
}

fn payment_provider_options(
    options: &StackOptions,
    directory: &StackDirectory,
    postgres: &Postgres,
    nats: &NatsServers,
    links: Option<&Links>,
) -> ServiceOptions {
    let (database_url, nats_url) = urls(postgres, PAYMENTS, nats, links);
    let mut service = ServiceOptions::new(
        ServiceKind::PaymentProvider,
        directory.log("payment-provider"),
        options.ports.payment_provider_admin,
        &database_url,
        &nats_url,
        nats.first().keys(),
    );
    set_replicas(options, &mut service);
    service.settings.extend(options.payment_provider.clone());
    service.env.extend(options.env.clone());
    service
}

/// Where a service finds its database and NATS: by its links, if it has any.
fn urls(postgres: &Postgres, database: &str, nats: &NatsServers, links: Option<&Links>) -> (String, String) {
    match links {
        Some(links) => (links.database_url(postgres, database), links.nats_url()),
        None => (postgres.url(database), nats.url()),
    }
}

/// As many copies of a stream as there are servers to keep one.
fn set_replicas(options: &StackOptions, service: &mut ServiceOptions) {
    let replicas = options.nats_nodes.count().to_string();
    service.settings.insert("nats.replicas".to_owned(), replicas);
}
