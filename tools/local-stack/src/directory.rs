//! The state directory of a stack: ours alone, and emptied only when it certainly is ours.

use std::{
    fs::{File, OpenOptions, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Its presence says that everything beside it may be deleted. It is also what a running stack locks.
const MARKER: &str = ".local-stack";

/// A state directory, locked for as long as this lives.
#[derive(Debug)]
pub struct StackDirectory {
    path: PathBuf,
    _lock: File,
}

impl StackDirectory {
    /// Makes the directory, or takes an earlier stack's; empties it unless `keep`.
    pub fn try_new(path: &Path, keep: bool) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::file("make the directory", path))?;
        let path = path.canonicalize().map_err(Error::file("find", path))?;
        let marker = path.join(MARKER);
        let entries = || std::fs::read_dir(&path).map_err(Error::file("list", &path));
        if !marker.exists() && entries()?.next().is_some() {
            return Err(Error::Directory {
                path,
                problem:
                    "is not empty and was not made by a stack: empty it yourself, or choose another STACK_DIR"
                        .to_owned(),
            });
        }
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&marker)
            .map_err(Error::file("open", &marker))?;
        if lock.try_lock().is_err() {
            return Err(Error::Directory {
                path,
                problem: "is used by a running stack: stop that one, or choose another STACK_DIR".to_owned(),
            });
        }
        if !keep {
            for entry in entries()?.filter_map(std::result::Result::ok) {
                if entry.file_name() != MARKER {
                    remove(&entry.path())?;
                }
            }
        }
        // What an earlier stack wrote here is no longer true, even when its data is kept.
        let _ = std::fs::remove_file(path.join("env"));
        let logs = path.join("logs");
        std::fs::create_dir_all(&logs).map_err(Error::file("make the directory", logs))?;
        Ok(Self { path, _lock: lock })
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a process of the stack logs.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }
}

/// Lets every user pass, but not list.
pub(crate) fn open_to_all(path: &Path) -> Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(0o711))
        .map_err(Error::file("change the permissions of", path))
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    removed.map_err(Error::file("remove", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_foreign_files_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let foreign = directory.path().join("thesis.txt");
        std::fs::write(&foreign, "years of work").unwrap();
        let error = StackDirectory::try_new(directory.path(), false).unwrap_err();
        assert!(error.to_string().contains("was not made by a stack"), "{error}");
        assert_eq!(std::fs::read_to_string(foreign).unwrap(), "years of work");
    }

    #[test]
    fn an_own_directory_is_emptied_unless_kept() {
        let directory = tempfile::tempdir().unwrap();
        let old = directory.path().join("old");
        drop(StackDirectory::try_new(directory.path(), false).unwrap());
        std::fs::write(&old, "x").unwrap();
        drop(StackDirectory::try_new(directory.path(), true).unwrap());
        assert!(old.exists());
        drop(StackDirectory::try_new(directory.path(), false).unwrap());
        assert!(!old.exists());
    }

    #[test]
    fn a_directory_serves_one_stack_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let _first = StackDirectory::try_new(directory.path(), false).unwrap();
        let error = StackDirectory::try_new(directory.path(), false).unwrap_err();
        assert!(error.to_string().contains("running stack"), "{error}");
    }
}
