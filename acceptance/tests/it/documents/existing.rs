//! What commands there are: the recipes of the justfile, and what the programs say of themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use local_stack::{built_binary, tool, workspace_root};

/// Programs of ours.
const PROGRAMS: [&str; 8] = [
    "bank-simulator",
    "bench",
    "chaos",
    "invoice-app",
    "local-stack",
    "payment-provider",
    "probe",
    "reconcile",
];
/// Recipes that hand their arguments to a program of ours, as these commands of it.
const BEHIND: [(&str, &str, &[&str]); 8] = [
    ("bench", "bench", &[]),
    ("chaos", "chaos", &[]),
    ("demo", "local-stack", &["demo"]),
    ("keys", "local-stack", &["keys"]),
    ("ledger", "payment-provider", &["ledger"]),
    ("payments", "invoice-app", &["payments"]),
    ("reconcile", "reconcile", &[]),
    ("dead-letters", "payment-provider", &["dead-letters"]),
];
/// Commands of `local-stack` that are for itself, and that `--help` is silent about.
const HIDDEN: [&str; 2] = ["child", "guard"];
/// Where programs and files of the repository are, as the documentation writes them.
const DIRECTORIES: [&str; 5] = [".ci/", "bin/", "k8s/", "nats/", "tools/"];

type Found = Result<(), String>;

/// What there is.
pub(super) struct Existing {
    recipes: BTreeSet<String>,
    said: BTreeMap<Vec<String>, String>,
}

impl Existing {
    pub(super) fn look() -> Self {
        let recipes = just(&["--summary"]);
        Self {
            recipes: recipes.split_whitespace().map(str::to_owned).collect(),
            said: BTreeMap::new(),
        }
    }

    /// What a line for a shell names that does not exist, if anything.
    pub(super) fn refuse(&mut self, line: &str) -> Option<String> {
        simple_commands(line)
            .iter()
            .find_map(|words| self.command(words).err())
    }

    fn command(&mut self, words: &[&str]) -> Found {
        let Some((&first, rest)) = words.split_first() else {
            return Ok(());
        };
        let program = ["bin/", "target/release/", "target/debug/"]
            .iter()
            .find_map(|directory| first.strip_prefix(directory))
            .unwrap_or(first);
        match (program, rest) {
            ("just", _) => self.recipe(rest),
            ("cargo", ["test", rest @ ..]) => tests(rest),
            ("ledger" | "dead-letters", [_, ..]) => self.program("payment-provider", words, ""),
            ("payments", [_, ..]) => self.program("invoice-app", words, ""),
            (program, [_, ..]) if PROGRAMS.contains(&program) => self.program(program, rest, ""),
            _ => file(first),
        }
    }

    fn recipe(&mut self, words: &[&str]) -> Found {
        let Some((&name, rest)) = words.split_first().filter(|(name, _)| !stands_for_another(name)) else {
            return Ok(());
        };
        if !self.recipes.contains(name) {
            return Err(format!("there is no recipe {name}"));
        }
        if ["test", "test-ignored"].contains(&name) {
            return tests(rest);
        }
        let Some((_, program, commands)) = BEHIND.iter().find(|(recipe, ..)| *recipe == name) else {
            return Ok(());
        };
        let rest = match (name, rest) {
            ("dead-letters", [service, rest @ ..]) => {
                if !stands_for_another(service) && !["invoice-app", "payment-provider"].contains(service) {
                    return Err(format!("there is no service {service}"));
                }
                rest
            }
            _ => rest,
        };
        // Some flags are the recipe's own.
        let recipe = just(&["--show", name]);
        self.program(program, &[commands, rest].concat(), &recipe)
    }

    /// Follows the commands of a program down, by what it says of each.
    fn program(&mut self, program: &str, words: &[&str], known: &str) -> Found {
        let mut path = vec![program.to_owned()];
        let mut help = self.help(&path);
        let mut known = format!("{known}\n{help}");
        for word in words {
            let alternatives: Vec<&str> = word
                .split('|')
                .map(|word| word.trim_matches(['[', ']', '"', '\'']))
                .collect();
            let commands = commands_in(&help);
            let mut next = Vec::new();
            for alternative in alternatives {
                if alternative == "--" {
                    return Ok(());
                } else if let Some(flag) = alternative.strip_prefix("--") {
                    let flag = flag.split('=').next().unwrap_or_default();
                    if !names(&known).any(|name| name.strip_prefix("--") == Some(flag)) {
                        return Err(format!("{} has no --{flag}", path.join(" ")));
                    }
                } else if !commands.is_empty() && !stands_for_another(alternative) {
                    if !commands.contains(alternative) && !HIDDEN.contains(&alternative) {
                        return Err(format!("{} has no {alternative}", path.join(" ")));
                    }
                    next.push(alternative.to_owned());
                }
            }
            for command in &next {
                let of_this = self.help(&[path.as_slice(), std::slice::from_ref(command)].concat());
                known += &of_this;
                help = of_this;
            }
            if let [command] = next.as_slice() {
                path.push(command.clone());
            } else if !next.is_empty() {
                // What follows is of any of them.
                help.clear();
            }
        }
        Ok(())
    }

    fn help(&mut self, path: &[String]) -> String {
        let said = self.said.entry(path.to_vec()).or_insert_with(|| {
            let mut command = Command::new(built_binary(&path[0]).unwrap());
            printed(command.args(&path[1..]).arg("--help"))
        });
        said.clone()
    }
}

/// A line cut where one command ends and another begins, each in words, without what is assigned before it.
fn simple_commands(line: &str) -> Vec<Vec<&str>> {
    line.split(['\n', ';'])
        .filter_map(|line| line.split(" #").next())
        .flat_map(|line| line.split(" | "))
        .flat_map(|line| line.split("&&"))
        .flat_map(|line| line.split("$("))
        .map(|command| {
            command
                .split_whitespace()
                .map(|word| word.trim_end_matches([')', ',']))
                .filter(|word| !["|", "\\", ""].contains(word))
                .skip_while(|word| is_assignment(word) || ["export", "exec", "sudo", "env"].contains(word))
                .collect()
        })
        .collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit())
    })
}

/// `ID`, `<payment_id>`, `…`: what the reader puts something else in place of.
fn stands_for_another(word: &str) -> bool {
    !word.starts_with(|c: char| c.is_ascii_lowercase())
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
}

/// The list of commands in what `--help` prints.
fn commands_in(help: &str) -> BTreeSet<&str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

/// `--package P --test T FILTER::`: the file that the filter means.
fn tests(words: &[&str]) -> Found {
    let value_of = |flag| {
        let mut pairs = words.windows(2);
        pairs.find_map(|pair| (pair[0] == flag).then_some(pair[1]))
    };
    let (Some(package), Some(test)) = (value_of("--package"), value_of("--test")) else {
        return Ok(());
    };
    let suite = workspace_root().join(package).join("tests").join(test);
    let filters = words.iter().filter_map(|word| word.strip_suffix("::"));
    let mut files = filters.map(|filter| suite.join(filter.replace("::", "/")).with_extension("rs"));
    match files.find(|file| !file.is_file()) {
        Some(missing) => Err(format!("there is no {}", missing.display())),
        None if suite.is_dir() || suite.with_extension("rs").is_file() => Ok(()),
        None => Err(format!("{package} has no tests {test}")),
    }
}

fn file(word: &str) -> Found {
    let is_path = DIRECTORIES.iter().any(|directory| word.starts_with(directory))
        && !word.contains(['*', '<', '{', '…']);
    if !is_path || workspace_root().join(word).exists() {
        return Ok(());
    }
    Err(format!("there is no {word}"))
}

fn just(arguments: &[&str]) -> String {
    let mut just = Command::new(tool("just").unwrap());
    printed(
        just.arg("--justfile")
            .arg(workspace_root().join("justfile"))
            .args(arguments),
    )
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All that we wrote but the documentation.
pub(super) fn sources() -> String {
    let mut text = String::new();
    read_sources(&workspace_root(), &mut text);
    text
}

fn read_sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            read_sources(&path, text);
        } else if let Some("just" | "rs" | "sh" | "toml" | "yaml") =
            path.extension().and_then(|it| it.to_str())
        {
            *text += &fs::read_to_string(path).unwrap();
        }
    }
}
