//! Finds the programs a stack is made of: the pinned tools that `bin/just` installed, and our own binaries.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The checkout: found upwards from the running binary, then from the working directory, then where this was built.
pub fn workspace_root() -> PathBuf {
    let built_at = Path::new(env!("CARGO_MANIFEST_DIR"));
    [
        std::env::current_exe().ok(),
        std::env::current_dir().ok(),
        Some(built_at.to_owned()),
    ]
    .into_iter()
    .flatten()
    .find_map(|start| {
        start
            .ancestors()
            .find(|path| path.join("nats/nats-server.conf").is_file())
            .map(Path::to_owned)
    })
    .unwrap_or_else(|| built_at.to_owned())
}

/// An installed tool: from `STACK_TOOLS_DIR`, or `.tools/bin` of the checkout.
pub fn tool(name: &str) -> Result<PathBuf> {
    let directory = std::env::var_os("STACK_TOOLS_DIR")
        .map_or_else(|| workspace_root().join(".tools/bin"), PathBuf::from);
    let path = directory.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing {
        name: name.to_owned(),
        path,
        hint: "run `bin/just --list` once, it installs the tools",
    })
}

/// One of our own binaries, of the same build profile as the running program.
pub fn built_binary(name: &str) -> Result<PathBuf> {
    let directory = std::env::var_os("STACK_BIN_DIR").map_or_else(profile_directory, PathBuf::from);
    let path = directory.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing {
        name: name.to_owned(),
        path,
        hint: "run `cargo build --workspace --bins` first",
    })
}

/// This crate's own binary, which every child starts through.
pub fn local_stack_binary() -> Result<PathBuf> {
    match std::env::current_exe() {
        Ok(path) if path.file_name().is_some_and(|name| name == "local-stack") => Ok(path),
        _ => built_binary("local-stack"),
    }
}

/// `target/<profile>`, also for a test binary, which lives in its `deps/`.
fn profile_directory() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let directory = exe.parent().unwrap_or(Path::new("."));
    if directory.ends_with("deps") || directory.ends_with("examples") {
        return directory.parent().unwrap_or(directory).to_owned();
    }
    directory.to_owned()
}
