//! Who may change what: admission policies are there, and bound to deny (what their expressions say is tried in `tests/admission`), and
//! no Role goes around them.

use k8s_openapi::api::{
    admissionregistration::v1::ValidatingAdmissionPolicyBinding, batch::v1::CronJob, core::v1::Namespace,
    rbac::v1::Role,
};
use serde_json::Value;

use crate::{Findings, Rendered, Result};

/// A policy by its name.
pub(crate) fn policy<'a>(rendered: &'a Rendered, name: &str) -> Option<&'a Value> {
    rendered
        .of_kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
        .find(|policy| policy.pointer("/metadata/name").and_then(Value::as_str) == Some(name))
}

/// Whether a policy is bound, everywhere it matches, to deny.
pub(crate) fn denies(rendered: &Rendered, name: &str) -> Result<bool> {
    Ok(rendered
        .all::<ValidatingAdmissionPolicyBinding>()?
        .into_iter()
        .any(|binding| {
            let spec = binding.spec.unwrap_or_default();
            spec.policy_name.as_deref() == Some(name)
                && spec.match_resources.is_none()
                && spec
                    .validation_actions
                    .is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
        }))
}

/// Whoever may not read a namespace's secrets may not have its workloads mount them either, in any namespace of ours.
pub(crate) fn teams_run_what_is_theirs(rendered: &Rendered) -> Result<Findings> {
    let name = "teams-run-what-is-theirs";
    let mut findings = Findings::new();
    if !denies(rendered, name)? {
        findings.push(format!("the policy {name} is not bound to deny"));
    }
    let Some(policy) = policy(rendered, name) else {
        findings.push(format!("the policy {name} is not there"));
        return Ok(findings);
    };
    let list = |pointer: &str| {
        policy
            .pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let spares_only_readers = list("/spec/matchConditions").len() == 1
        && list("/spec/matchConditions").iter().any(|condition| {
            let expression = condition
                .get("expression")
                .and_then(Value::as_str)
                .unwrap_or_default();
            expression.starts_with("!authorizer.group('').resource('secrets')")
        });
    if policy.pointer("/spec/failurePolicy").and_then(Value::as_str) != Some("Fail") || !spares_only_readers {
        findings.push(format!(
            "the policy {name} lets more through than who may read secrets"
        ));
    }
    let covered = namespaces_of(policy);
    for namespace in rendered.all::<Namespace>()? {
        let namespace = namespace.metadata.name.unwrap_or_default();
        if !covered.contains(&namespace) {
            findings.push(format!("the policy {name} says nothing about {namespace}"));
        }
    }
    Ok(findings)
}

/// The namespaces that a policy names.
fn namespaces_of(policy: &Value) -> Vec<String> {
    policy
        .pointer("/spec/matchConstraints/namespaceSelector/matchExpressions/0/values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(ToOwned::to_owned))
        .collect()
}

/// Teams make Jobs of a template, so the policy covers where they may make any. Where it covers a namespace without a template, the
/// API server refuses all Jobs before it asks whose they are: those of schedules and of whoever deploys, too.
pub(crate) fn jobs_have_a_template(rendered: &Rendered) -> Result<Findings> {
    let name = "operators-run-commands";
    let Some(policy) = policy(rendered, name) else {
        return Ok(vec![format!("the policy {name} is not there")]);
    };
    let covered = namespaces_of(policy);
    let mut findings = Findings::new();
    let templates: Vec<String> = rendered
        .all::<CronJob>()?
        .into_iter()
        .filter(|template| {
            let labels = template.metadata.labels.as_ref();
            labels
                .and_then(|labels| labels.get("app.kubernetes.io/component"))
                .is_some_and(|it| ["operator", "reconciliation"].contains(&it.as_str()))
        })
        .filter_map(|template| template.metadata.namespace)
        .collect();
    for namespace in covered.iter().filter(|it| !templates.contains(it)) {
        findings.push(format!("the policy {name} leaves nobody a Job in {namespace}"));
    }
    for role in rendered.all::<Role>()? {
        let namespace = role.metadata.namespace.unwrap_or_default();
        let makes_jobs = role.rules.into_iter().flatten().any(|rule| {
            let has = |list: &[String], what: &str| list.iter().any(|it| it == what || it == "*");
            has(&rule.resources.unwrap_or_default(), "jobs") && has(&rule.verbs, "create")
        });
        if makes_jobs && !covered.contains(&namespace) {
            let role = role.metadata.name.unwrap_or_default();
            findings.push(format!("role {role} may make any Job in {namespace}"));
        }
    }
    Ok(findings)
}

/// NATS takes who may log in, and what each may do, from `ConfigMap`s of its namespace.
pub(crate) fn teams_write_no_grants(rendered: &Rendered) -> Result<Findings> {
    const READING: [&str; 3] = ["get", "list", "watch"];
    let mut findings = Findings::new();
    for role in rendered.all::<Role>()? {
        let name = role.metadata.name.unwrap_or_default();
        let is_of_nats = role.metadata.namespace.as_deref() == Some("messaging");
        for rule in role.rules.into_iter().flatten().filter(|_| is_of_nats) {
            let resources = rule.resources.unwrap_or_default();
            let covers = resources
                .iter()
                .any(|resource| ["configmaps", "*"].contains(&resource.as_str()));
            let writes = rule.verbs.iter().any(|verb| !READING.contains(&verb.as_str()));
            if covers && writes {
                findings.push(format!(
                    "role {name} may {} ConfigMaps of messaging, and with them every grant of NATS",
                    rule.verbs.join(", ")
                ));
            }
        }
    }
    Ok(findings)
}
