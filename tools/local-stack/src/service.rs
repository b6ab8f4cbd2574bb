//! invoice-app and payment-provider as processes: configured by environment, migrated, started, crashed.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, process::ExitStatus, time::Duration};

use crate::{Error, Keys, Process, Program, Result, Spec, User, http::wait_for_ok, tools};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Owns invoices.
    InvoiceApp,
    /// Owns payments.
    PaymentProvider,
}

impl ServiceKind {
    /// The binary's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvoiceApp => "invoice-app",
            Self::PaymentProvider => "payment-provider",
        }
    }

    /// Its user in NATS.
    pub const fn user(self) -> User {
        match self {
            Self::InvoiceApp => User::InvoiceApp,
            Self::PaymentProvider => User::PaymentProvider,
        }
    }

    /// What whoever starts it has set in the environment, by key with dots.
    pub(crate) fn settings_from_env(self) -> BTreeMap<String, String> {
        let setting = |(name, value): (OsString, OsString)| {
            let key = name.to_str()?.strip_prefix(self.env_prefix())?;
            Some((key.to_lowercase().replace("__", "."), value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(setting).collect()
    }

    /// What its configuration variables start with.
    pub const fn env_prefix(self) -> &'static str {
        match self {
            Self::InvoiceApp => "INVOICE_APP__",
            Self::PaymentProvider => "PAYMENT_PROVIDER__",
        }
    }
}

/// How to run one replica of a service.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Which service.
    pub kind: ServiceKind,
    /// Its output.
    pub log: PathBuf,
    /// invoice-app's API; unused by payment-provider.
    pub http_port: u16,
    /// Health and metrics.
    pub admin_port: u16,
    /// Configuration keys with dots, such as `nats.url`. Wins over what the other fields say.
    pub settings: BTreeMap<String, String>,
    /// Further environment, such as `RUST_LOG`.
    pub env: BTreeMap<String, String>,
}

impl ServiceOptions {
    /// A replica that connects there.
    pub fn new(
        kind: ServiceKind,
        log: PathBuf,
        admin_port: u16,
        database_url: &str,
        nats_url: &str,
        keys: &Keys,
    ) -> Self {
        let mut settings: BTreeMap<String, String> = [
            ("database.url", database_url.to_owned()),
            ("nats.url", nats_url.to_owned()),
            (
                "nats.nkey_seed_file",
                keys.seed_file(kind.user()).display().to_string(),
            ),
            ("nats.ca_file", keys.ca_file().display().to_string()),
            ("nats.replicas", "1".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let (key, value) = match kind {
            ServiceKind::InvoiceApp => ("auth.mode", "disabled"),
            ServiceKind::PaymentProvider => ("gateway.kind", "simulated"),
        };
        settings.insert(key.to_owned(), value.to_owned());
        Self {
            kind,
            log,
            http_port: 0,
            admin_port,
            settings,
            env: BTreeMap::new(),
        }
    }

    fn spec(&self, command: &str) -> Result<Spec> {
        let name = self.kind.as_str();
        let mut spec = Spec::new(name, tools::built_binary(name)?, self.log.clone());
        spec.args = vec![command.into()];
        spec.env.clone_from(&self.env);
        let mut set = |key: &str, value: &str| {
            let variable = key.to_uppercase().replace('.', "__");
            spec.env
                .insert(format!("{}{variable}", self.kind.env_prefix()), value.to_owned());
        };
        if self.kind == ServiceKind::InvoiceApp {
            set("http.listen", &format!("127.0.0.1:{}", self.http_port));
        }
        set("admin.listen", &format!("127.0.0.1:{}", self.admin_port));
        for (key, value) in &self.settings {
            set(key, value);
        }
        Ok(spec)
    }
}

/// A running replica.
#[derive(Debug)]
pub struct Service {
    options: ServiceOptions,
    program: Program,
}

impl Service {
    /// Runs pending migrations, starts it, and waits until it is ready.
    pub async fn start(options: ServiceOptions) -> Result<Self> {
        Self::run_command(&options, "migrate").await?;
        let service = Self::prepare(options)?;
        service.start_again().await?;
        Ok(service)
    }

    /// A replica that is not started yet, for tests of a start in adverse conditions.
    pub fn prepare(options: ServiceOptions) -> Result<Self> {
        let program = Program::new(options.spec("serve")?);
        Ok(Self { options, program })
    }

    /// Starts it and waits until it is ready.
    pub async fn start_again(&self) -> Result<()> {
        let process = self.program.start().await?;
        let ready = format!("{}/readyz", self.admin_url());
        process
            .ready_within(Duration::from_mins(1), wait_for_ok(&ready))
            .await
    }

    /// Runs one of its other commands, such as `migrate`, to its end; its output goes to the log.
    pub async fn run_command(options: &ServiceOptions, command: &str) -> Result<()> {
        let process = Process::init(options.spec(command)?).await?;
        match process.wait().await {
            Some(status) if !status.success() => Err(process.ended(status)),
            Some(_) => Ok(()),
            None => Err(Error::Usage(format!(
                "{} could not be waited for",
                options.kind.as_str()
            ))),
        }
    }

    /// `http://127.0.0.1:<port>` of the API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.http_port)
    }

    /// `http://127.0.0.1:<port>` of health and metrics.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.admin_port)
    }

    /// How it was configured; the start for another replica's options.
    pub fn options(&self) -> &ServiceOptions {
        &self.options
    }

    /// The running process.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Asks it to end with SIGTERM; kills it when it takes longer than `limit`.
    pub async fn stop(&self, limit: Duration) -> Option<ExitStatus> {
        self.program.stop(limit).await
    }

    /// Kills it with -9.
    pub async fn kill9(&self) -> Option<ExitStatus> {
        self.program.kill9().await
    }
}
