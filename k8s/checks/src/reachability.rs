//! payment-provider has no way in.

use k8s_openapi::api::core::v1::Service;
use serde_json::Value;

use crate::{Findings, Rendered, Result, admission};

const CLOSED: &str = "payments";

/// No Service, of any type, in its namespace; none of the objects that route there.
pub(crate) fn nothing_selects_payment_provider(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for service in rendered.all::<Service>()? {
        if service.metadata.namespace.as_deref() == Some(CLOSED) {
            findings.push(format!(
                "Service {:?} in namespace {CLOSED}",
                service.metadata.name.unwrap_or_default()
            ));
        }
    }
    for document in rendered.documents() {
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
        let namespace = document.pointer("/metadata/namespace").and_then(Value::as_str);
        let routes =
            kind.ends_with("Route") || matches!(kind, "Gateway" | "Ingress" | "Endpoints" | "EndpointSlice");
        if routes && namespace == Some(CLOSED) {
            findings.push(format!("{kind} in namespace {CLOSED}"));
        }
    }
    Ok(findings)
}

/// The policy that keeps it so is there, bound, and denies.
pub(crate) fn admission_keeps_payments_closed(rendered: &Rendered) -> Result<Findings> {
    let bound = admission::denies(rendered, "payments-has-no-way-in")?;
    let written = admission::policy(rendered, "payments-has-no-way-in").is_some_and(|policy| {
        let at = |pointer: &str| policy.pointer(pointer).and_then(Value::as_str);
        at("/spec/failurePolicy") == Some("Fail")
            && at("/spec/matchConstraints/namespaceSelector/matchLabels/kubernetes.io~1metadata.name")
                == Some(CLOSED)
            && at("/spec/validations/0/expression") == Some("false")
    });
    let mut findings = Findings::new();
    if !written {
        findings
            .push("the policy payments-has-no-way-in is not there, or refuses less than it must".to_owned());
    }
    if !bound {
        findings.push("the policy payments-has-no-way-in is not bound to deny".to_owned());
    }
    Ok(findings)
}

/// Everything that leads anywhere is refused there: of an API group with kinds still to come, all of them.
#[expect(clippy::unnecessary_wraps, reason = "a check like the others, which may fail")]
pub(crate) fn every_way_in_is_refused(rendered: &Rendered) -> Result<Findings> {
    const WAYS_IN: [(&str, &str); 6] = [
        ("", "services"),
        ("", "endpoints"),
        ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "ingresses"),
        ("gateway.networking.k8s.io", "*"),
        ("gateway.networking.x-k8s.io", "*"),
    ];
    let rules = admission::policy(rendered, "payments-has-no-way-in")
        .and_then(|policy| policy.pointer("/spec/matchConstraints/resourceRules")?.as_array())
        .cloned()
        .unwrap_or_default();
    let names = |rule: &Value, list: &str, wanted: &str| {
        let names = rule.get(list).and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|name| name == wanted))
    };
    Ok(WAYS_IN
        .iter()
        .filter(|(group, resource)| {
            !rules.iter().any(|rule| {
                names(rule, "apiGroups", group)
                    && names(rule, "resources", resource)
                    && names(rule, "apiVersions", "*")
                    && ["CREATE", "UPDATE"]
                        .iter()
                        .all(|it| names(rule, "operations", it))
            })
        })
        .map(|(group, resource)| format!("{resource} of {group:?} may be made in {CLOSED}"))
        .collect())
}

/// The way from the outside has no time limit but the service's own, and says so: a limit left out is the gateway's to choose.
#[expect(clippy::unnecessary_wraps, reason = "a check like the others, which may fail")]
pub(crate) fn gateways_set_no_timeout(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for route in rendered.of_kind("gateway.networking.k8s.io/v1", "HTTPRoute") {
        let rules = route.pointer("/spec/rules").and_then(Value::as_array);
        for rule in rules.into_iter().flatten() {
            for limit in ["/timeouts/request", "/timeouts/backendRequest"] {
                if rule.pointer(limit).and_then(Value::as_str) != Some("0s") {
                    findings.push(format!("a route may be cut off: {limit} is not 0s"));
                }
            }
        }
    }
    Ok(findings)
}
