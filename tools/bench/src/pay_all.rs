//! `pay_all`: one `POST /invoices/pay` over everything unpaid, until the last invoice is `paid` and anybody can see it.

use std::time::Duration;

use super::{statistics::rate, testbed::Testbed, usage::Run};
use acceptance::{
    Client, Error, Result,
    client::{NO_WAIT, count, text},
};

/// Between two looks, which cost the machine something and are no part of paying.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// A run that makes no headway ends as an error.
const LIMIT: Duration = Duration::from_mins(10);

/// Imports `invoices`, pays them, and checks all books; tells also how many a second were imported. `paid_before` is how
/// many payments had succeeded on this testbed.
pub async fn measure(testbed: &Testbed, prefix: &str, invoices: u32, paid_before: u64) -> Result<(Run, f64)> {
    let import = testbed.import(prefix, invoices).await?;
    testbed.settle_databases().await?;
    let client = testbed.client()?;
    let last = format!("{prefix}{invoices}");
    let found = client.list(&format!("number={last}")).await?;
    let last = found.first().map(|invoice| text(invoice, "/id").to_owned());
    let last = last.ok_or_else(|| Error::new("the last invoice cannot be found"))?;

    let meter = testbed.meter().await?;
    let batch = client.pay_all(NO_WAIT).await?.expect(202)?;
    let paid = wait_until_paid(&client, &last).await;
    let elapsed = meter.elapsed();
    let usage = meter.stop(elapsed).await?;
    paid?;
    let settled = client.batch(text(&batch, "/batch_id")).await?;
    if count(&settled, "/paid") != u64::from(invoices) {
        return Err(Error::new(format!(
            "{invoices} invoices should be paid: {settled}"
        )));
    }
    testbed
        .expect_succeeded(usize::try_from(paid_before + u64::from(invoices))?)
        .await?;
    let run = Run {
        rate: rate(u64::from(invoices), elapsed),
        usage,
    };
    Ok((run, rate(u64::from(invoices), import)))
}

/// First the last invoice, which costs a look-up by key; then whether any other is still pending.
async fn wait_until_paid(client: &Client, last: &str) -> Result<()> {
    let waiting = async {
        while text(&client.invoice(last).await?, "/status") != "paid" {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        while !client.list("status=pending&limit=1").await?.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .unwrap_or_else(|_| Err(Error::new("not everything was paid in time")))
}
