//! Does what docs/operations.md says: the commands of a section, as they stand there.

use acceptance::{System, cli, documents};

/// Runs the commands in the block of a section, in order, with words of it filled in, and answers with what all of them printed. `just`
/// would find the services by the environment of a person's stack; here they are run as it runs them.
pub(crate) async fn follow(system: &System, section: &str, filled_in: &[(&str, &str)]) -> String {
    let mut printed = String::new();
    let page = documents::page("docs/operations.md").unwrap();
    for command in page.commands_of(section).unwrap() {
        let fill_in = |word| {
            let with = filled_in.iter().find(|(placeholder, _)| *placeholder == word);
            with.map_or(word, |(_, with)| *with)
        };
        let words: Vec<&str> = command.text.split_whitespace().map(fill_in).collect();
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
            _ => panic!(
                "{section:?} in docs/operations.md says {:?}, which nobody can run",
                command.text
            ),
        };
        printed += &cli::run_ok(service.options(), &arguments).await.unwrap();
    }
    printed
}
