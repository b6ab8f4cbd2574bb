//! What the kernel says about processes: their CPU time, memory and children, and how busy the machine is.

use std::{collections::BTreeMap, fs, path::Path};

use acceptance::{Error, Result};

/// Linux reports times to programs in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_SECOND: u32 = 100;

/// One process's line of `/proc/PID/stat`, as far as it is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Who started it.
    pub parent: u32,
    /// Ticks it ran.
    pub own: u64,
    /// Ticks that its children ran which have ended since.
    pub ended_children: u64,
}

/// What a process holds of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that was resident since the start or the last [`forget_peak`].
    pub peak: u64,
    /// Of what is resident: its own alone.
    pub anonymous: u64,
    /// Of what is resident: shared with others, like Postgres's buffers.
    pub shared: u64,
}

/// CPU seconds of a process, or of it and everything it ever started.
pub fn cpu_seconds(pid: u32, with_children: bool) -> Result<f64> {
    if !with_children {
        return Ok(seconds(stat(pid)?.own));
    }
    Ok(seconds(tree_ticks(stat(pid)?, children(pid)?.values())))
}

/// A child that ends moves from the living to what its parent counts, so that nothing is lost.
fn tree_ticks<'a>(parent: Stat, living: impl Iterator<Item = &'a Stat>) -> u64 {
    parent.own + parent.ended_children + living.map(|child| child.own).sum::<u64>()
}

/// Busy CPU seconds of the whole machine since it started.
pub fn machine_cpu_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    busy_ticks(&text)
        .map(seconds)
        .ok_or_else(|| Error::new("/proc/stat is unreadable"))
}

/// What a process holds of memory.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    Ok(parse_status(&fs::read_to_string(path)?))
}

/// Memory of a process and its children together: what each has alone, and once what they share.
pub fn tree_memory(pid: u32) -> Result<u64> {
    let mut all = vec![memory(pid)?];
    // A child may end while it is looked at.
    all.extend(children(pid)?.keys().filter_map(|child| memory(*child).ok()));
    let alone: u64 = all.iter().map(|memory| memory.anonymous).sum();
    let shared = all.iter().map(|memory| memory.shared).max();
    Ok(alone + shared.unwrap_or_default())
}

/// Makes the kernel measure the peak from here on.
pub fn forget_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn stat(pid: u32) -> Result<Stat> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| Error::from(error).during(&path))?;
    parse_stat(&text).ok_or_else(|| Error::new(format!("{path} is unreadable")))
}

/// The running children of a process, and theirs no further: Postgres has one generation.
fn children(pid: u32) -> Result<BTreeMap<u32, Stat>> {
    let mut children = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = read_stat(&entry.path())
            && stat.parent == pid
        {
            children.insert(child, stat);
        }
    }
    Ok(children)
}

/// `None` when it has ended since.
fn read_stat(process: &Path) -> Option<Stat> {
    parse_stat(&fs::read_to_string(process.join("stat")).ok()?)
}

/// The name in parentheses may hold spaces and parentheses: fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        ended_children: ticks(13)? + ticks(14)?,
    })
}

/// Everything but idle and waiting for disks; time lost to other machines on the same host counts as busy.
fn busy_ticks(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    [0, 1, 2, 5, 6, 7].iter().map(|place| fields.get(*place)).sum()
}

fn parse_status(text: &str) -> Memory {
    let bytes = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    Memory {
        resident: bytes("VmRSS"),
        peak: bytes("VmHWM"),
        anonymous: bytes("RssAnon"),
        shared: bytes("RssShmem"),
    }
}

fn seconds(ticks: u64) -> f64 {
    super::statistics::number(ticks) / f64::from(TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let line = "77 (a) (b c) S 12 77 77 0 -1 4194560 1 2 3 4 100 20 7 3 20 0 1 0 55 1 2";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.own, stat.ended_children), (12, 120, 10));
        assert_eq!(parse_stat("77 (short) S 12"), None);
    }

    #[test]
    fn waiting_is_not_being_busy() {
        let text = "cpu  10 1 5 1000 500 2 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(text), Some(10 + 1 + 5 + 2 + 3 + 4));
        assert_eq!(busy_ticks("intr 1 2"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let text = "Name:\tx\nVmHWM:\t  200 kB\nVmRSS:\t  100 kB\nRssAnon:\t 60 kB\nRssFile:\t 30 kB\nRssShmem:\t 10 kB\n";
        let memory = parse_status(text);
        assert_eq!((memory.resident, memory.peak), (102_400, 204_800));
        assert_eq!((memory.anonymous, memory.shared), (61_440, 10_240));
    }

    #[test]
    fn children_count_while_they_live_and_when_they_have_ended() {
        let stat = |own, ended_children| Stat {
            parent: 1,
            own,
            ended_children,
        };
        let before = tree_ticks(stat(5, 0), [stat(3, 0), stat(4, 0)].iter());
        assert_eq!(before, 12);
        assert_eq!(tree_ticks(stat(5, 4), [stat(3, 0)].iter()), before);
    }
}
