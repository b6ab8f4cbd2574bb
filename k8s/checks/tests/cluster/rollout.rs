//! A rollout that nobody notices.

use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollout_of_invoice_app_fails_no_request() {
    let cluster = crate::cluster!();
    let Ok(url) = std::env::var("INVOICE_APP_URL") else {
        println!("skipped: INVOICE_APP_URL does not say where the API answers");
        return;
    };
    local_stack::install_crypto_provider();
    // A new connection for each request: one that is kept would never meet a pod that goes.
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let rollout = tokio::task::spawn_blocking(move || {
        let deployment = ["deployment/invoice-app", "--namespace", "invoices"];
        cluster.run(&[&["rollout", "restart"], &deployment as &[_]].concat());
        cluster.run(&[&["rollout", "status", "--timeout=300s"], &deployment as &[_]].concat());
    });
    let mut answered = 0;
    let mut failures = Vec::new();
    while !rollout.is_finished() {
        match client.get(format!("{url}/openapi.json")).send().await {
            Ok(response) if response.status() == 200 => answered += 1,
            Ok(response) => failures.push(response.status().to_string()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    rollout.await.unwrap();
    assert!(
        failures.is_empty(),
        "{} requests failed, {answered} did not: {failures:?}",
        failures.len()
    );
    assert!(answered > 10, "only {answered} requests were answered meanwhile");
}
