//! A small process that removes a temporary directory when its owner is gone, however the owner went.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Error, Result, tools};

/// A directory that is removed when this is dropped, or when this process ends in any other way.
#[derive(Debug)]
pub(crate) struct GuardedDirectory {
    path: PathBuf,
    guard: Child,
}

impl GuardedDirectory {
    /// Makes a directory in the system's place for temporary files.
    pub(crate) fn try_new() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("local-stack-")
            .tempdir()
            .map_err(Error::file("make a directory in", std::env::temp_dir()))?;
        let guard = Command::new(tools::local_stack_binary()?)
            .arg("guard")
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn {
                name: "the guard of a temporary directory".to_owned(),
                source,
            })?;
        Ok(Self {
            path: directory.keep(),
            guard,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for GuardedDirectory {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Nothing is left to do for a guard that cannot be waited for.
        let _ = self.guard.wait();
    }
}

/// `local-stack guard DIRECTORY`: waits for the end of its standard input, then removes the directory.
pub fn run_guard(directory: &Path) {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    // A server that is just ending may still write a file while its directory is being removed.
    for _ in 0..50 {
        let _ = std::fs::remove_dir_all(directory);
        std::thread::sleep(Duration::from_millis(100));
        if !directory.exists() {
            return;
        }
    }
}
