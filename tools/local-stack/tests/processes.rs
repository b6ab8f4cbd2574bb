//! Postgres and plain processes: started, crashed, started again, and gone when they should be.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use local_stack::{
    Postgres, PostgresOptions, Process, Program, Spec, TestPostgres, eventually, eventually_within,
    free_port, local_stack_binary,
};
use sqlx::{Connection, Executor, PgConnection, Row};

/// What is left of a stack ends by itself, but not as soon as this.
const LIMIT: Duration = Duration::from_secs(10);

fn shell(directory: &Path, script: &str) -> Spec {
    let mut spec = Spec::new("shell", "/bin/sh".into(), directory.join("shell.log"));
    spec.args = vec!["-c".into(), script.into()];
    spec
}

fn lives(pid: u32) -> bool {
    // A zombie has ended, though its parent has not looked yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn gone_soon(pid: u32) {
    eventually_within(LIMIT, "the process is gone", async || !lives(pid))
        .await
        .unwrap();
}

async fn ask(url: &str, query: &'static str) -> i32 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.fetch_one(query).await.unwrap().get(0)
}

#[tokio::test]
async fn the_pid_is_the_programs_own_and_dropping_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::init(shell(directory.path(), "echo $$; exec sleep 60"))
        .await
        .unwrap();
    let log = directory.path().join("shell.log");
    let told = eventually("it tells its pid", async || {
        let told = std::fs::read_to_string(&log).unwrap_or_default();
        (!told.is_empty()).then_some(told)
    });
    assert_eq!(told.await.unwrap().trim(), process.pid().to_string());
    let pid = process.pid();
    drop(process);
    gone_soon(pid).await;
}

#[tokio::test]
async fn a_stubborn_process_is_killed_when_its_time_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::new(shell(
        directory.path(),
        "trap '' TERM; echo up; while :; do sleep 0.05; done",
    ));
    let process = program.start().await.unwrap();
    let log = directory.path().join("shell.log");
    while std::fs::read_to_string(&log).unwrap_or_default().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = program.stop(Duration::from_millis(200)).await.unwrap();
    assert!(!status.success());
    assert_eq!(process.exit_status(), Some(status));
}

#[tokio::test]
async fn a_child_does_not_outlive_a_parent_that_is_killed() {
    // The shell starts a child as a stack does, tells its pid, and is killed.
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "'{}' child --parent=$$ --death-signal=9 -- sleep 60 & echo $!; wait",
        local_stack_binary().unwrap().display()
    );
    let parent = Process::init(shell(directory.path(), &script)).await.unwrap();
    let log = directory.path().join("shell.log");
    let child = eventually("the child sleeps", async || {
        let pid: u32 = std::fs::read_to_string(&log).ok()?.trim().parse().ok()?;
        let sleeps = std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
        sleeps.then_some(pid)
    });
    let child = child.await.unwrap();
    parent.kill9().await;
    gone_soon(child).await;
}

#[tokio::test]
async fn postgres_keeps_what_was_committed_across_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(PostgresOptions {
        directory: directory.path().to_owned(),
        log: directory.path().join("postgres.log"),
        port: free_port(),
        durable: true,
        max_connections: 20,
    })
    .await
    .unwrap();
    postgres.create_database("invoices").await.unwrap();
    postgres.create_database("invoices").await.unwrap();
    let url = postgres.url("invoices");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection
        .execute("CREATE TABLE t AS SELECT 42 AS answer")
        .await
        .unwrap();

    postgres.kill9().await;
    assert!(connection.ping().await.is_err());
    postgres.start_again().await.unwrap();
    assert_eq!(ask(&url, "SELECT answer FROM t").await, 42);

    postgres.restart().await.unwrap();
    assert_eq!(ask(&url, "SELECT answer FROM t").await, 42);

    let wrong = url.replace("postgres:", "postgres:x");
    assert!(
        PgConnection::connect(&wrong).await.is_err(),
        "a wrong password should be refused"
    );

    let (pid, data) = (postgres.program().pid(), postgres.data().to_owned());
    drop(postgres);
    gone_soon(pid).await;
    assert!(!data.join("postmaster.pid").exists());
}

#[tokio::test]
async fn postgres_runs_for_root_where_its_user_cannot_go() {
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir()
        .unwrap();
    let closed = directory.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let postgres = Postgres::start(PostgresOptions {
        directory: closed,
        log: directory.path().join("postgres.log"),
        port: free_port(),
        durable: false,
        max_connections: 20,
    })
    .await
    .unwrap();
    assert_eq!(ask(&postgres.url("postgres"), "SELECT 1").await, 1);
    let data = postgres.data().to_owned();
    drop(postgres);
    if rustix::process::geteuid().is_root() {
        assert!(!data.exists(), "the temporary directory should be gone");
    }
}

#[tokio::test]
async fn tests_share_a_server_and_have_a_database_each() {
    let migrations = tempfile::tempdir().unwrap();
    std::fs::write(migrations.path().join("0001_t.sql"), "CREATE TABLE t (i int)").unwrap();
    let shared = TestPostgres::shared().await.unwrap();
    let (one, two) = tokio::try_join!(
        shared.database(migrations.path()),
        shared.database(migrations.path())
    )
    .unwrap();
    assert_ne!(one.name, two.name);
    let mut connection = PgConnection::connect(&one.url).await.unwrap();
    connection.execute("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(ask(&one.url, "SELECT count(*)::int FROM t").await, 1);
    assert_eq!(ask(&two.url, "SELECT count(*)::int FROM t").await, 0);
}

#[test]
fn the_shared_server_and_its_files_go_with_the_process() {
    // A second run of this test binary starts a shared server, and ends without stopping it.
    if std::env::var_os("LOCAL_STACK_TEST_CHILD").is_some() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        temporary.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tests_share_a_server_and_have_a_database_each",
            "--quiet",
        ])
        .env("LOCAL_STACK_TEST_CHILD", "1")
        .env("TMPDIR", temporary.path())
        // Its summary is not one of this run's.
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let left = || {
        std::fs::read_dir(temporary.path())
            .unwrap()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("local-stack-"))
            .count()
    };
    let limit = std::time::Instant::now() + LIMIT;
    while left() > 0 && std::time::Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(left(), 0);
}
