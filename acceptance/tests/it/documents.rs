//! The documentation tells the truth about its commands: those that can be run here are run, as they stand there, and the others at
//! least exist. So do the files, functions and tests that it names.

mod existing;
mod reader;

use std::{collections::BTreeSet, fs};

use acceptance::documents::{self, Mark, Page};
use local_stack::workspace_root;
use regex::Regex;

use self::{existing::Existing, reader::Reader};

/// In a block that is run, and what runs it.
const THIS_TEST: &str = "bin/just test";

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_documents_do_what_stands_there() {
    let mut pages = Vec::new();
    for page in documents::pages().unwrap() {
        let mut commands = page.commands(Mark::Run).unwrap();
        commands.retain(|command| !command.text.starts_with(THIS_TEST));
        if !commands.is_empty() {
            Reader::start().await.follow(&commands).await;
            pages.push(page.path);
        }
    }
    assert_eq!(
        pages,
        ["CONTRIBUTING.md", "README.md", "docs/operations.md"],
        "a page whose commands are no longer run"
    );
}

#[test]
fn every_block_says_what_becomes_of_its_commands() {
    let pages = documents::pages().unwrap();
    assert!(pages.len() > 15, "pages are missing: {pages:?}");
    let blocks = pages.iter().flat_map(Page::blocks);
    let wrong: Vec<String> = blocks
        .filter_map(|block| block.mark().err())
        .map(|error| error.to_string())
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_command_of_the_documents_exists() {
    let mut existing = Existing::look();
    let mut wrong = Vec::new();
    for page in documents::pages().unwrap() {
        for command in page.blocks().iter().flat_map(documents::Block::commands) {
            let refused = existing.refuse(&command.text);
            wrong.extend(refused.map(|why| format!("{}: {:?}: {why}", command.place, command.text)));
        }
        for span in page.code_spans() {
            let refused = existing.refuse(&span);
            wrong.extend(refused.map(|why| format!("{}: {span:?}: {why}", page.path)));
        }
    }
    // What alerts, scripts, configurations and messages tell people to run.
    let told = Regex::new(r"[`'](?:bin/)?just [^`'\n]+[`']|`(?:dead-letters|ledger|payments) [a-z][^`\n]*`")
        .unwrap();
    for command in told.find_iter(&existing::sources()) {
        let command = command.as_str().trim_matches(['`', '\'']);
        wrong.extend(existing.refuse(command).map(|why| format!("{command}: {why}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn commands_that_do_not_exist_are_told() {
    let mut existing = Existing::look();
    for wrong in [
        "just ledgr list",
        "bin/just ledger lists",
        "just ledger list --opn",
        "just dead-letters payment-providr list",
        "just dead-letters payment-provider lists",
        "A=b just chaos --minute 20",
        "just payments list --open | just ledger shw ID",
        "ledger resolve ID succeeded|declined --raeson TEXT",
        "target/release/invoice-app tokn",
        "export X=$(invoice-app token --nam me)",
        "reconcile --nobank",
        "local-stack key",
        "cargo test --package acceptance --test it crashs::",
        "bin/just test --package acceptance --test itt crashes::",
        ".ci/package",
    ] {
        assert!(existing.refuse(wrong).is_some(), "{wrong}");
    }
    for right in [
        "bin/just",
        "just ledger list --open   # those --without an end",
        "just ledger …",
        "just dead-letters SERVICE show ID",
        "dead-letters list|show|replay|discard",
        "ledger list [--open|--held]|show|resolve|release",
        "just chaos --pairs",
        "reconcile --no-bank",
        "X=$(target/release/invoice-app token --name me --scopes invoices:read)",
        "cargo test --package acceptance --test it crashes:: -- --nocapture",
        "bin/just test",
        "payment-provider",
        "sudo .ci/packages",
    ] {
        assert_eq!(existing.refuse(right), None, "{right}");
    }
}

/// A link leads to a file, and the functions in brackets behind it are in that file: ``[text](file.rs) (`one`, `two`)``.
#[test]
fn linked_files_exist_and_have_the_functions_named_behind_them() {
    let link = Regex::new(r#"(?:\]\(|src=")([^)#"\s]+)"#).unwrap();
    let behind = Regex::new(r"\]\(([^)\s]+\.rs)\)\s+\(((?:`\w+`,?\s*)+)\)").unwrap();
    let (mut functions, mut wrong) = (0, BTreeSet::new());
    for page in documents::pages().unwrap() {
        let path = workspace_root().join(&page.path);
        let folder = path.parent().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if !target.contains("://") && !folder.join(target).exists() {
                wrong.insert(format!("{}: there is no {target}", page.path));
            }
        }
        for found in behind.captures_iter(&text) {
            let source = fs::read_to_string(folder.join(&found[1])).unwrap_or_default();
            for name in found[2].split('`').skip(1).step_by(2) {
                functions += 1;
                let has = |start: &str| source.contains(&format!("fn {name}{start}"));
                if !has("(") && !has("<") {
                    wrong.insert(format!("{}: {} has no {name}", page.path, &found[1]));
                }
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
    assert!(functions > 30, "the README's walk is not found: {functions}");
}

/// What names a test in the documentation: a sentence. Some names of Postgres and of metrics are as long.
#[test]
fn tests_named_in_the_documents_exist() {
    let sources = existing::sources();
    let mut missing = BTreeSet::new();
    for page in documents::pages().unwrap() {
        for span in page.code_spans() {
            let name = span.rsplit("::").next().unwrap_or_default();
            let is_sentence = name.matches('_').count() >= 4
                && name
                    .chars()
                    .all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit());
            let is_told = [
                "invoice_app_",
                "payment_provider_",
                "nats_client_",
                "http_server_",
                "messaging_",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix));
            if is_sentence && !is_told && !sources.contains(&format!("fn {name}(")) {
                missing.insert(format!("{}: {name}", page.path));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
}
