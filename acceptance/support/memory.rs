//! How much memory a process took at most.

use local_stack::Program;

use crate::{Error, Result};

/// The most that was ever resident of the running process, in bytes (`VmHWM`).
pub fn peak_memory(program: &Program) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let kib = kib.ok_or_else(|| Error::new(format!("{} tells no peak", program.spec().name)))?;
    Ok(kib * 1024)
}
