//! Where a server's files are, and as whom its programs run.

use std::path::PathBuf;

use super::{PostgresOptions, account::Account};
use crate::{Error, Result, Spec, guard::GuardedDirectory};

/// One server's.
pub(super) struct Place {
    pub(super) account: Account,
    binaries: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) temporary: Option<GuardedDirectory>,
}

impl Place {
    pub(super) fn prepare(options: &PostgresOptions) -> Result<Self> {
        let account = Account::choose()?;
        let directory = options.directory.join("postgres");
        std::fs::create_dir_all(&directory).map_err(Error::file("make the directory", &directory))?;
        let temporary = if account.can_reach(&directory) {
            None
        } else {
            Some(GuardedDirectory::try_new()?)
        };
        let directory = temporary
            .as_ref()
            .map_or(directory, |temporary| temporary.path().to_owned());
        account.own(&directory)?;
        Ok(Self {
            binaries: account.binaries(&directory)?,
            account,
            directory,
            temporary,
        })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub(super) fn spec(&self, name: &str, options: &PostgresOptions) -> Spec {
        let mut spec = Spec::new(name, self.binaries.join(name), options.log.clone());
        spec.working_directory.clone_from(&self.directory);
        spec.user = self.account.user();
        spec.without_env_prefix = Some("PG");
        spec
    }
}
