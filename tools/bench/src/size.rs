//! `size`: what the services take at rest, and how soon they are ready.

use std::time::{Duration, Instant};

use local_stack::Service;

use super::{numbers::mebibytes, proc, results::Results, testbed::Testbed};
use acceptance::Result;

/// A start leaves more behind than stays: this long after it a service is at rest.
const REST: Duration = Duration::from_secs(5);

/// Starts both services again, on a schema that is up to date, and looks at them at rest.
pub async fn measure(testbed: &Testbed, results: &mut Results) -> Result<()> {
    testbed.stop_services().await;
    let stack = testbed.stack();
    for (service, start, idle) in [
        (stack.invoice_app(), "start.invoice-app", "idle.invoice-app"),
        (
            stack.payment_provider(),
            "start.payment-provider",
            "idle.payment-provider",
        ),
    ] {
        results.note(start, "s", start_again(service).await?);
        tokio::time::sleep(REST).await;
        let resident = proc::memory(service.program().pid())?.resident;
        results.note(idle, "MiB", mebibytes(resident));
    }
    Ok(())
}

async fn start_again(service: &Service) -> Result<f64> {
    let began = Instant::now();
    service.start_again().await?;
    Ok(began.elapsed().as_secs_f64())
}
