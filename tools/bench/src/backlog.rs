//! `backlog`: everything is asked for at once, many times what is in flight at any moment: it must be worked off at an even
//! rate, and nothing of it may be taken for lost and sent again.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    results::Results,
    statistics::{number, rate},
    testbed::Testbed,
};
use acceptance::{
    Error, Result,
    client::{NO_WAIT, count, text},
    system,
};

/// How often the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Without any progress for this long it is stuck.
const STUCK: Duration = Duration::from_mins(2);

/// Imports and pays `invoices` by one call.
pub async fn measure(testbed: &Testbed, invoices: u32, results: &mut Results) -> Result<()> {
    testbed.import("B", invoices).await?;
    testbed.settle_databases().await?;
    let client = testbed.client()?;
    let meter = testbed.meter().await?;
    let batch = client.pay_all(NO_WAIT).await?.expect(202)?;
    if count(&batch, "/requested") != u64::from(invoices) {
        return Err(Error::new(format!("not all invoices were asked for: {batch}")));
    }
    let progress = watch(testbed, u64::from(invoices)).await;
    let elapsed = meter.elapsed();
    results.note_usage("backlog", u64::from(invoices), meter.stop(elapsed).await?);
    let progress = progress?;
    testbed.wait_until_settled().await?;
    let settled = client.batch(text(&batch, "/batch_id")).await?;
    if count(&settled, "/paid") != u64::from(invoices) {
        return Err(Error::new(format!(
            "{invoices} invoices should be paid: {settled}"
        )));
    }
    let invoice_database = testbed.stack().invoice_database_url();
    let twice = system::count(&invoice_database, "select count(*) from payments where sends > 1").await?;
    testbed.expect_succeeded(usize::try_from(invoices)?).await?;
    results.note("backlog", "invoices/s", rate(u64::from(invoices), elapsed));
    results.note("backlog.sent_twice", "requests", number(twice));
    if let Some(evenness) = evenness(&progress) {
        results.note("backlog.last_third", "of the first third's rate", evenness);
    }
    let seconds: Vec<_> = progress
        .iter()
        .map(|(at, paid)| json!([at.as_secs_f64(), paid]))
        .collect();
    results.details.insert("backlog".to_owned(), json!(seconds));
    Ok(())
}

/// How many were settled by when, by invoice-app's own counter, until all are.
async fn watch(testbed: &Testbed, invoices: u64) -> Result<Vec<(Duration, u64)>> {
    let http = local_stack::http_client(STUCK)?;
    let metrics = format!("{}/metrics", testbed.stack().invoice_app().admin_url());
    let began = Instant::now();
    let mut progress = vec![(Duration::ZERO, 0)];
    let mut moved = began;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let settled = settled(&http.get(&metrics).send().await?.text().await?);
        let before = progress.last().map_or(0, |(_, settled)| *settled);
        progress.push((began.elapsed(), settled));
        if settled >= invoices {
            return Ok(progress);
        }
        if settled > before {
            moved = Instant::now();
        } else if moved.elapsed() > STUCK {
            return Err(Error::new(format!("stuck at {settled} of {invoices}")));
        }
    }
}

/// `invoice_app_payments_settled_total`, over all outcomes.
fn settled(metrics: &str) -> u64 {
    let lines = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("invoice_app_payments_settled_total"));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The rate of the last third of the invoices over that of the first third.
fn evenness(progress: &[(Duration, u64)]) -> Option<f64> {
    let total = progress.last()?.1;
    let when = |wanted: u64| {
        let after = progress.iter().position(|(_, settled)| *settled >= wanted)?;
        let (later, more) = progress.get(after)?;
        let (sooner, fewer) = progress.get(after.checked_sub(1)?)?;
        // Between two looks it is taken to have gone on evenly.
        let part = number(wanted - fewer) / number(more - fewer);
        Some(sooner.as_secs_f64() + part * (later.as_secs_f64() - sooner.as_secs_f64()))
    };
    Some(when(total / 3)? / (when(total)? - when(total - total / 3)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(rates: [u64; 3]) -> Vec<(Duration, u64)> {
        let mut progress = vec![(Duration::ZERO, 0)];
        let mut settled = 0;
        for rate in rates {
            for _ in 0..3000 / rate {
                settled += rate;
                let at = Duration::from_secs(u64::try_from(progress.len()).unwrap());
                progress.push((at, settled));
            }
        }
        progress
    }

    #[test]
    fn a_backlog_that_drains_ever_slower_is_uneven() {
        let even = evenness(&progress([100, 100, 100])).unwrap();
        assert!((even - 1.0).abs() < 0.01, "{even}");
        let slower = evenness(&progress([100, 75, 50])).unwrap();
        assert!((slower - 0.5).abs() < 0.05, "{slower}");
        assert_eq!(evenness(&[]), None);
    }

    #[test]
    fn the_counter_is_read_over_all_outcomes() {
        let metrics = "# HELP x y\ninvoice_app_payments_settled_total{outcome=\"succeeded\"} 40\n\
                       invoice_app_payments_settled_total{outcome=\"declined\"} 2\nother 7\n";
        assert_eq!(settled(metrics), 42);
    }
}
