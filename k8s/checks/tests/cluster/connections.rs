//! Who reaches whom, tried from pods that look like the real ones, and from decoys.

use serde_json::json;

use crate::kube::{Cluster, Elsewhere};

#[test]
fn cluster_enforces_network_policies_at_all() {
    let cluster = crate::cluster!();
    assert_enforcing(&cluster);
}

#[test]
fn only_the_allowed_pairs_connect() {
    let cluster = crate::cluster!();
    assert_enforcing(&cluster);
    let elsewhere = Elsewhere::create(&cluster, "strangers");
    let targets = [
        ("nats", cluster.pod_addresses("messaging", "nats", 4222)),
        (
            "nats monitoring",
            cluster.pod_addresses("messaging", "nats", 8222),
        ),
        ("postgres", cluster.pod_addresses("data", "postgres", 5432)),
        ("api", cluster.pod_addresses("invoices", "invoice-app", 8081)),
        (
            "invoice-app admin",
            cluster.pod_addresses("invoices", "invoice-app", 9081),
        ),
        (
            "payment-provider admin",
            cluster.pod_addresses("payments", "payment-provider", 9082),
        ),
    ];
    for (namespace, name, reached) in [
        // The real ones.
        ("invoices", "invoice-app", &["nats", "postgres"] as &[_]),
        ("payments", "payment-provider", &["nats", "postgres"]),
        ("messaging", "nats", &[]),
        ("data", "postgres", &[]),
        // Other labels in the right namespace.
        ("invoices", "other", &[]),
        ("payments", "other", &[]),
        // The right labels in another namespace, ours and a stranger's.
        ("payments", "invoice-app", &[]),
        ("invoices", "payment-provider", &[]),
        ("messaging", "payment-provider", &[]),
        (&elsewhere.name, "invoice-app", &["api"]),
        (&elsewhere.name, "payment-provider", &["api"]),
        (&elsewhere.name, "nats", &["api"]),
    ] {
        let addresses: Vec<&str> = targets
            .iter()
            .flat_map(|(_, addresses)| addresses)
            .map(String::as_str)
            .collect();
        let answers = cluster.probe(namespace, name, None, &[&["tcp"], addresses.as_slice()].concat());
        for (target, addresses) in &targets {
            assert!(!addresses.is_empty(), "no pod for {target}");
            for address in addresses {
                let open = answers.lines().any(|line| line == format!("{address} open"));
                assert_eq!(
                    open,
                    reached.contains(target),
                    "{namespace}/{name} to {target}: {answers}"
                );
            }
        }
    }
}

#[test]
fn services_find_names_and_nobody_talks_to_the_internet() {
    let cluster = crate::cluster!();
    assert_enforcing(&cluster);
    for (namespace, name) in [("invoices", "invoice-app"), ("payments", "payment-provider")] {
        let answers = cluster.probe(
            namespace,
            name,
            None,
            &["tcp", "nats.messaging.svc:4222", "1.1.1.1:443"],
        );
        assert_eq!(
            answers, "nats.messaging.svc:4222 open\n1.1.1.1:443 silent\n",
            "{namespace}/{name}"
        );
    }
}

/// One connection that is allowed and one that is denied: without this, silence would prove nothing.
fn assert_enforcing(cluster: &Cluster) {
    let elsewhere = Elsewhere::create(cluster, "enforcement");
    cluster.create(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": elsewhere.name},
        "spec": {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "closed"}}, "policyTypes": ["Ingress"]}
    }));
    let open = cluster.start_probe(&elsewhere.name, "open", None, &["listen", "8080"]);
    let closed = cluster.start_probe(&elsewhere.name, "closed", None, &["listen", "8080"]);
    let (open, closed) = (
        format!("{}:8080", open.address()),
        format!("{}:8080", closed.address()),
    );
    let answers = cluster.probe(&elsewhere.name, "asking", None, &["tcp", &open, &closed]);
    assert!(
        answers.contains(&format!("{open} open")),
        "pods of this cluster do not reach each other: {answers}"
    );
    assert!(
        !answers.contains(&format!("{closed} open")),
        "this cluster does not enforce network policies, so nothing isolates anything: \
         use kind, k3d, or a network such as Calico or Cilium"
    );
}
