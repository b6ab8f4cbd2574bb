//! `local-stack keys`: the keys and certificates of a stack, for a machine or a cluster.

use std::{path::Path, process::ExitCode};

use local_stack::{Keys, Result, User};

pub(crate) fn run(directory: &Path, dns: &[String]) -> Result<ExitCode> {
    let keys = Keys::generate(directory, dns)?;
    for user in User::ALL {
        println!(
            "{}  seed of the user {}",
            keys.seed_file(user).display(),
            user.as_str()
        );
    }
    println!(
        "{}  public keys of all users, for the server's environment",
        keys.public_keys_file().display()
    );
    println!(
        "{}  what clients trust (its key: {})",
        keys.ca_file().display(),
        keys.ca_key_file().display()
    );
    println!(
        "{}  the server's certificate (its key: {})",
        keys.server_certificate_file().display(),
        keys.server_key_file().display()
    );
    Ok(ExitCode::SUCCESS)
}
