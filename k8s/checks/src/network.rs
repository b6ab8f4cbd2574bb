//! How network policies are written. What they allow together is checked by `network-config-analyzer`.

use k8s_openapi::{
    api::{
        core::v1::Namespace,
        networking::v1::{NetworkPolicy, NetworkPolicyPeer},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use crate::{Findings, Rendered, Result};

/// Every namespace closes both ways before anything is allowed.
pub(crate) fn default_deny(rendered: &Rendered) -> Result<Findings> {
    let policies = rendered.all::<NetworkPolicy>()?;
    let closes = |namespace: &str| {
        policies
            .iter()
            .filter(|policy| policy.metadata.namespace.as_deref() == Some(namespace))
            .any(|policy| {
                policy.spec.as_ref().is_some_and(|spec| {
                    let types = spec.policy_types.as_deref().unwrap_or_default();
                    spec.pod_selector
                        .as_ref()
                        .is_none_or(|selector| *selector == LabelSelector::default())
                        && ["Ingress", "Egress"]
                            .iter()
                            .all(|direction| types.iter().any(|it| it == direction))
                        && spec.ingress.is_none()
                        && spec.egress.is_none()
                })
            })
    };
    Ok(rendered
        .all::<Namespace>()?
        .into_iter()
        .filter_map(|namespace| namespace.metadata.name)
        .filter(|namespace| !closes(namespace))
        .map(|namespace| format!("namespace {namespace} does not deny everything by default"))
        .collect())
}

/// A peer in the cluster is named by namespace and pods in one element, and every rule names its ports.
pub(crate) fn peers_are_exact(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for policy in rendered.all::<NetworkPolicy>()? {
        let name = policy.metadata.name.unwrap_or_default();
        let spec = policy.spec.unwrap_or_default();
        let ingress = spec
            .ingress
            .unwrap_or_default()
            .into_iter()
            .map(|rule| (rule.from, rule.ports));
        let egress = spec
            .egress
            .unwrap_or_default()
            .into_iter()
            .map(|rule| (rule.to, rule.ports));
        for (peers, ports) in ingress.chain(egress) {
            if ports.unwrap_or_default().iter().any(|port| port.port.is_none()) {
                findings.push(format!("{name} allows every port"));
            }
            for peer in peers.unwrap_or_default() {
                // A gateway's proxies carry labels that only its maker knows.
                let any_pod_is_meant = name == "invoice-app-ingress-from-gateway";
                if !any_pod_is_meant && !is_exact(&peer) {
                    findings.push(format!(
                        "{name} has a peer without both a namespace and pods: {peer:?}"
                    ));
                }
            }
        }
    }
    Ok(findings)
}

fn is_exact(peer: &NetworkPolicyPeer) -> bool {
    let names = |selector: &Option<LabelSelector>| {
        selector.as_ref().is_some_and(|selector| {
            let expressions = selector.match_expressions.as_deref().unwrap_or_default();
            selector
                .match_labels
                .as_ref()
                .is_some_and(|labels| !labels.is_empty())
                || expressions.iter().any(|it| it.operator == "In")
        })
    };
    peer.ip_block.is_some() || (names(&peer.namespace_selector) && names(&peer.pod_selector))
}
