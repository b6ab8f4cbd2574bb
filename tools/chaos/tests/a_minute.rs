//! Everything fails for a minute, as a fixed seed says; afterwards every invoice is paid once or not at all. Longer runs
//! with fresh seeds: `bin/just chaos`.

use std::time::Duration;

use chaos::{Options, REST, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_everything_failing_loses_no_invoice_and_charges_none_twice() {
    let options = Options {
        seed: 20_260,
        length: Duration::from_mins(1),
        rest: REST,
    };
    let verdict = run(options).await.unwrap();
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.report.succeeded > 100, "{verdict}");
    assert!(verdict.struck.len() > 10, "{verdict}");
}
