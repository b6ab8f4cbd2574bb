//! `pay_all`: one `POST /invoices/pay` over everything unpaid, until the last invoice is `paid` and anybody can see it.

use std::time::Duration;

use super::{statistics::rate, testbed::Testbed, usage::Run};
use acceptance::{
    Client, Error, Result,
    client::{NO_WAIT, count, text},
    eventually_within,
};
use serde_json::Value;

/// A run that makes no headway ends as an error.
const LIMIT: Duration = Duration::from_mins(10);

/// Imports `invoices`, pays them, and checks all books; tells also how many a second were imported. `paid_before` is how
/// many payments had succeeded on this testbed.
pub async fn measure(testbed: &Testbed, prefix: &str, invoices: u32, paid_before: u64) -> Result<(Run, f64)> {
    let import = testbed.import(prefix, invoices).await?;
    testbed.settle_databases().await?;
    let client = testbed.client()?;
    let meter = testbed.meter().await?;
    let called = client.pay_all(NO_WAIT).await?.expect(202)?;
    let paid = wait_until_paid(&client, &called, invoices).await;
    let elapsed = meter.elapsed();
    let usage = meter.stop(elapsed).await?;
    paid?;
    testbed
        .expect_succeeded(usize::try_from(paid_before + u64::from(invoices))?)
        .await?;
    let run = Run {
        rate: rate(u64::from(invoices), elapsed),
        usage,
    };
    Ok((run, rate(u64::from(invoices), import)))
}

/// Waits until everything that a call asked for is settled, which costs a look-up by key each time, and checks that so many
/// invoices were paid by it.
pub async fn wait_until_paid(client: &Client, called: &Value, invoices: u32) -> Result<()> {
    let batch = text(called, "/batch_id");
    let settled = eventually_within(LIMIT, "everything is settled", || async {
        let now = client.batch(batch).await?;
        Ok((count(&now, "/pending") == 0).then_some(now))
    });
    let settled = settled.await?;
    if count(&settled, "/paid") == u64::from(invoices) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{invoices} invoices should be paid: {settled}"
    )))
}
