//! What the services tell about themselves is what docs/operations.md says they tell, and no more than they know.

use std::collections::{BTreeMap, BTreeSet};

use acceptance::{Error, Result, System, client::WAIT, eventually, metrics_text};
use local_stack::{Service, workspace_root};

/// The gauges that only the database knows.
const ASKED_OF_THE_DATABASE: [&str; 7] = [
    "invoice_app_dead_letters_open",
    "invoice_app_payments_open",
    "invoice_app_payments_open_oldest_seconds",
    "payment_provider_dead_letters_open",
    "payment_provider_ledger_held",
    "payment_provider_ledger_oldest_open_seconds",
    "payment_provider_ledger_open",
];

/// A metric's type, its labels, and the services that have it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    services: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_those_of_the_documentation_and_absent_when_unknown() {
    let system = System::start().await.unwrap();
    let client = system.client().unwrap();
    let id = client.create("12.15", "EUR").await.unwrap();
    assert_eq!(client.pay(&id, WAIT).await.unwrap().status, 200);

    let documented = documented();
    eventually(
        "/metrics has what the table in docs/operations.md has",
        || async {
            let told = told(&system).await?;
            let differing: BTreeSet<&String> = documented
                .keys()
                .chain(told.keys())
                .filter(|name| documented.get(*name) != told.get(*name))
                .collect();
            if differing.is_empty() {
                return Ok(Some(()));
            }
            let differences: Vec<String> = differing
                .into_iter()
                .map(|name| {
                    format!(
                        "{name}: documented {:?}, told {:?}",
                        documented.get(name),
                        told.get(name)
                    )
                })
                .collect();
            Err(Error::new(differences.join("\n")))
        },
    )
    .await
    .unwrap();

    system.stack().postgres().stop().await;
    eventually("what only the database knows is told by nobody", || async {
        let told = told(&system).await?;
        Ok(ASKED_OF_THE_DATABASE
            .iter()
            .all(|name| !told.contains_key(*name))
            .then_some(()))
    })
    .await
    .unwrap();
    assert!(told(&system).await.unwrap().contains_key("nats_client_connected"));

    system.stack().postgres().start_again().await.unwrap();
    eventually("it is told again", || async {
        let told = told(&system).await?;
        Ok(ASKED_OF_THE_DATABASE
            .iter()
            .all(|name| told.contains_key(*name))
            .then_some(()))
    })
    .await
    .unwrap();
}

/// The rows of the table: name, type, labels, services, meaning.
fn documented() -> BTreeMap<String, Metric> {
    let page = std::fs::read_to_string(workspace_root().join("docs/operations.md")).unwrap();
    let (_, section) = page.split_once("\n## Metrics\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let names = |cell: &str| -> BTreeSet<String> {
            cell.split(", ")
                .map(|name| name.trim_matches('`').to_owned())
                .filter(|name| !name.is_empty())
                .collect()
        };
        let told = Metric {
            kind: cells[2].to_owned(),
            labels: names(cells[3]),
            services: names(cells[4]),
        };
        let former = rows.insert(cells[1].trim_matches('`').to_owned(), told);
        assert!(former.is_none(), "{line} stands there twice");
        assert!(!cells[5].is_empty(), "{line} does not say what it means");
    }
    rows
}

async fn told(system: &System) -> Result<BTreeMap<String, Metric>> {
    let mut told: BTreeMap<String, Metric> = BTreeMap::new();
    let services: [(&str, &Service); 2] = [
        ("invoice-app", system.stack().invoice_app()),
        ("payment-provider", system.stack().payment_provider()),
    ];
    for (name, service) in services {
        let text = metrics_text(service).await?;
        let mut metric = String::new();
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (of, kind) = declared.split_once(' ').unwrap_or_default();
                of.clone_into(&mut metric);
                let entry = told.entry(metric.clone()).or_default();
                kind.clone_into(&mut entry.kind);
                entry.services.insert(name.to_owned());
            } else if let Some((_, labels)) = line.split_once('{')
                && let Some(entry) = told.get_mut(&metric)
            {
                // Every value ends in a quote, and none of ours holds one.
                entry.labels.extend(
                    labels
                        .split("\",")
                        .filter_map(|label| label.split_once('='))
                        .map(|(label, _)| label.to_owned())
                        .filter(|label| label != "le"),
                );
            }
        }
    }
    Ok(told)
}
