//! `bin/just bench`, as small as it gets: that it measures, checks and tells; what it tells is no figure at this size.

use std::process::Stdio;

use acceptance::Result;
use local_stack::built_binary;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// In pairs that can be compared with each other.
const RATES: [&str; 9] = [
    "original",
    "limit.postgres",
    "limit.nats",
    "limit",
    "peer.skip_locked",
    "peer.skip_locked.100",
    "peer.pgmq",
    "pay_all",
    "pay_all / pgmq",
];
/// Of single payments: in an idle system's parts, alone and beside calls.
const WAITS: [&str; 4] = [
    "limit.single",
    "mixed.alone.p50",
    "mixed.call.p95",
    "mixed.slow_bank.p99",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_measures_and_compares_what_it_is_asked_for() -> Result<()> {
    let directory = TempDir::new()?;
    let (json, svg) = (
        directory.path().join("bench.json"),
        directory.path().join("bench.svg"),
    );
    let output = Command::new(built_binary("bench")?)
        .args([
            "--only=original,limit,peers,pay_all,mixed",
            "--quick",
            "--invoices=7500",
        ])
        .arg(format!("--json={}", json.display()))
        .arg(format!("--svg={}", svg.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let table = String::from_utf8_lossy(&output.stdout);
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}\n{trouble}");

    let picture = std::fs::read_to_string(&svg)?;
    assert!(picture.contains("one call pays all"), "{picture}");
    let told: Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    for figure in RATES.into_iter().chain(WAITS) {
        let median = told["figures"][figure]["median"].as_f64();
        assert!(median.is_some_and(|median| median > 0.0), "{figure}: {told}");
        assert!(
            table.lines().any(|line| line.starts_with(&format!("{figure} "))),
            "{table}"
        );
    }
    for process in [
        "invoice-app",
        "payment-provider",
        "nats-server",
        "postgres",
        "load",
    ] {
        let cost = &told["usage"]["pay_all"]["runs"][0]["processes"][process];
        assert!(cost["peak_bytes"].as_u64() > Some(1 << 20), "{process}: {cost}");
    }
    assert!(
        told["usage"]["pay_all"]["runs"][0]["wal_bytes"].as_u64() > Some(1500 * 500),
        "{told}"
    );
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        assert_eq!(told["settings"][format!("postgres.{setting}")], "on");
    }
    let judged: Vec<&str> = told["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|target| target["what"].as_str())
        .collect();
    for what in ["pay_all / limit", "a single beside a large call: p95, ms"] {
        assert!(judged.contains(&what), "{judged:?}");
    }
    assert!(
        !judged.iter().any(|what| what.starts_with("pay_each")),
        "{judged:?}"
    );
    Ok(())
}
