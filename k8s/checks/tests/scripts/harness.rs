//! Runs a script with the stand-ins of `tools/` in the place of kubectl, docker and local-stack.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
};

use k8s_checks::{kubectl, workspace_root};

/// They all write to `target/deploy`.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How a script ended, what it said, and what it asked kubectl and docker for.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) asked: String,
}

pub(crate) fn run(script: &str, settings: &[(&str, &str)]) -> Ran {
    run_with(script, &[], settings)
}

/// Runs a script of `k8s/scripts`.
pub(crate) fn run_with(script: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
    run_program(
        &workspace_root().join("k8s/scripts").join(script),
        arguments,
        settings,
    )
}

/// Runs recipes of the justfile.
pub(crate) fn just(arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
    run_program(&workspace_root().join("bin/just"), arguments, settings)
}

fn run_program(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let log = tempfile::NamedTempFile::new().unwrap();
    let tools = workspace_root().join("k8s/checks/tests/scripts/tools");
    let path = format!("{}:{}", tools.display(), env::var("PATH").unwrap());
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path);
    for setting in [
        "KUBE_CONTEXT",
        "OVERLAY",
        "NATS_IMAGE",
        "POSTGRES_IMAGE",
        "TAG",
        "PREFIX",
        "STORAGE",
        "IMAGE_LOAD_CMD",
        "BINARIES",
        "ENGINE",
        "TIMEOUT",
    ] {
        command.env_remove(setting);
    }
    command
        .env("TOOLS", &tools)
        .env("REAL_KUBECTL", kubectl())
        .env("FAKE_LOG", log.path())
        .env("LOCAL_STACK", tools.join("local-stack"))
        .env("PATIENCE", "0")
        // The local overlay's Postgres is not asked about TLS.
        .env("POSTGRES_TLS", "on")
        .envs(settings.iter().copied());
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        said: String::from_utf8(output.stderr).unwrap(),
        asked: fs::read_to_string(log.path()).unwrap(),
    }
}

/// An API in which every invoice is paid; where it is.
pub(crate) fn paid_invoices() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let body = r#"{"id":"0198c0de-0000","number":"I1","status":"paid","paid_at":"2026-01-01T00:00:00Z"}"#;
        for mut call in listener.incoming().flatten() {
            // The request is not of interest, but closing before it is read would reset the connection.
            let _ = call.read(&mut [0; 4096]);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close",
                body.len()
            );
            let _ = call.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        }
    });
    url
}
