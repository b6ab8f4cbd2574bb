//! A rollout that nobody notices.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::kube::Outside;

/// What one caller saw.
#[derive(Default)]
struct Seen {
    answered: u32,
    failures: Vec<String>,
}

#[test]
fn rollout_of_invoice_app_fails_no_request() {
    let cluster = crate::cluster!();
    let outside = cluster.outside();
    local_stack::install_crypto_provider();
    let over = AtomicBool::new(false);
    let callers = thread::scope(|scope| {
        // A new connection for each request meets the pods that come and go; one that is kept, the pod that goes.
        let callers = [0, 1].map(|idle| {
            let (outside, over) = (&outside, &over);
            scope.spawn(move || call_until(over, outside, idle))
        });
        cluster.run(&[
            "rollout",
            "restart",
            "deployment/invoice-app",
            "--namespace",
            "invoices",
        ]);
        cluster.rolled_out("invoices", "deployment/invoice-app");
        over.store(true, Ordering::Relaxed);
        callers.map(|caller| caller.join().unwrap())
    });
    for Seen { answered, failures } in callers {
        assert!(
            failures.is_empty(),
            "{} requests failed, {answered} did not: {failures:?}",
            failures.len()
        );
        assert!(answered > 10, "only {answered} requests were answered meanwhile");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn call_until(over: &AtomicBool, outside: &Outside, idle_connections: usize) -> Seen {
    let url = format!("{}/invoices?limit=1", outside.url);
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(idle_connections)
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        let answer = match client.get(&url).bearer_auth(&outside.token).send().await {
            // All of it, or the connection could not be used again.
            Ok(response) => (response.status(), response.bytes().await.err()),
            Err(error) => {
                seen.failures.push(format!("{error:?}"));
                continue;
            }
        };
        match answer {
            (reqwest::StatusCode::OK, None) => seen.answered += 1,
            other => seen.failures.push(format!("{other:?}")),
        }
    }
    seen
}
