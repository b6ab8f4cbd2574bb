//! The trampoline that every process of a stack starts through: it ties the child's life to ours, changes the user if
//! asked, and becomes the program. So nothing outlives the stack, not even when the stack is killed with -9.

use std::{ffi::OsString, io, os::unix::process::CommandExt, process::Command};

/// `local-stack child …`
#[derive(Clone, Debug, clap::Args)]
pub struct ChildArgs {
    /// The process that started us; when it is already gone, nothing is started.
    #[arg(long)]
    parent: u32,
    /// The signal to get when the parent dies.
    #[arg(long)]
    death_signal: i32,
    /// Run as this user.
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    /// Run as this group.
    #[arg(long, requires = "uid")]
    gid: Option<u32>,
    /// What to become.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Becomes the command. Returns only when that fails. Must be called while the process has one thread: user and death
/// signal belong to a thread, and `exec` keeps those of the calling one.
pub fn run_child(args: &ChildArgs) -> io::Error {
    let Err(error) = try_run_child(args);
    error
}

fn try_run_child(args: &ChildArgs) -> io::Result<std::convert::Infallible> {
    if let (Some(uid), Some(gid)) = (args.uid, args.gid) {
        become_user(uid, gid)?;
    }
    // After the change of user: that change clears it.
    tie_to_parent(args)?;
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no command to run"))?;
    Err(Command::new(program).args(arguments).exec())
}

#[cfg(target_os = "linux")]
fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (
        rustix::process::Uid::from_raw(uid),
        rustix::process::Gid::from_raw(gid),
    );
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn tie_to_parent(args: &ChildArgs) -> io::Result<()> {
    let signal = rustix::process::Signal::from_named_raw(args.death_signal)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such signal"))?;
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    // The parent may have died before the line above.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent == Some(args.parent) {
        Ok(())
    } else {
        Err(io::Error::other("the stack that started this process has ended"))
    }
}

#[cfg(not(target_os = "linux"))]
fn become_user(_uid: u32, _gid: u32) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "cannot change the user on this system; do not run as root",
    ))
}

/// Elsewhere nothing like it exists: there an orderly stop ends the children, and a kill -9 of the stack leaves them.
#[cfg(not(target_os = "linux"))]
fn tie_to_parent(_args: &ChildArgs) -> io::Result<()> {
    Ok(())
}
