//! The bank as a process of a test: started, killed, started again, told what goes wrong.

use std::{path::PathBuf, time::Duration};

use local_stack::{Program, Spec, built_binary, free_port, http_client};

use crate::{Error, Result, eventually};
use bank_simulator::{Fault, Mix, Options, Record, Script};
use reconcile::BankBooks;
use tempfile::TempDir;

/// A bank-simulator on a free port, in a process of its own.
#[derive(Debug)]
pub struct BankProcess {
    program: Program,
    port: u16,
    journal: PathBuf,
    http: reqwest::Client,
    /// Of its journal and log, if they are nobody else's.
    directory: Option<TempDir>,
}

impl BankProcess {
    /// Opens one with a journal of its own. Its disk is not ours: in memory, where there is a place for that.
    pub async fn start_with(configure: impl FnOnce(&mut Options)) -> Result<Self> {
        let directory = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())?;
        let mut options = Options::new(directory.path().join("journal"));
        configure(&mut options);
        let mut bank = Self::start(&options, directory.path().join("log")).await?;
        bank.directory = Some(directory);
        Ok(bank)
    }

    /// Opens. Its output goes to `log`.
    pub async fn start(options: &Options, log: PathBuf) -> Result<Self> {
        let port = free_port();
        let mut spec = Spec::new("bank-simulator", built_binary("bank-simulator")?, log);
        let ms = |duration: Duration| duration.as_millis().to_string();
        let mut arguments = vec![
            format!("--listen=127.0.0.1:{port}"),
            format!("--journal={}", options.journal.display()),
            format!("--seed={}", options.seed),
            format!("--faults={}", options.mix),
            format!("--caller-patience-ms={}", ms(options.caller_patience)),
            format!("--fastest-ms={}", ms(options.fastest)),
            format!("--slowest-ms={}", ms(options.slowest)),
            format!("--latest-ms={}", ms(options.latest)),
        ];
        let forget = options.forget_after;
        arguments.extend(forget.map(|after| format!("--forget-after-ms={}", ms(after))));
        spec.args = arguments.into_iter().map(Into::into).collect();
        let bank = Self {
            program: Program::new(spec),
            port,
            journal: options.journal.clone(),
            http: http_client(Duration::from_secs(5))?,
            directory: None,
        };
        bank.start_again().await?;
        Ok(bank)
    }

    /// Starts it again after it has ended, and waits until it answers.
    pub async fn start_again(&self) -> Result<()> {
        self.program.start().await?;
        eventually("the bank is open", || async {
            let answer = self.http.get(self.faults_url()).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await
    }

    /// Kills it with -9.
    pub async fn kill9(&self) {
        self.program.kill9().await;
    }

    /// The running process.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For `gateway.url`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on this goes wrong.
    pub async fn set_faults(&self, mix: &Mix) -> Result<()> {
        self.http
            .put(self.faults_url())
            .json(mix)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    /// From now on every call and look-up fails without effect, or none does.
    pub async fn fail_everything(&self, failing: bool) -> Result<()> {
        let faults = failing.then_some((Fault::ErrorBefore, 1.0));
        self.set_faults(&Mix::try_new(faults)?).await
    }

    /// This meets the first calls to pay these invoices.
    pub async fn set_script(&self, script: &Script) -> Result<()> {
        let url = format!("{}/admin/script", self.url());
        self.http.put(url).json(script).send().await?.error_for_status()?;
        Ok(())
    }

    /// What it has written down so far.
    pub fn record(&self) -> Result<Record> {
        Record::read(&self.journal).map_err(|error| Error::new(error.to_string()))
    }

    /// What it has charged so far, as the check of the books reads it.
    pub fn charges(&self) -> Result<Vec<reconcile::Charge>> {
        reconcile::bank_record::read(&self.journal)
    }

    /// The same as the other side of that check, unless callers broke the protocol.
    pub fn books(&self) -> Result<BankBooks> {
        if let Some(misuse) = self.record()?.misuses().first() {
            return Err(Error::new(format!("the bank complained: {misuse}")));
        }
        Ok(BankBooks::Record(self.charges()?))
    }

    /// How many calls to pay there were for this invoice.
    pub fn calls_to_pay(&self, invoice: &str) -> Result<usize> {
        Ok(self.record()?.calls_to_pay(invoice))
    }

    /// Where its faults are set, and told.
    pub fn faults_url(&self) -> String {
        format!("{}/admin/faults", self.url())
    }
}
