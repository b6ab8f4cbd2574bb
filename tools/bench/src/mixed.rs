//! `mixed`: single payments as people ask for them, few and at a constant rate, beside nothing, beside one large call, and
//! beside a call over whose payments the bank takes its time. What they wait more is what large calls and a slow bank cost
//! everybody else.

use std::{
    iter,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    pay_all::wait_until_paid,
    pay_each::open_loop::{self, Measured},
    results::Results,
    statistics::{milliseconds, percentile, rate},
    testbed::{Testbed, amount},
    usage::Usage,
};
use acceptance::{Client, Result, client::NO_WAIT};

/// Single payments a second: a few people at their screens. So few do not wait for each other.
const RATE: u32 = 20;
/// Of everything that a call pays; the single payments are in another, so that the call leaves them alone.
const CALLED: &str = "EUR";
const SINGLE: &str = "DKK";
/// The simulated bank takes 2 s over it, as long as 512 such payments at a time do.
const SLOW: &str = "4000.03";
/// Single payments come for so long before the call, so that the moment of the call is among what they meet.
const BEFORE: Duration = Duration::from_secs(1);
/// What a single payment has waited at least that was not settled within its call.
const GAVE_UP: Duration = Duration::from_secs(30);

/// A call beside which single payments are made.
struct Call {
    name: &'static str,
    invoices: u32,
    value: fn(u32) -> String,
    /// Any machine pays so many of them a second: single payments are at hand for as long as that.
    at_least: u32,
}

/// Measures single payments for `seconds`, then beside a call for `large`, and beside one for `slow` that the bank is slow
/// for. Tells how many payments succeeded at least.
pub async fn measure(
    testbed: &Testbed,
    (seconds, large, slow): (u32, u32, u32),
    results: &mut Results,
) -> Result<u64> {
    let ids = singles(testbed, "mixed.alone", RATE * seconds).await?;
    testbed.settle_databases().await?;
    let alone = open_loop::run(&testbed.wires(), ids, RATE.into(), &CancellationToken::new()).await?;
    note("mixed.alone", &alone, results);
    let mut succeeded = alone.succeeded;
    for call in [
        Call {
            name: "mixed.call",
            invoices: large,
            value: amount,
            at_least: 1000,
        },
        Call {
            name: "mixed.slow_bank",
            invoices: slow,
            value: |_| SLOW.to_owned(),
            at_least: 100,
        },
    ] {
        succeeded += beside(testbed, &call, results).await?;
    }
    Ok(succeeded)
}

/// Single payments from a moment before the call until the last of what it pays is settled.
async fn beside(testbed: &Testbed, call: &Call, results: &mut Results) -> Result<u64> {
    let prefix = format!("{}-", call.name);
    testbed
        .import_of(&prefix, call.invoices, |n| ((call.value)(n), CALLED))
        .await?;
    let ids = singles(testbed, call.name, RATE * (10 + call.invoices / call.at_least)).await?;
    testbed.settle_databases().await?;
    let (client, wires, over) = (testbed.client()?, testbed.wires(), CancellationToken::new());
    let meter = testbed.meter().await?;
    let paying = async {
        let took = pay(&client, call.invoices).await;
        over.cancel();
        took
    };
    let (load, took) = tokio::join!(open_loop::run(&wires, ids, RATE.into(), &over), paying);
    let elapsed = meter.elapsed();
    let usage: Usage = meter.stop(elapsed).await?;
    let (load, took) = (load?, took?);
    testbed.wait_until_settled().await?;
    let (called, settled) = (u64::from(call.invoices), u64::try_from(load.latencies.len())?);
    results.note(call.name, "invoices/s", rate(called, took));
    let beside = format!("{}.singles", call.name);
    results.note(&beside, "payments/s", rate(settled, took + BEFORE));
    note(call.name, &load, results);
    results.note_usage(call.name, called + settled, usage);
    Ok(called + load.succeeded)
}

/// Invoices to be paid one by one; their ids.
async fn singles(testbed: &Testbed, name: &str, invoices: u32) -> Result<Vec<String>> {
    let prefix = format!("{name}.single-");
    testbed
        .import_of(&prefix, invoices, |n| (amount(n), SINGLE))
        .await?;
    testbed.unpaid(&prefix).await
}

/// Answers with how long it took until the last was settled.
async fn pay(client: &Client, invoices: u32) -> Result<Duration> {
    tokio::time::sleep(BEFORE).await;
    let began = Instant::now();
    let called = client
        .post("/invoices/pay", NO_WAIT, &json!({"currency": CALLED}))
        .await?;
    let called = called.expect(202)?;
    wait_until_paid(client, &called, invoices).await?;
    Ok(began.elapsed())
}

fn note(name: &str, load: &Measured, results: &mut Results) {
    let waits = waits(load);
    for (figure, per_mille) in [("p50", 500), ("p95", 950), ("p99", 990)] {
        let wait = percentile(&waits, per_mille).map_or(f64::NAN, milliseconds);
        results.note(&format!("{name}.{figure}"), "ms", wait);
    }
    if !load.failed.is_empty() {
        results.details.insert(name.to_owned(), json!(load.failed));
    }
}

/// Sorted. Whoever got no answer counts among those who waited longest, and not among those who were never there.
fn waits(load: &Measured) -> Vec<Duration> {
    let failed = load
        .failed
        .values()
        .flat_map(|calls| iter::repeat_n(GAVE_UP, usize::try_from(*calls).unwrap_or(usize::MAX)));
    let mut waits: Vec<Duration> = load.latencies.iter().copied().chain(failed).collect();
    waits.sort_unstable();
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_not_answered_has_waited_longest() {
        let mut load = Measured {
            latencies: vec![Duration::from_millis(5); 97],
            ..Measured::default()
        };
        load.failed.insert("202 requested".to_owned(), 3);
        let mut results = Results::default();
        note("mixed.call", &load, &mut results);
        assert_eq!(results.median("mixed.call.p50"), Some(5.0));
        assert_eq!(results.median("mixed.call.p95"), Some(5.0));
        assert_eq!(results.median("mixed.call.p99"), Some(30_000.0));
        assert!(results.details.contains_key("mixed.call"));
    }
}
