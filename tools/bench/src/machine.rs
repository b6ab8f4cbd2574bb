//! Facts without which a figure says nothing: the machine, the commit, and the settings that make writes durable.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::testbed::Testbed;
use acceptance::{Error, Result};

/// What of Postgres decides how much a commit costs and what it is worth.
const POSTGRES: &[&str] = &[
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "wal_level",
    "wal_compression",
    "commit_delay",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "autovacuum",
];
/// File systems in memory: fsync does nothing there.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// Which machine and which commit.
pub fn facts() -> BTreeMap<&'static str, Value> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':'));
        value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    BTreeMap::from([
        ("cores", json!(cores)),
        ("processor", json!(line(&read("/proc/cpuinfo"), "model name"))),
        ("memory", json!(line(&read("/proc/meminfo"), "MemTotal"))),
        ("kernel", json!(read("/proc/sys/kernel/osrelease").trim())),
        ("date", json!(output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]))),
        ("commit", json!(commit())),
    ])
}

/// The commit, and whether anything was changed since.
fn commit() -> String {
    let root = local_stack::workspace_root();
    let root = root.display().to_string();
    output(
        "git",
        &["-C", &root, "describe", "--always", "--dirty", "--abbrev=12"],
    )
}

/// Empty when there is no such program: a fact is missing then, and nothing else.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The settings of the running servers, by their own account. Fails where they would make everything look cheap.
pub async fn settings(testbed: &Testbed) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    let mut postgres = PgConnection::connect(&testbed.stack().invoice_database_url()).await?;
    for name in POSTGRES {
        let value = sqlx::query_scalar("select current_setting($1)")
            .bind(name)
            .fetch_one(&mut postgres)
            .await?;
        settings.insert(format!("postgres.{name}"), value);
    }
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        if settings.get(&format!("postgres.{name}")).map(String::as_str) != Some("on") {
            return Err(Error::new(format!(
                "{name} is not on: these payments are not durable"
            )));
        }
    }
    let monitor = testbed.stack().nats().monitor_url();
    let about = acceptance::Client::try_new(&monitor)?
        .get("/varz")
        .await?
        .expect(200)?;
    let told = |pointer: &str| about.pointer(pointer).map(Value::to_string);
    let interval = about
        .pointer("/jetstream/config/sync_interval")
        .and_then(Value::as_u64);
    let interval =
        interval.ok_or_else(|| Error::new(format!("NATS does not tell when it syncs: {about}")))?;
    let interval = format!("{} s", Duration::from_nanos(interval).as_secs());
    settings.insert("nats.sync_interval".to_owned(), interval);
    let always = told("/jetstream/config/sync_always").unwrap_or_else(|| "false".to_owned());
    settings.insert("nats.sync_always".to_owned(), always);
    settings.insert(
        "nats.version".to_owned(),
        told("/version").unwrap_or_default().replace('"', ""),
    );
    let file_system = file_system(testbed.stack().postgres().data())?;
    if IN_MEMORY.contains(&file_system.as_str()) {
        return Err(Error::new(
            "Postgres's data is in memory, where fsync does nothing",
        ));
    }
    settings.insert("postgres.file_system".to_owned(), file_system);
    Ok(settings)
}

/// The type of the file system that holds `path`.
fn file_system(path: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    file_system_among(&mounts, path)
        .ok_or_else(|| Error::new(format!("{} is mounted nowhere", path.display())))
}

/// The last of the longest: a later mount on the same place hides the earlier.
fn file_system_among(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    mounts
        .filter(|(place, _)| path.starts_with(place))
        .max_by_key(|(place, _)| place.len())
        .map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_holds_a_path() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n";
        let of = |path: &str| file_system_among(mounts, Path::new(path));
        assert_eq!(of("/tmp/x/data").as_deref(), Some("xfs"));
        assert_eq!(of("/tmp/xy").as_deref(), Some("tmpfs"));
        assert_eq!(of("/var").as_deref(), Some("ext4"));
    }

    #[test]
    fn a_machine_without_git_still_has_a_kernel() {
        let facts = facts();
        assert!(facts.get("kernel").is_some_and(|kernel| kernel != ""));
        assert_eq!(output("no-such-program", &[]), "");
    }
}
