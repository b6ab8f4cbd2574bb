//! The API against its own document: schemathesis makes up calls from `/openapi.json`, wanted and unwanted ones, and sequences of
//! them, and compares every answer with what the document says.

use std::{path::Path, process::Stdio, time::Duration};

use acceptance::System;
use local_stack::{StackOptions, workspace_root};
use tokio::process::Command;

/// What it is to do is bounded by numbers of examples; this is for a machine that hangs.
const LIMIT: Duration = Duration::from_mins(9);

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_answer_that_the_document_does_not_describe() {
    let program = workspace_root().join(".tools/bin/schemathesis");
    if !program.exists() {
        eprintln!("skipped: schemathesis is not installed (`bin/install-tools http`)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens.toml");
    let (token, entry) = invoice_app::tokens::generate("schemathesis", &invoice_app::tokens::Scope::ALL);
    std::fs::write(&tokens, entry).unwrap();
    let with_tokens = |options: &mut StackOptions| options.tokens_file = Some(tokens.clone());
    let system = System::start_with(with_tokens).await.unwrap();

    // It keeps files where it runs.
    for file in ["schemathesis.toml", "hooks.py"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/schemathesis")
            .join(file);
        std::fs::copy(from, directory.path().join(file)).unwrap();
    }
    let url = system.stack().invoice_app().url();
    let running = Command::new(program)
        .args(["run", &format!("{url}/openapi.json"), "--no-color"])
        .current_dir(directory.path())
        .env("INVOICE_APP_URL", &url)
        .env("INVOICE_APP_TOKEN", token)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let seed = said.lines().find(|line| line.starts_with("Seed: "));
    eprintln!("schemathesis: {}", seed.unwrap_or("no seed"));
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("Stateful") && said.contains("Tested: 11"), "{said}");
}
