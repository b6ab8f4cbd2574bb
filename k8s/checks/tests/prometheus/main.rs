//! A real Prometheus with the rules of the deployment looks at a running system: faults are made and alerts fire, what the runbook says
//! is done and they clear, and every query of a dashboard has an answer.
//!
//! Minutes of the rules are seconds here. `PROMETHEUS` names the program; without one the tests say that they are skipped.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step that fails, fails the test"
)]

mod configured;
mod faults;
mod nats_exporter;
mod nats_faults;
mod runbook;
mod server;

use std::io::Write as _;

use acceptance::{Client, System, client::WAIT, eventually};
use k8s_checks::Rendered;
use local_stack::{NatsNodes, StackOptions};

use configured::Configured;
use server::Prometheus;

/// A system, and a Prometheus that looks at it.
struct Watched {
    system: System,
    client: Client,
    prometheus: Prometheus,
}

impl Watched {
    /// Running, with a payment that succeeded and one that was declined; nothing where there is no Prometheus.
    async fn start() -> Option<Self> {
        Self::start_with(|_| {}, None).await
    }

    /// Likewise, configured otherwise, and called with this token.
    async fn start_with(configure: impl FnOnce(&mut StackOptions), token: Option<&str>) -> Option<Self> {
        let Some(program) = server::program() else {
            // Past the harness, which shows nothing of a test that passes.
            let _ = writeln!(
                std::io::stderr(),
                "no alert was seen to fire: there is no prometheus here (Debian: apt-get install prometheus)"
            );
            return None;
        };
        let system = System::start_with(configure).await.unwrap();
        let mut client = system.client().unwrap();
        if let Some(token) = token {
            client = client.with_token(token);
        }
        for value in ["12.15", "4000.01"] {
            let id = client.create(value, "EUR").await.unwrap();
            assert_eq!(client.pay(&id, WAIT).await.unwrap().status, 200);
        }
        let prometheus = Prometheus::start(program, &system).await;
        eventually(
            "Prometheus reads both services and NATS, and no alert fires",
            || async {
                let all = format!("count(up == 1) == {}", prometheus.targets);
                let up = prometheus.query(&all).await?;
                let firing = prometheus.query(r#"ALERTS{alertstate="firing"}"#).await?;
                Ok(!up.is_empty() && firing.is_empty())
            },
        )
        .await
        .unwrap();
        Some(Self {
            system,
            client,
            prometheus,
        })
    }

    async fn fire(&self, alerts: &[&str]) {
        self.prometheus.expect(alerts, true).await;
    }

    async fn clear(&self, alerts: &[&str]) {
        self.prometheus.expect(alerts, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_by_faults_and_clear_by_what_the_runbook_says() {
    let Some(watched) = Watched::start().await else {
        return;
    };
    every_panel_shows_something(&watched).await;
    faults::outcome_that_contradicts(&watched).await;
    faults::nats_away(&watched).await;
    watched.system.check_when_settled().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn more_alerts_fire_by_faults_and_clear_afterwards() {
    let Some(watched) = Watched::start().await else {
        return;
    };
    faults::request_that_contradicts(&watched).await;
    faults::payment_provider_down(&watched).await;
    nats_faults::client_that_does_not_read(&watched).await;
    nats_faults::messages_aged_out(&watched).await;
    faults::nats_forgets(&watched).await;
    faults::postgres_away(&watched).await;
    faults::invoice_app_down(&watched).await;
    watched.system.check_when_settled().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn alert_about_one_of_three_nats_servers_fires_and_clears() {
    let started = Watched::start_with(|options| options.nats_nodes = NatsNodes::Three, None);
    let Some(watched) = started.await else { return };
    nats_faults::server_missing(&watched).await;
    watched.system.check_when_settled().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn alerts_about_the_bank_callers_tokens_and_grants_fire_and_clear() {
    let configured = Configured::init().await;
    let started = Watched::start_with(|options| configured.configure(options), Some(Configured::token()));
    let Some(watched) = started.await else { return };
    configured::bank_away(&watched, &configured).await;
    configured::bank_that_forgot(&watched, &configured).await;
    configured::slow_database(&watched).await;
    configured::broken_tokens(&watched, &configured).await;
    configured::payments_held(&watched).await;
    configured::refused_subject(&watched, &configured).await;
    configured.check(&watched).await;
}

async fn every_panel_shows_something(watched: &Watched) {
    let rendered = Rendered::overlay("k8s/overlays/production").unwrap();
    let queries = rendered.dashboard_queries().unwrap();
    assert!(queries.len() > 30, "dashboards are missing: {queries:?}");
    for (panel, query) in queries {
        let query = query.replace("$__rate_interval", "1m");
        eventually(&format!("{panel:?} shows something: {query}"), || async {
            let series = watched.prometheus.query(&query).await?;
            Ok(!series.is_empty())
        })
        .await
        .unwrap();
    }
}
