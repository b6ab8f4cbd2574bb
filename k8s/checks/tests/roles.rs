//! What teams may do beyond looking, by their Roles. A cluster's own answer is in `cluster/teams.rs`.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is wrong")]

use k8s_checks::{Rendered, may};

/// Namespace, team, verb, API group, resource, and which.
type Right<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str);

fn assert_granted(granted: &[Right<'_>], refused: &[Right<'_>]) {
    let rendered = Rendered::overlay("k8s/checks/overlays/lag-scaling").unwrap();
    for (rights, expected) in [(granted, true), (refused, false)] {
        for right in rights {
            let (namespace, team, verb, group, resource, name) = *right;
            let answer = may(&rendered, namespace, team, verb, group, resource, name).unwrap();
            assert_eq!(answer, expected, "{right:?}");
        }
    }
}

#[test]
fn platform_team_replaces_a_nats_server_that_lost_its_disk() {
    let nats = |verb, resource, name| ("messaging", "platform-team", verb, "", resource, name);
    assert_granted(
        &[
            nats("delete", "persistentvolumeclaims", "data-nats-0"),
            nats("delete", "persistentvolumeclaims", "data-nats-2"),
            nats("delete", "pods", "nats-2"),
            nats("create", "pods/portforward", "nats-0"),
        ],
        &[
            nats("delete", "persistentvolumeclaims", ""),
            nats("create", "persistentvolumeclaims", "data-nats-0"),
            (
                "payments",
                "payment-team",
                "delete",
                "",
                "persistentvolumeclaims",
                "data-nats-0",
            ),
        ],
    );
}

#[test]
fn payment_team_stops_its_service_where_keda_scales_it() {
    let keda = |team, namespace, verb, name| (namespace, team, verb, "keda.sh", "scaledobjects", name);
    assert_granted(
        &[
            keda("payment-team", "payments", "get", "payment-provider"),
            keda("payment-team", "payments", "patch", "payment-provider"),
        ],
        &[
            keda("payment-team", "payments", "patch", "another"),
            keda("payment-team", "payments", "delete", "payment-provider"),
            keda("invoice-team", "invoices", "patch", "payment-provider"),
        ],
    );
}
