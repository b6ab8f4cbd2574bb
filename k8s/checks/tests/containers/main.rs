//! The manifests' own pods as real containers, without a cluster: user, file system, capabilities, limits, environment,
//! mounts and orders to stop as written, and a network for each pair that the policies let talk, so that nobody else can.
//!
//! A docker network knows no directions and no ports; what policies add to that is checked in `connectivity.rs`, and on a
//! cluster.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]

mod engine;
mod manifest;
mod pods;
mod secrets;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use engine::Engine;
use k8s_checks::Rendered;
use pods::Pods;
use serde_json::{Value, json};

/// For a whole system to start, on a machine that is busy with other tests.
const START: Duration = Duration::from_mins(2);

#[tokio::test]
async fn manifests_run_as_containers_and_pay_an_invoice() {
    let Some(engine) = Engine::find() else {
        // Past the harness, which keeps to itself what a test prints that passes.
        let _ = writeln!(
            std::io::stderr(),
            "no test with containers: docker does not work here"
        );
        return;
    };
    let images = engine.images();
    // The Postgres of the wheels was built without TLS.
    let overlay = match std::env::var_os("POSTGRES_IMAGE") {
        Some(_) => "k8s/overlays/local",
        None => "k8s/checks/overlays/bare",
    };
    let rendered = Rendered::overlay(overlay).unwrap();
    let secrets = secrets::Secrets::generate();
    let pods = Pods::start(&engine, &images, &rendered, &secrets);
    let api = Api {
        url: pods.url("invoice-app", 8081),
        token: secrets.token.clone(),
        client: http_client(),
    };

    api.wait_until_it_answers(&pods).await;
    api.pay_an_invoice().await;
    assert_eq!(api.status_without_a_token().await, 401);

    for pod in ["invoice-app", "payment-provider", "nats", "postgres"] {
        pods.assert_confined(pod);
    }
    // The invoice's payment stands in the ledger that an operator sees.
    let ledger = pods.run_to_its_end("payment-provider-operator");
    assert!(ledger.contains("succeeded"), "{ledger}");
    pods.run_to_its_end("invoice-app-operator");
    let books = pods.run_to_its_end("reconcile");
    assert!(books.contains("1 payments match"), "{books}");
    assert_no_way_to_payment_provider(&pods);

    // Services first, as their work in flight needs the others.
    for service in ["invoice-app", "payment-provider"] {
        assert_eq!(
            pods.stop(service),
            0,
            "{service} did not stop cleanly: {}",
            pods.logs(service)
        );
    }
    for other in ["nats", "postgres"] {
        assert_ne!(
            pods.stop(other),
            137,
            "{other} had to be killed: {}",
            pods.logs(other)
        );
    }
}

/// With every denied try stands one that is allowed, or silence would prove nothing.
fn assert_no_way_to_payment_provider(pods: &Pods<'_>) {
    let target = pods.addresses("payment-provider", 9082);
    assert!(
        pods.try_from("payment-provider", &["127.0.0.1:9082".to_owned()])
            .contains(&"open".to_owned())
    );
    assert_eq!(
        pods.try_from("invoice-app", &["nats.messaging.svc:4222".to_owned()]),
        ["open"]
    );
    assert_eq!(
        pods.try_from_outside(&pods.addresses_outside("invoice-app", 8081)),
        ["open"]
    );

    assert!(
        pods.try_from("invoice-app", &target)
            .iter()
            .all(|answer| answer != "open")
    );
    assert!(
        pods.try_from_outside(&target)
            .iter()
            .all(|answer| answer != "open")
    );
    let api = pods.addresses("invoice-app", 8081);
    assert!(
        pods.try_from("payment-provider", &api)
            .iter()
            .all(|answer| answer != "open")
    );
    for (stranger, port) in [("nats", 4222), ("postgres", 5432)] {
        let target = pods.addresses(stranger, port);
        assert!(
            pods.try_from_outside(&target)
                .iter()
                .all(|answer| answer != "open"),
            "{stranger} can be reached"
        );
    }
}

/// A caller of the API from outside.
struct Api {
    url: String,
    token: String,
    client: reqwest::Client,
}

impl Api {
    async fn wait_until_it_answers(&self, pods: &Pods<'_>) {
        let deadline = Instant::now() + START;
        while self.client.get(self.path("/openapi.json")).send().await.is_err() {
            pods.assert_running();
            assert!(
                Instant::now() < deadline,
                "invoice-app does not answer:\n{}",
                pods.all_logs()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn status_without_a_token(&self) -> u16 {
        self.client
            .get(self.path("/invoices"))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    /// Until it is paid. Everything starts meanwhile: calls are answered 503 before the database is migrated, and payments wait
    /// for NATS.
    async fn pay_an_invoice(&self) {
        let deadline = Instant::now() + START;
        let id = loop {
            let invoice = json!({"amount": {"value": "12.15", "currency": "EUR"}});
            let request = self.client.post(self.path("/invoices")).bearer_auth(&self.token);
            let response = request.json(&invoice).send().await.unwrap();
            let status = response.status();
            let answer: Value = response.json().await.unwrap();
            if status == 201 {
                break answer["id"].as_str().expect("an id").to_owned();
            }
            assert!(status == 503 && Instant::now() < deadline, "{status} {answer}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let request = self
            .client
            .post(self.path(&format!("/invoices/{id}/pay")))
            .bearer_auth(&self.token);
        let answer = request.header("prefer", "wait=30").send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        loop {
            let request = self
                .client
                .get(self.path(&format!("/invoices/{id}")))
                .bearer_auth(&self.token);
            let invoice: Value = request.send().await.unwrap().json().await.unwrap();
            if invoice["status"] == "paid" {
                return;
            }
            assert!(Instant::now() < deadline, "not paid in time: {invoice}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

fn http_client() -> reqwest::Client {
    local_stack::install_crypto_provider();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap()
}
