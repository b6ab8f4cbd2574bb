//! `local-stack up` and `demo`, as the recipes of the justfile run them.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use acceptance::{BankProcess, Client, Error, Result, client::WAIT, eventually};
use local_stack::{Ports, local_stack_binary, read_env};
use tempfile::TempDir;
use tokio::process::{Child, Command};

struct Place {
    directory: TempDir,
    base: u16,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            base: Ports::free().http,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(local_stack_binary().unwrap());
        command
            .args(args)
            .env("STACK_DIR", self.path())
            .env("STACK_PORT_BASE", self.base.to_string())
            .env_remove("KEEP")
            .env_remove("STACK_TOKENS_FILE")
            .env_remove("NATS_NODES")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn env(&self) -> Result<BTreeMap<String, String>> {
        Ok(read_env(self.path())?.into_iter().collect())
    }

    async fn up(&self) -> (Child, BTreeMap<String, String>) {
        self.up_with("1").await
    }

    async fn up_with(&self, nats_nodes: &str) -> (Child, BTreeMap<String, String>) {
        let mut up = self.command(&["up"]);
        let mut up = up.env("NATS_NODES", nats_nodes).spawn().unwrap();
        let env = eventually("the stack is up", || {
            let ended = up.try_wait();
            async {
                match ended? {
                    Some(status) => Ok(Some(Err(status))),
                    None => self.env().map(|env| Some(Ok(env))),
                }
            }
        })
        .await
        .unwrap();
        match env {
            Ok(env) => (up, env),
            Err(status) => panic!(
                "up ended with {status}: {}",
                text(&up.wait_with_output().await.unwrap())
            ),
        }
    }

    /// Every process whose command line or environment names the directory.
    fn processes(&self) -> Vec<String> {
        let needle = self.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(std::result::Result::ok)
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<u32>().is_err() {
                continue;
            }
            let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
            let all = [read("cmdline"), read("environ")].concat();
            let text = String::from_utf8_lossy(&all).into_owned();
            if text.contains(&needle) {
                found.push(format!(
                    "{name}: {}",
                    text.replace('\0', " ").chars().take(200).collect::<String>()
                ));
            }
        }
        found
    }

    async fn has_no_process(&self) {
        eventually("every process of the stack is gone", || async {
            let left = self.processes();
            if left.is_empty() {
                Ok(Some(()))
            } else {
                Err(Error::new(left.join("\n")))
            }
        })
        .await
        .unwrap();
    }

    async fn leaves_nothing(&self, env: &BTreeMap<String, String>) {
        self.has_no_process().await;
        for name in PIDS {
            assert!(!lives(&env[name]), "{name} {} is still there", env[name]);
        }
        Ports::from_base(self.base).check_free(3).unwrap();
    }
}

/// A zombie has ended, though nobody has looked yet.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

const PIDS: [&str; 4] = [
    "INVOICE_APP_PID",
    "PAYMENT_PROVIDER_PID",
    "NATS_PID",
    "POSTGRES_PID",
];

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .args([signal, &pid])
            .status()
            .unwrap()
            .success()
    );
}

async fn pays(env: &BTreeMap<String, String>) {
    let client = Client::try_new(&env["INVOICE_APP_URL"]).unwrap();
    let payment = eventually("a payment goes through", || async {
        let id = client.create("1.00", "EUR").await?;
        // Of the connections to a Postgres that was killed, the second may be the one that has to be made anew.
        let payment = client.pay(&id, WAIT).await?;
        Ok((payment.status != 503).then_some(payment))
    })
    .await
    .unwrap();
    assert_eq!(
        (payment.status, payment.text("/status")),
        (200, "succeeded"),
        "{payment:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn up_starts_what_dies_again_and_ends_without_a_trace_twice_in_a_row() {
    let place = Place::new();
    for signal_name in ["-TERM", "-INT"] {
        let (up, mut env) = place.up().await;
        for name in ["INVOICE_APP_ADMIN_URL", "PAYMENT_PROVIDER_ADMIN_URL"] {
            let admin = Client::try_new(&env[name]).unwrap();
            assert_eq!(admin.get("/readyz").await.unwrap().status, 200, "{name}");
        }
        for name in [
            "NATS_CA",
            "NATS_STORE_DIR",
            "NATS_NKEY_INVOICE_APP",
            "NATS_NKEY_PAYMENT_PROVIDER",
            "NATS_NKEY_DEBUG",
        ] {
            assert!(Path::new(&env[name]).exists(), "{name}: {}", env[name]);
        }
        pays(&env).await;
        for name in PIDS {
            let old = env[name].clone();
            assert!(
                std::process::Command::new("kill")
                    .args(["-9", &old])
                    .status()
                    .unwrap()
                    .success()
            );
            env = eventually(&format!("{name} is started again"), || async {
                let env = place.env()?;
                Ok((env[name] != old).then_some(env))
            })
            .await
            .unwrap();
        }
        pays(&env).await;

        signal(&up, signal_name);
        let output = up.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        place.leaves_nothing(&env).await;
        assert!(place.env().is_err(), "a stopped stack has no env");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn up_with_three_nats_servers_names_them_all_and_starts_each_again() {
    let place = Place::new();
    let (up, mut env) = place.up_with("3").await;
    let listed = |env: &BTreeMap<String, String>, name: &str| -> Vec<String> {
        env[name].split(',').map(str::to_owned).collect()
    };
    let ports = Ports::from_base(place.base).nats;
    let urls = ports.map(|ports| format!("tls://127.0.0.1:{}", ports.client));
    assert_eq!(listed(&env, "NATS_URL"), urls);
    let stores = listed(&env, "NATS_STORE_DIRS");
    assert!(stores.iter().all(|store| Path::new(store).is_dir()), "{stores:?}");
    assert_eq!((stores.len(), &stores[0]), (3, &env["NATS_STORE_DIR"]));
    pays(&env).await;
    for node in 0..3 {
        let old = listed(&env, "NATS_PIDS")[node].clone();
        let killed = std::process::Command::new("kill").args(["-9", &old]).status();
        assert!(killed.unwrap().success());
        env = eventually("the killed server is started again", || async {
            let env = place.env()?;
            Ok((listed(&env, "NATS_PIDS")[node] != old).then_some(env))
        })
        .await
        .unwrap();
    }
    assert_eq!(listed(&env, "NATS_PIDS")[0], env["NATS_PID"]);
    // What is sent before leaders are elected is sent again half a minute later; a later one takes no time.
    eventually("payments go through again", || async {
        let client = Client::try_new(&env["INVOICE_APP_URL"])?;
        let id = client.create("1.00", "EUR").await?;
        let answer = client.pay(&id, &[("prefer", "wait=2")]).await?;
        Ok(answer.status == 200)
    })
    .await
    .unwrap();
    signal(&up, "-TERM");
    let output = up.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    place.leaves_nothing(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_survives_a_stack_whose_own_process_is_killed() {
    let place = Place::new();
    let (mut up, env) = place.up().await;
    signal(&up, "-KILL");
    up.wait().await.unwrap();
    place.leaves_nothing(&env).await;
    // And the next one starts from there.
    let (up, env) = place.up().await;
    pays(&env).await;
    signal(&up, "-TERM");
    assert_eq!(up.wait_with_output().await.unwrap().status.code(), Some(0));
    place.leaves_nothing(&env).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let place = Place::new();
    let ports = Ports::from_base(place.base);
    for port in [
        ports.http,
        ports.nats[0].client,
        ports.postgres,
        ports.payment_provider_admin,
    ] {
        let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let output = place.command(&["up"]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(&port.to_string()), "{}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_pays_three_invoices_and_ends_with_0_twice_in_a_row() {
    let place = Place::new();
    for _ in 0..2 {
        let demo = place.command(&["demo", "--once"]).output();
        let output = tokio::time::timeout(acceptance::LIMIT, demo)
            .await
            .unwrap()
            .unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        for (number, value, currency) in [
            ("I1", "12.15", "EUR"),
            ("I2", "10.25", "GBP"),
            ("I3", "66.13", "DKK"),
        ] {
            let paid = rows
                .iter()
                .any(|row| row.starts_with(&[number, value, currency, "paid"]));
            assert!(paid, "{number} is not shown paid:\n{text}");
        }
        assert_eq!(place.processes(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_the_services_win_over_what_the_stack_sets() {
    let place = Place::new();
    let bank = BankProcess::start_with(|_| {}).await.unwrap();
    let output = place
        .command(&["demo", "--once"])
        .env("PAYMENT_PROVIDER__GATEWAY__KIND", "http")
        .env("PAYMENT_PROVIDER__GATEWAY__URL", bank.url())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(
        bank.charges().unwrap().len(),
        3,
        "the three were paid by another bank"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_is_stopped_while_starting_leaves_nothing() {
    let place = Place::new();
    for delay in [0, 300, 900, 2000] {
        let up = place.command(&["up"]).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(delay)).await;
        signal(&up, "-TERM");
        // Without its handlers, which are set up first of all, the signal itself ends it.
        up.wait_with_output().await.unwrap();
        place.has_no_process().await;
    }
}
