//! A Postgres server of our own: made, started, crashed and removed without touching the machine's.

mod account;
mod place;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};

use self::place::Place;
use crate::{Error, Process, Program, Result, Spec, guard::GuardedDirectory, keys::write_secret, tools};

const SUPERUSER: &str = "postgres";

/// How to run a Postgres server.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Data goes into `postgres/` below this directory, or into a temporary one when this is root's alone: Postgres
    /// refuses to run as root, and the user it then runs as could not get there.
    pub directory: PathBuf,
    /// Its output.
    pub log: PathBuf,
    /// On the loopback address.
    pub port: u16,
    /// False only where losing data in a power cut is of no interest: tests of code that does not crash machines.
    pub durable: bool,
    /// How many connections it takes.
    pub max_connections: u32,
}

/// A Postgres server that listens on the loopback address only, and wants a password.
#[derive(Debug)]
pub struct Postgres {
    program: Program,
    port: u16,
    options: PostgresOptions,
    password: String,
    data: PathBuf,
    /// Removed after the process has ended: fields are dropped in this order.
    _temporary: Option<GuardedDirectory>,
}

impl Postgres {
    /// Makes a server, unless its directory holds one already, and starts it.
    pub async fn start(options: PostgresOptions) -> Result<Self> {
        let place = Place::prepare(&options)?;
        let password_file = place.directory.join("password");
        if !place.data().join("PG_VERSION").exists() {
            let password = random_password();
            write_secret(&password_file, &password)?;
            place.account.own(&password_file)?;
            let initdb = place.spec("initdb", &options);
            initialise(initdb, &place.data(), &password_file).await?;
        }
        let password =
            std::fs::read_to_string(&password_file).map_err(Error::file("read", &password_file))?;
        Self::run(options, place, password).await
    }

    /// Makes a server that follows this one as it streams what it has committed, and starts it.
    pub async fn standby(&self, options: PostgresOptions) -> Result<Self> {
        let place = Place::prepare(&options)?;
        let mut copy = place.spec("pg_basebackup", &options);
        copy.args = vec![
            joined("--pgdata=", &place.data()),
            "--host=127.0.0.1".into(),
            format!("--port={}", self.port).into(),
            format!("--username={SUPERUSER}").into(),
            "--checkpoint=fast".into(),
            "--write-recovery-conf".into(),
            "--no-sync".into(),
        ];
        copy.env.insert("PGPASSWORD".to_owned(), self.password.clone());
        succeed(copy).await?;
        Self::run(options, place, self.password.clone()).await
    }

    /// Takes the place of the server that it followed, at that one's address. Whatever had not arrived is lost.
    pub async fn promote(mut self, port: u16) -> Result<Self> {
        self.stop().await;
        self.port = port;
        self.options.port = port;
        let mut spec = self.program.spec().clone();
        spec.args = server_arguments(&self.options, &self.data);
        self.program = Program::new(spec);
        self.start_again().await?;
        let failed = |source| Error::Database {
            action: "promote a standby".to_owned(),
            source,
        };
        let mut connection = self.connect("postgres").await.map_err(failed)?;
        connection
            .execute("select pg_promote(true, 60)")
            .await
            .map_err(failed)?;
        // Closing is a courtesy to the server.
        let _ = connection.close().await;
        Ok(self)
    }

    async fn run(options: PostgresOptions, place: Place, password: String) -> Result<Self> {
        let data = place.data();
        let mut server = place.spec("postgres", &options);
        server.args = server_arguments(&options, &data);
        // Fast shutdown: sessions are cut, data is flushed. On our death: at once, and recovery at the next start.
        server.stop_signal = Signal::INT;
        server.death_signal = Signal::QUIT;
        let postgres = Self {
            program: Program::new(server),
            port: options.port,
            options,
            password,
            data,
            _temporary: place.temporary,
        };
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// Starts it again after a stop or crash, and waits until it takes connections.
    pub async fn start_again(&self) -> Result<()> {
        // After kill -9 the new server refuses to start until the old one's last child has noticed and gone.
        let mut tries = 0;
        loop {
            let process = self.program.start().await?;
            match process
                .ready_within(Duration::from_mins(1), self.accepts_connections(&process))
                .await
            {
                Err(Error::Ended { .. }) if tries < 50 => tries += 1,
                other => return other,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A URL for a database of this server.
    pub fn url(&self, database: &str) -> String {
        self.url_at_port(database, self.port)
    }

    /// The same through another port, for a test's proxy.
    pub fn url_at_port(&self, database: &str, port: u16) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{port}/{database}",
            self.password
        )
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The running process.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Makes an empty database, unless it exists.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        self.copy_database(name, "template1").await
    }

    /// Makes a database with the content of another, which nobody may be connected to. Does nothing if it exists.
    pub async fn copy_database(&self, name: &str, template: &str) -> Result<()> {
        let failed = |source| Error::Database {
            action: format!("make the database {name}"),
            source,
        };
        let mut connection = self.connect("postgres").await.map_err(failed)?;
        let statement = format!(r#"CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY wal_log"#);
        let result = connection.execute(sqlx::AssertSqlSafe(statement)).await;
        // Closing is a courtesy to the server.
        let _ = connection.close().await;
        match result {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => Ok(()),
            other => other.map(drop).map_err(failed),
        }
    }

    /// Puts a copy of a database aside under another name, over one that is there. Whoever is connected is cut off.
    pub async fn back_up(&self, database: &str, name: &str) -> Result<()> {
        self.replace_database(name, database).await
    }

    /// Takes a database back to a copy that was put aside, which is kept. Whoever is connected is cut off.
    pub async fn restore(&self, database: &str, name: &str) -> Result<()> {
        self.replace_database(database, name).await
    }

    async fn replace_database(&self, to: &str, from: &str) -> Result<()> {
        let failed = |source| Error::Database {
            action: format!("copy the database {from} over {to}"),
            source,
        };
        let mut connection = self.connect("postgres").await.map_err(failed)?;
        // Nobody may be connected to what is copied.
        let statements = [
            format!(r#"alter database "{from}" allow_connections false"#),
            format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{from}'"),
            format!(r#"drop database if exists "{to}" with (force)"#),
            format!(r#"create database "{to}" template "{from}" strategy wal_log"#),
            format!(r#"alter database "{from}" allow_connections true"#),
        ];
        for statement in statements {
            connection
                .execute(sqlx::AssertSqlSafe(statement))
                .await
                .map_err(failed)?;
        }
        // Closing is a courtesy to the server.
        let _ = connection.close().await;
        Ok(())
    }

    /// Runs the SQL files of a directory against a database.
    pub async fn migrate(&self, database: &str, migrations: &Path) -> Result<()> {
        let failed = |source| Error::Migrate {
            path: migrations.to_owned(),
            source,
        };
        let migrator = sqlx::migrate::Migrator::new(migrations).await.map_err(failed)?;
        let mut connection = self.connect(database).await.map_err(|source| Error::Database {
            action: format!("connect to the database {database}"),
            source,
        })?;
        migrator.run(&mut connection).await.map_err(failed)?;
        // As above.
        let _ = connection.close().await;
        Ok(())
    }

    /// Stops it in good order; sessions are cut.
    pub async fn stop(&self) {
        self.program.stop(Duration::from_secs(20)).await;
    }

    /// Kills it with -9, and waits until its children have noticed.
    pub async fn kill9(&self) {
        self.program.kill9().await;
    }

    /// Stop and start.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await;
        self.start_again().await
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    async fn connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options: PgConnectOptions = self.url(database).parse()?;
        options.disable_statement_logging().connect().await
    }

    /// Never returns before the new process itself listens: an old one's last child may still hold the port.
    async fn accepts_connections(&self, process: &Process) -> Result<()> {
        let ready = self.data.join("postmaster.pid");
        loop {
            let text = std::fs::read_to_string(&ready).unwrap_or_default();
            let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
            if pid == Some(process.pid())
                && let Ok(connection) = self.connect("postgres").await
            {
                // As above.
                let _ = connection.close().await;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn initialise(mut initdb: Spec, data: &Path, password_file: &Path) -> Result<()> {
    initdb.args = [
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        // Needs no locale installed on the machine.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-sync",
    ]
    .map(OsString::from)
    .into();
    initdb.args.extend([
        OsString::from(format!("--username={SUPERUSER}")),
        joined("--pwfile=", password_file),
        joined("--pgdata=", data),
    ]);
    succeed(initdb).await
}

/// Runs a program that ends by itself.
async fn succeed(program: Spec) -> Result<()> {
    let process = Process::init(program).await?;
    match process.wait().await {
        Some(status) if !status.success() => Err(process.ended(status)),
        _ => Ok(()),
    }
}

fn server_arguments(options: &PostgresOptions, data: &Path) -> Vec<OsString> {
    let mut settings = vec![
        format!("port={}", options.port),
        "listen_addresses=127.0.0.1".to_owned(),
        // A socket's path may be at most 107 bytes long, and nobody needs one.
        "unix_socket_directories=".to_owned(),
        format!("max_connections={}", options.max_connections),
        // Enough for a benchmark's working set, little enough for a laptop.
        format!(
            "shared_buffers={}",
            if options.durable { "256MB" } else { "64MB" }
        ),
        // With the default 1 GB a load of some minutes checkpoints all the time.
        "max_wal_size=4GB".to_owned(),
        "log_line_prefix=%m [%p] %q%a ".to_owned(),
    ];
    if !options.durable {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    let mut arguments = vec![OsString::from("-D"), data.as_os_str().to_owned()];
    for setting in settings {
        arguments.extend([OsString::from("-c"), OsString::from(setting)]);
    }
    arguments
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(option);
    joined.push(path);
    joined
}

fn random_password() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Where the installed server is, found through the link that `bin/just` made.
fn installed_binaries() -> Result<PathBuf> {
    let postgres = tools::tool("postgres")?;
    let postgres = postgres.canonicalize().map_err(Error::file("find", &postgres))?;
    Ok(postgres.parent().unwrap_or(Path::new("/")).to_owned())
}
