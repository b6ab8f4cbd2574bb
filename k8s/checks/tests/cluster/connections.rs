//! Who reaches whom, tried from pods that look like the real ones, and from decoys.

use serde_json::json;

use crate::kube::{Cluster, Elsewhere};

/// How long a network may take to apply the policies to a pod that is new.
const SETTLING: &str = "--within-ms=60000";

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
    // Where everybody may enter, so that only the sender's side can keep anybody from it.
    let stranger = cluster.start_probe(&elsewhere.name, "stranger", None, &["listen", "8080"]);
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
        ("stranger", vec![format!("{}:8080", stranger.address())]),
    ];
    for (target, addresses) in &targets {
        assert!(!addresses.is_empty(), "no pod for {target}");
    }
    let pairs = [
        // The real ones.
        ("invoices", "invoice-app", &["nats", "postgres"] as &[_]),
        ("payments", "payment-provider", &["nats", "postgres"]),
        // An operator's commands, and the check of the books.
        ("invoices", "invoice-app-operator", &["nats", "postgres"]),
        ("payments", "payment-provider-operator", &["nats", "postgres"]),
        ("reconciliation", "reconcile", &["postgres"]),
        ("messaging", "nats", &[]),
        ("data", "postgres", &[]),
        // Other labels in the right namespace.
        ("invoices", "other", &[]),
        ("payments", "other", &[]),
        // The right labels in another namespace, ours and a stranger's.
        ("payments", "invoice-app", &[]),
        ("invoices", "payment-provider", &[]),
        ("messaging", "payment-provider", &[]),
        ("invoices", "reconcile", &[]),
        ("reconciliation", "payment-provider", &[]),
        (&elsewhere.name, "invoice-app", &["api", "stranger"]),
        (&elsewhere.name, "payment-provider", &["api", "stranger"]),
        (&elsewhere.name, "nats", &["api", "stranger"]),
    ];
    // Four at a time, so that no quota and no small node is in the way.
    for pairs in pairs.chunks(4) {
        let probes: Vec<_> = pairs
            .iter()
            .map(|(namespace, name, reached)| {
                let args = tcp(&targets, reached);
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                (cluster.start_probe(namespace, name, None, &args), reached)
            })
            .collect();
        for ((probe, reached), (namespace, name, _)) in probes.into_iter().zip(pairs) {
            let answers = probe.printed();
            for (target, addresses) in &targets {
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
}

/// Trying all targets until those are open that should be, and no others.
fn tcp(targets: &[(&str, Vec<String>)], reached: &[&str]) -> Vec<String> {
    let mut args = vec!["tcp".to_owned(), SETTLING.to_owned()];
    for (target, addresses) in targets {
        for address in addresses {
            if reached.contains(target) {
                args.push(format!("--open={address}"));
            }
            args.push(address.clone());
        }
    }
    args
}

#[test]
fn services_find_nats_and_postgres_by_name() {
    let cluster = crate::cluster!();
    for (namespace, name) in [("invoices", "invoice-app"), ("payments", "payment-provider")] {
        let names = ["nats.messaging.svc:4222", "postgres.data.svc:5432"];
        let open = names.map(|name| format!("--open={name}"));
        let answers = cluster.probe(
            namespace,
            name,
            None,
            &["tcp", SETTLING, &open[0], &open[1], names[0], names[1]],
        );
        assert_eq!(
            answers, "nats.messaging.svc:4222 open\npostgres.data.svc:5432 open\n",
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
    let expected = format!("--open={open}");
    let answers = cluster.probe(
        &elsewhere.name,
        "asking",
        None,
        &["tcp", SETTLING, &expected, &open, &closed],
    );
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
