//! What a measurement cost: CPU seconds and peak memory by process, and what Postgres wrote ahead.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::proc;
use acceptance::Result;

/// Postgres has no peak of its own, being many processes, so it is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A process to be watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What the table calls it; several of one name are added up.
    pub name: &'static str,
    /// Its pid.
    pub pid: u32,
    /// With what it starts.
    pub with_children: bool,
}

/// What it came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Usage {
    /// How long it took.
    pub seconds: f64,
    /// CPU seconds and peak memory by process. `load` is the benchmark itself.
    pub processes: BTreeMap<&'static str, Cost>,
    /// CPU seconds of everything else on the machine: the kernel's own threads, and whoever disturbs.
    pub elsewhere_cpu_seconds: f64,
    /// Bytes of write-ahead log.
    pub wal_bytes: u64,
}

/// What one run of a measurement came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// Invoices a second.
    pub rate: f64,
    /// What that cost.
    pub usage: Usage,
}

/// What one process cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// CPU seconds, user and system.
    pub cpu_seconds: f64,
    /// The most memory it held at once.
    pub peak_bytes: u64,
}

/// A running measurement.
pub struct Meter {
    watched: Vec<Watched>,
    cpu_before: Vec<f64>,
    machine_before: f64,
    wal_before: u64,
    postgres: PgConnection,
    peak: PeakOfTree,
    began: Instant,
}

impl Meter {
    /// Starts to measure. `watched` holds Postgres, under that name, and never the benchmark itself, which comes along.
    pub async fn start(mut watched: Vec<Watched>, postgres_url: &str) -> Result<Self> {
        watched.push(Watched {
            name: "load",
            pid: std::process::id(),
            with_children: false,
        });
        let mut postgres = PgConnection::connect(postgres_url).await?;
        let tree = watched.iter().find(|watched| watched.with_children);
        let peak = PeakOfTree::watch(tree.map(|tree| tree.pid));
        for watched in &watched {
            // Where it is forbidden the peak is that since the start, which is only larger.
            let _ = proc::forget_peak(watched.pid);
        }
        Ok(Self {
            cpu_before: cpu(&watched)?,
            machine_before: proc::machine_cpu_seconds()?,
            wal_before: wal(&mut postgres).await?,
            watched,
            postgres,
            peak,
            began: Instant::now(),
        })
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends the measurement; `elapsed` is when what was measured ended.
    pub async fn stop(mut self, elapsed: Duration) -> Result<Usage> {
        let cpu_after = cpu(&self.watched)?;
        let machine = proc::machine_cpu_seconds()? - self.machine_before;
        let wal_bytes = wal(&mut self.postgres).await?.saturating_sub(self.wal_before);
        let tree_peak = self.peak.stop();
        let mut processes: BTreeMap<&'static str, Cost> = BTreeMap::new();
        for ((watched, before), after) in self.watched.iter().zip(&self.cpu_before).zip(cpu_after) {
            let cost = processes.entry(watched.name).or_default();
            cost.cpu_seconds += after - before;
            cost.peak_bytes += if watched.with_children {
                tree_peak
            } else {
                proc::memory(watched.pid)?.peak
            };
        }
        let ours: f64 = processes.values().map(|cost| cost.cpu_seconds).sum();
        Ok(Usage {
            seconds: elapsed.as_secs_f64(),
            processes,
            elsewhere_cpu_seconds: (machine - ours).max(0.0),
            wal_bytes,
        })
    }
}

fn cpu(watched: &[Watched]) -> Result<Vec<f64>> {
    let cpu = |watched: &Watched| proc::cpu_seconds(watched.pid, watched.with_children);
    watched.iter().map(cpu).collect()
}

async fn wal(postgres: &mut PgConnection) -> Result<u64> {
    let query = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    let bytes: i64 = sqlx::query_scalar(query).fetch_one(postgres).await?;
    Ok(bytes.unsigned_abs())
}

/// Looks at the memory of a process and its children now and then, on a thread of its own.
struct PeakOfTree {
    seen: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    looking: JoinHandle<()>,
}

impl PeakOfTree {
    fn watch(pid: Option<u32>) -> Self {
        let (seen, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (noted, over) = (Arc::clone(&seen), Arc::clone(&ended));
        let looking = std::thread::spawn(move || {
            while let Some(pid) = pid
                && !over.load(Ordering::Relaxed)
            {
                // A process that ends while it is looked at is seen the next time.
                if let Ok(now) = proc::tree_memory(pid) {
                    noted.fetch_max(now, Ordering::Relaxed);
                }
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        Self { seen, ended, looking }
    }

    fn stop(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.looking.thread().unpark();
        // It cannot panic.
        let _ = self.looking.join();
        self.seen.load(Ordering::Relaxed)
    }
}
