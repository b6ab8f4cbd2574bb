//! Sends SIGHUP to nats-server when one of its files has changed, since it reads certificates at no other time.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};

/// Has nats-server take certificates that have been replaced.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where nats-server writes the number of its process.
    #[arg(long)]
    pid_file: PathBuf,
    /// How often to look.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Its certificate, key and authority.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn main() {
    let arguments = Arguments::parse();
    // A server that runs already may have read what stood there before this program looked.
    let mut loaded = if arguments.pid_file.exists() {
        None
    } else {
        fingerprint(&arguments.files).ok()
    };
    let mut said = String::new();
    loop {
        let outcome = step(&arguments, &mut loaded);
        // Once, and not every ten seconds.
        let words = outcome.err().unwrap_or_default();
        if !words.is_empty() && words != said {
            eprintln!("{words}");
        }
        said = words;
        thread::sleep(Duration::from_secs(arguments.every));
    }
}

/// Signals if the files are not those that the server has loaded. They count as loaded once it was signalled.
fn step(arguments: &Arguments, loaded: &mut Option<u64>) -> Result<(), String> {
    let now = fingerprint(&arguments.files)?;
    if *loaded == Some(now) {
        return Ok(());
    }
    let pid = signal(&arguments.pid_file)?;
    *loaded = Some(now);
    eprintln!("the certificate's files have changed: process {pid} reads them anew");
    Ok(())
}

/// Files are swapped as a whole directory, so this sees the old ones, the new ones, or, once, some of each, which is a change, too.
fn fingerprint(files: &[PathBuf]) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    for file in files {
        read(file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn signal(pid_file: &Path) -> Result<u32, String> {
    let text = String::from_utf8(read(pid_file)?).unwrap_or_default();
    let number: u32 = text
        .trim()
        .parse()
        .map_err(|_| format!("{} holds no number of a process", pid_file.display()))?;
    // Without the pod's processes in sight each container has a process 1, and this would be our own.
    if number == process::id() {
        return Err(
            "nats-server's processes are not in sight: the pod needs shareProcessNamespace".to_owned(),
        );
    }
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    let sent = pid
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| kill_process(pid, Signal::HUP));
    sent.map_err(|error| format!("process {number} could not be signalled: {error}"))?;
    Ok(number)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error: io::Error| format!("could not read {}: {error}", file.display()))
}
