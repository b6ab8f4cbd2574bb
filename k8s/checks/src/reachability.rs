//! payment-provider has no way in.

use k8s_openapi::api::{admissionregistration::v1::ValidatingAdmissionPolicyBinding, core::v1::Service};
use serde_json::Value;

use crate::{Findings, Rendered, Result};

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
        let routes = kind.ends_with("Route") || matches!(kind, "Ingress" | "Endpoints" | "EndpointSlice");
        if routes && namespace == Some(CLOSED) {
            findings.push(format!("{kind} in namespace {CLOSED}"));
        }
    }
    Ok(findings)
}

/// The policy that keeps it so is there, bound, and denies.
pub(crate) fn admission_keeps_payments_closed(rendered: &Rendered) -> Result<Findings> {
    let bound = rendered
        .all::<ValidatingAdmissionPolicyBinding>()?
        .into_iter()
        .any(|binding| {
            let spec = binding.spec.unwrap_or_default();
            spec.policy_name.as_deref() == Some("payments-has-no-way-in")
                && spec.match_resources.is_none()
                && spec
                    .validation_actions
                    .is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
        });
    let written = rendered
        .of_kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
        .any(|policy| {
            let at = |pointer: &str| policy.pointer(pointer).and_then(Value::as_str);
            at("/metadata/name") == Some("payments-has-no-way-in")
                && at("/spec/failurePolicy") == Some("Fail")
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
