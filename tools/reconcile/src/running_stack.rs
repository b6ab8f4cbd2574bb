//! Where the running local stack says its databases are: the file `env` that it writes for shells. Read here as a shell would,
//! not by the stack's own library: that one shows the verdict of this check, and so stands on it.

use std::{collections::HashMap, path::PathBuf};

use reconcile::{Error, Result};

/// What the file says, by variable.
pub(super) fn env() -> Result<HashMap<String, String>> {
    let file = directory()?.join("env");
    let text = std::fs::read_to_string(&file).map_err(|_| no_stack())?;
    let assignments = text.lines().filter_map(|line| line.split_once('='));
    Ok(assignments
        .map(|(name, word)| (name.to_owned(), unquoted(word)))
        .collect())
}

/// `STACK_DIR`, or `.stack` in the checkout: that of the running binary, or else of the working directory.
fn directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("STACK_DIR") {
        return Ok(directory.into());
    }
    let starts = [std::env::current_exe(), std::env::current_dir()];
    let checkout = starts.iter().flatten().find_map(|start| {
        let mut above = start.ancestors();
        above.find(|path| path.join("nats/nats-server.conf").is_file())
    });
    Ok(checkout.ok_or_else(no_stack)?.join(".stack"))
}

fn no_stack() -> Error {
    Error::new("no stack runs here: start one with `bin/just up` or `bin/just demo`, or name the databases")
}

/// A word in single quotes, as the stack writes each.
fn unquoted(word: &str) -> String {
    let inner = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.unwrap_or(word).replace(r"'\''", "'")
}
