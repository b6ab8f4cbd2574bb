//! One Postgres server for all tests of a process, and a database of its own for each test.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::{Mutex, OnceCell};

use crate::{Postgres, PostgresOptions, Result, free_port, guard::GuardedDirectory};

/// The server that all tests of this process share. It ends with the process, and its files with it.
#[derive(Debug)]
pub struct TestPostgres {
    postgres: Postgres,
    templates: Mutex<BTreeSet<String>>,
    next: AtomicU32,
    /// Statics are never dropped: the guard sees this process end.
    _directory: GuardedDirectory,
}

/// A database for one test.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    /// Its name on the server.
    pub name: String,
    /// How to connect.
    pub url: String,
}

impl TestPostgres {
    /// The shared server; the first caller starts it.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<OnceCell<TestPostgres>> = OnceLock::new();
        SHARED
            .get_or_init(OnceCell::new)
            .get_or_try_init(Self::start)
            .await
    }

    async fn start() -> Result<Self> {
        let directory = GuardedDirectory::try_new()?;
        // The user Postgres runs as must get through; what is inside is closed again.
        crate::directory::open_to_all(directory.path())?;
        let postgres = Postgres::start(PostgresOptions {
            directory: directory.path().to_owned(),
            log: directory.path().join("postgres.log"),
            port: free_port(),
            durable: false,
            max_connections: 300,
        })
        .await?;
        let (templates, next) = (Mutex::default(), AtomicU32::new(1));
        Ok(Self {
            postgres,
            templates,
            next,
            _directory: directory,
        })
    }

    /// A new database with these migrations, copied from a template that is migrated once.
    pub async fn database(&self, migrations: &Path) -> Result<TestDatabase> {
        let mut templates = self.templates.lock().await;
        let template: String = format!("template_{}", migrations.display())
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .rev()
            .take(60)
            .collect();
        if !templates.contains(&template) {
            self.postgres.create_database(&template).await?;
            self.postgres.migrate(&template, migrations).await?;
            templates.insert(template.clone());
        }
        // The lock is kept: Postgres copies a template for one caller at a time.
        self.make(&template).await
    }

    /// The server itself.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    async fn make(&self, template: &str) -> Result<TestDatabase> {
        let name = format!("test_{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.postgres.copy_database(&name, template).await?;
        Ok(TestDatabase {
            url: self.postgres.url(&name),
            name,
        })
    }
}
