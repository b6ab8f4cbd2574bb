//! Somebody who types what the documentation says, in a checkout that is built already, with ports of its own.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Stdio,
};

use acceptance::{
    Client, LIMIT,
    client::{WAIT, text},
    documents::Command,
    eventually, kill_group,
};
use local_stack::{Ports, built_binary, read_env, tool, workspace_root};
use regex::Regex;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout},
    time::timeout,
};

/// What the shell prints between the output of a command and its exit code.
const MARKER: u8 = 0x1e;
/// What the last lines of both `up` and `demo` say.
const IT_STAYS: &str = "Ctrl-C stops it.";

pub(super) struct Reader {
    directory: TempDir,
    ports: Ports,
    shell: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    has_stack: bool,
    /// What a section has the reader fill in, once there is a stack.
    filled_in: Vec<(&'static str, &'static str, String)>,
}

impl Reader {
    pub(super) async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("acceptance-").tempdir().unwrap();
        check_out(directory.path());
        let ports = Ports::free();
        let mut shell = tokio::process::Command::new("bash");
        for name in [
            "KEEP",
            "KUBE_CONTEXT",
            "NATS_NODES",
            "STACK_TOKEN",
            "STACK_TOKENS_FILE",
            "DISPLAY",
        ] {
            shell.env_remove(name);
        }
        let mut shell = shell
            .current_dir(directory.path())
            .env("STACK_PORT_BASE", ports.http.to_string())
            // Where it is without this, too; but what is linked to looks beside what it was built from.
            .env("STACK_DIR", directory.path().join(".stack"))
            .env("KUBECONFIG", directory.path().join("no-cluster"))
            .env("PATH", path_of(directory.path()))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reader = Self {
            directory,
            ports,
            input: shell.stdin.take().unwrap(),
            output: BufReader::new(shell.stdout.take().unwrap()),
            shell,
            has_stack: false,
            filled_in: Vec::new(),
        };
        reader.run("exec 2>&1; set -o pipefail").await;
        reader
    }

    /// Types the commands of a page, one after the other, and looks whether they end well and print what is shown there.
    pub(super) async fn follow(mut self, commands: &[Command]) {
        for command in commands {
            let typed = self.filled_in(command);
            if starts_what_stays(&typed) {
                self.end_stack().await;
                self.start_stack(&typed).await;
                continue;
            }
            // A page may take a running stack for granted.
            if !self.has_stack && !typed.contains("demo --once") {
                self.start_stack("bin/just up").await;
                self.fill_in().await;
            }
            let typed = self.filled_in(command);
            let (code, printed) = self.run(&typed).await;
            let place = &command.place;
            assert_eq!(code, "0", "{place}: {typed}\n{printed}\n{}", self.log());
            let mut lines = printed.lines();
            for shown in &command.shown {
                let pattern = pattern(shown);
                assert!(
                    lines.any(|line| pattern.is_match(line)),
                    "{place}: {typed}\nshows {shown:?}, and printed\n{printed}"
                );
            }
        }
        self.end_stack().await;
    }

    /// The command for this reader: its own ports and temporary files, and what the section has filled in.
    fn filled_in(&self, command: &Command) -> String {
        let scratch = self.directory.path().join("tmp");
        let mut text = command
            .text
            .replace("localhost:8081", &format!("localhost:{}", self.ports.http))
            .replace(
                "localhost:9081",
                &format!("localhost:{}", self.ports.invoice_app_admin),
            )
            .replace("/tmp/", &format!("{}/", scratch.display()));
        for (section, placeholder, value) in &self.filled_in {
            if command.section == *section {
                let word = Regex::new(&format!(r"\b{placeholder}\b")).unwrap();
                text = word.replace_all(&text, value.as_str()).into_owned();
            }
        }
        text
    }

    /// Its exit code and what it printed.
    async fn run(&mut self, command: &str) -> (String, String) {
        let line = format!("{{ {command}\n}} </dev/null; printf '\\036%s\\n' $?\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        let (mut printed, mut code) = (Vec::new(), String::new());
        let answer = timeout(LIMIT, async {
            self.output.read_until(MARKER, &mut printed).await.unwrap();
            self.output.read_line(&mut code).await.unwrap();
        });
        answer.await.unwrap_or_else(|_| panic!("{command} does not end"));
        let printed = String::from_utf8_lossy(&printed);
        (
            code.trim().to_owned(),
            printed.trim_end_matches('\u{1e}').to_owned(),
        )
    }

    async fn start_stack(&mut self, command: &str) {
        let command = command.split(" #").next().unwrap_or_default().trim_end();
        // That of a former one says that it is up.
        self.run("rm -f stack.log").await;
        self.run(&format!("{command} >stack.log 2>&1 & stack=$!")).await;
        self.has_stack = true;
        let up = eventually("the stack is up", || async {
            let has_env = read_env(&self.directory.path().join(".stack")).is_ok();
            Ok(has_env && self.log().contains(IT_STAYS))
        });
        up.await
            .unwrap_or_else(|error| panic!("{command}: {error}\n{}", self.log()));
        self.run(". .stack/env").await;
    }

    /// As by Ctrl-C.
    async fn end_stack(&mut self) {
        if std::mem::take(&mut self.has_stack) {
            let (code, printed) = self.run("kill \"$stack\" && wait \"$stack\"").await;
            assert_eq!(code, "0", "{printed}\n{}", self.log());
        }
    }

    /// What the runbooks are about: a payment, and a message that nobody could handle.
    async fn fill_in(&mut self) {
        let client = Client::try_new(&format!("http://127.0.0.1:{}", self.ports.http)).unwrap();
        let id = client.create("12.15", "EUR").await.unwrap();
        let payment = client.pay(&id, WAIT).await.unwrap().expect(200).unwrap();
        let env = read_env(&self.directory.path().join(".stack")).unwrap();
        let (_, ledger) = env
            .iter()
            .find(|(name, _)| name == "PAYMENT_DATABASE_URL")
            .unwrap();
        let mut database = PgConnection::connect(ledger).await.unwrap();
        let letter: i64 = sqlx::query_scalar(
            "insert into dead_letters (subject, reason, stream_sequence, headers, body, digest)
             values ('pay.v1.request.eur', 'does not decode', 1, '', 'garbage', 'digest') returning id",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        self.filled_in = vec![
            (
                "A payment stays `pending`",
                "ID",
                text(&payment, "/id").to_owned(),
            ),
            ("Dead letters", "SERVICE", "payment-provider".to_owned()),
            ("Dead letters", "ID", letter.to_string()),
        ];
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("stack.log")).unwrap_or_default()
    }
}

/// Nothing of a failed test goes on running.
impl Drop for Reader {
    fn drop(&mut self) {
        kill_group(&self.shell);
    }
}

fn starts_what_stays(command: &str) -> bool {
    let command = command.split(" #").next().unwrap_or_default().trim_end();
    ["just up", "just demo"]
        .iter()
        .any(|recipe| command.ends_with(recipe))
}

/// A line as a page shows it: `…` stands for anything, and a number for any number.
fn pattern(shown: &str) -> Regex {
    let escaped = regex::escape(shown.trim()).replace('…', ".*");
    let numbers = Regex::new(r"\d+").unwrap();
    Regex::new(&format!("^{}$", numbers.replace_all(&escaped, r"\d+"))).unwrap()
}

/// This checkout, where nothing has to be built: what recipes run is what the tests run.
fn check_out(directory: &Path) {
    let root = workspace_root();
    for entry in fs::read_dir(&root).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if ![".git", ".stack", ".tools", "justfile", "target"].contains(&name.to_string_lossy().as_ref()) {
            symlink(entry.path(), directory.join(name)).unwrap();
        }
    }
    // just looks for its directories beside the file that it is given, wherever a link leads.
    fs::copy(root.join("justfile"), directory.join("justfile")).unwrap();
    for made in ["target", "tmp", ".tools/bin"] {
        fs::create_dir_all(directory.join(made)).unwrap();
    }
    let local_stack = built_binary("local-stack").unwrap();
    symlink(local_stack.parent().unwrap(), directory.join("target/release")).unwrap();

    let just = tool("just").unwrap();
    let tools = just.parent().unwrap();
    symlink(
        tools.parent().unwrap().join("packages"),
        directory.join(".tools/packages"),
    )
    .unwrap();
    for entry in fs::read_dir(tools).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "just" {
            symlink(entry.path(), directory.join(".tools/bin").join(entry.file_name())).unwrap();
        }
    }
    let just = format!(
        "case \"$*\" in *_release) exit ;; esac\nexec {} \"$@\"",
        just.display()
    );
    for (name, script) in [("just", just.as_str()), ("cargo", "[ \"$1\" = build ]")] {
        let path = directory.join(".tools/bin").join(name);
        fs::write(
            &path,
            format!("#!/bin/sh\n# What this would build is built.\n{script}\n"),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// `just` on the PATH works the same as `bin/just`.
fn path_of(directory: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}", directory.join(".tools/bin").display())
}
