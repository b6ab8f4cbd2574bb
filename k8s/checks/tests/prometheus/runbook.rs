//! Does what docs/operations.md says: the commands of a section, as they stand there.

use std::fs;

use acceptance::{System, cli};
use manifest_checks::workspace_root;

/// Runs the commands in the block of a section, in order, with words of it filled in, and answers with what all of them printed. `just`
/// would find the services by the environment of a person's stack; here they are run as it runs them.
pub(crate) async fn follow(system: &System, section: &str, filled_in: &[(&str, &str)]) -> String {
    let mut printed = String::new();
    let commands = commands(section);
    assert!(
        !commands.is_empty(),
        "{section:?} in docs/operations.md has no command"
    );
    for command in commands {
        let fill_in = |word| {
            let with = filled_in.iter().find(|(placeholder, _)| *placeholder == word);
            with.map_or(word, |(_, with)| *with)
        };
        let words: Vec<&str> = command.split_whitespace().map(fill_in).collect();
        let (invoice_app, payment_provider) =
            (system.stack().invoice_app(), system.stack().payment_provider());
        let (service, arguments) = match words.as_slice() {
            ["just", "dead-letters", "payment-provider", rest @ ..] => {
                (payment_provider, [&["dead-letters"], rest].concat())
            }
            ["just", "dead-letters", "invoice-app", rest @ ..] => {
                (invoice_app, [&["dead-letters"], rest].concat())
            }
            ["just", "ledger", ..] => (payment_provider, words[1..].to_vec()),
            ["just", "payments", ..] => (invoice_app, words[1..].to_vec()),
            _ => panic!("{section:?} in docs/operations.md says {command:?}, which nobody can run"),
        };
        printed += &cli::run_ok(service.options(), &arguments).await.unwrap();
    }
    printed
}

fn commands(section: &str) -> Vec<String> {
    let page = fs::read_to_string(workspace_root().join("docs/operations.md")).unwrap();
    let heading = format!("\n## {section}\n");
    let (_, text) = page
        .split_once(&heading)
        .unwrap_or_else(|| panic!("docs/operations.md has no {section:?}"));
    let text = text.split("\n## ").next().unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .map(str::to_owned)
        .collect()
}
