//! What a team's Role lets it do, by the Role's own words.

use std::collections::BTreeSet;

use k8s_openapi::api::{core::v1::Namespace, rbac::v1::Role};
use serde_json::Value;

use crate::{Findings, Rendered, Result};

/// What no manifest names, and pods come with.
const MADE_BY_THE_CLUSTER: [(&str, &str, &str); 4] = [
    ("list", "", "pods"),
    ("get", "", "pods/log"),
    ("list", "", "events"),
    ("get", "metrics.k8s.io", "pods"),
];

/// A team looks at everything in its namespaces but secrets: at each kind that stands there, and at what the cluster makes of it.
pub(crate) fn teams_see_what_is_theirs(rendered: &Rendered) -> Result<Findings> {
    let mut findings = Findings::new();
    for namespace in rendered.all::<Namespace>()? {
        let name = namespace.metadata.name.unwrap_or_default();
        let Some(team) = namespace.metadata.labels.and_then(|mut it| it.remove("team")) else {
            findings.push(format!("namespace {name} is no team's"));
            continue;
        };
        let mut seen: BTreeSet<_> = MADE_BY_THE_CLUSTER
            .map(|(verb, group, resource)| (verb, group.to_owned(), resource.to_owned()))
            .into();
        for document in rendered.documents() {
            if text(document, "/metadata/namespace") == name {
                seen.extend(resources_of(document).map(|(group, resource)| ("watch", group, resource)));
            }
        }
        for (verb, group, resource) in seen {
            if !may(rendered, &name, &team, verb, &group, &resource, "")? {
                findings.push(format!("{team} may not {verb} {resource} of {group:?} in {name}"));
            }
        }
    }
    Ok(findings)
}

/// The resource of an object, and of what a controller makes of it.
fn resources_of(document: &Value) -> impl Iterator<Item = (String, String)> {
    let (group, _) = text(document, "/apiVersion").split_once('/').unwrap_or_default();
    let kind = text(document, "/kind");
    let own = match kind.to_lowercase() {
        kind if kind.ends_with('y') => kind.trim_end_matches('y').to_owned() + "ies",
        kind => kind + "s",
    };
    let made = match kind {
        "Deployment" => Some((group, "replicasets")),
        "StatefulSet" => Some((group, "controllerrevisions")),
        "CronJob" => Some((group, "jobs")),
        _ => None,
    };
    let claims = document.pointer("/spec/volumeClaimTemplates").is_some();
    let claims = claims.then_some(("", "persistentvolumeclaims"));
    [(group, own.as_str())]
        .into_iter()
        .chain(made)
        .chain(claims)
        .filter(|(_, resource)| *resource != "secrets")
        .map(|(group, resource)| (group.to_owned(), resource.to_owned()))
        .collect::<Vec<_>>()
        .into_iter()
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether a Role allows something, with one object by its name, or, with `""`, with all of them.
pub fn may(
    rendered: &Rendered,
    namespace: &str,
    role: &str,
    verb: &str,
    group: &str,
    resource: &str,
    name: &str,
) -> Result<bool> {
    let has = |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|it| it == wanted);
    Ok(rendered.all::<Role>()?.into_iter().any(|it| {
        it.metadata.namespace.as_deref() == Some(namespace)
            && it.metadata.name.as_deref() == Some(role)
            && it.rules.into_iter().flatten().any(|rule| {
                let by_name =
                    rule.resource_names.as_ref().is_none_or(Vec::is_empty) || has(&rule.resource_names, name);
                rule.verbs.iter().any(|it| it == verb)
                    && has(&rule.api_groups, group)
                    && has(&rule.resources, resource)
                    && by_name
            })
    }))
}
