//! The `env` file of a running stack: what a shell, a test or a person needs to reach it.

use std::{fmt::Write as _, io::Write as _, path::Path};

use crate::{Error, Result};

/// Writes the file by rename, so that a reader never sees half of it.
pub fn write_env(directory: &Path, values: &[(&'static str, String)]) -> Result<()> {
    let path = directory.join("env");
    let mut text = String::new();
    for (name, value) in values {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}={}", quoted(value));
    }
    let mut file =
        tempfile::NamedTempFile::new_in(directory).map_err(Error::file("make a file in", directory))?;
    file.write_all(text.as_bytes())
        .map_err(Error::file("write", &path))?;
    file.persist(&path).map_err(|error| Error::File {
        action: "write",
        path,
        source: error.error,
    })?;
    Ok(())
}

/// Reads the file of a running stack.
pub fn read_env(directory: &Path) -> Result<Vec<(String, String)>> {
    let path = directory.join("env");
    let text = std::fs::read_to_string(&path).map_err(|_| Error::Directory {
        path: directory.to_owned(),
        problem: "holds no running stack: start one with `bin/just up` or `bin/just demo`".to_owned(),
    })?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), unquoted(value)))
        .collect())
}

fn unquoted(word: &str) -> String {
    let inner = word.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.unwrap_or(word).replace(r"'\''", "'")
}

/// As one word of a shell, whatever it holds.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The same for a path, left as it is where the shell takes it so.
pub fn quoted_path(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        quoted(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_values_are_read_back_even_with_quotes() {
        let directory = tempfile::tempdir().unwrap();
        write_env(
            directory.path(),
            &[("A", "it's a 'path'".to_owned()), ("B", "1=2".to_owned())],
        )
        .unwrap();
        let values = read_env(directory.path()).unwrap();
        assert_eq!(
            values,
            [
                ("A".to_owned(), "it's a 'path'".to_owned()),
                ("B".to_owned(), "1=2".to_owned())
            ]
        );
    }

    #[test]
    fn a_path_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted_path(Path::new("/srv/a-1/ca.crt")), "/srv/a-1/ca.crt");
        assert_eq!(quoted_path(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
