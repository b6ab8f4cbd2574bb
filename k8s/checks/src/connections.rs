//! All replicas together take no more connections than Postgres allows.

use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::ConfigMap,
    networking::v1::NetworkPolicy,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::{
    Findings, Rendered, Result,
    configuration::{Service, services},
};

/// What an outside Postgres allows, said where its address is.
const ALLOWED: &str = "invoice-payments/max-connections";

/// Postgres keeps three for superusers; the rest is for a command of an operator, a backup, a look by hand.
const KEPT_FREE: i64 = 10;

/// However many pods there may be, during a rollout, too.
pub(crate) fn connections_fit(rendered: &Rendered) -> Result<Findings> {
    let mut demands = Vec::new();
    for service in services(rendered)? {
        let pods = most_pods(rendered, &service)?;
        let demand = service.number("database.max_connections")? * pods;
        demands.push((service.workload.name, demand));
    }
    let one_for_all = rendered.all::<ConfigMap>()?.into_iter().find_map(|map| {
        let data = map.data?;
        let settings = data.get("postgresql.conf")?;
        settings
            .lines()
            .find_map(|line| line.strip_prefix("max_connections = ")?.parse().ok())
    });
    if let Some(allowed) = one_for_all {
        let demand = demands.iter().map(|(_, demand)| demand).sum();
        return Ok(too_many("both services", demand, Some(allowed))
            .into_iter()
            .collect());
    }
    let policies = rendered.all::<NetworkPolicy>()?;
    Ok(demands
        .into_iter()
        .filter_map(|(name, demand)| {
            let policy = format!("{name}-egress-to-database");
            let policy = policies
                .iter()
                .find(|it| it.metadata.name.as_ref() == Some(&policy))?;
            let allowed = policy
                .metadata
                .annotations
                .as_ref()
                .and_then(|it| it.get(ALLOWED)?.parse().ok());
            too_many(&name, demand, allowed)
        })
        .collect())
}

fn too_many(whose: &str, demand: i64, allowed: Option<i64>) -> Option<String> {
    match allowed {
        Some(allowed) if demand + KEPT_FREE <= allowed => None,
        Some(allowed) => Some(format!(
            "pods of {whose} may take {demand} connections, and {KEPT_FREE} are kept free, where Postgres allows {allowed}"
        )),
        None => Some(format!(
            "nobody says in {ALLOWED} how many connections of {whose} are allowed"
        )),
    }
}

/// The most that whoever scales it allows, what a rollout adds, and, for each, one that stops: it finishes what is in flight, and
/// is not counted by the Deployment, which goes on with the next.
fn most_pods(rendered: &Rendered, service: &Service) -> Result<i64> {
    let name = &service.workload.name;
    let deployment = rendered
        .all::<Deployment>()?
        .into_iter()
        .find(|it| it.metadata.name.as_ref() == Some(name));
    let spec = deployment.and_then(|it| it.spec).unwrap_or_default();
    let surge = spec.strategy.and_then(|it| it.rolling_update?.max_surge);
    let surge = match surge {
        Some(IntOrString::Int(pods)) => i64::from(pods),
        _ => 1,
    };
    let by_autoscaler = rendered
        .all::<HorizontalPodAutoscaler>()?
        .into_iter()
        .find_map(|it| {
            let spec = it.spec?;
            (spec.scale_target_ref.name == *name).then_some(i64::from(spec.max_replicas))
        });
    let by_keda = rendered
        .of_kind("keda.sh/v1alpha1", "ScaledObject")
        .find_map(|it| {
            let target = it.pointer("/spec/scaleTargetRef/name").and_then(Value::as_str);
            (target == Some(name)).then(|| it.pointer("/spec/maxReplicaCount")?.as_i64())?
        });
    let fixed = i64::from(spec.replicas.unwrap_or(1));
    let replicas = by_autoscaler.or(by_keda).unwrap_or(fixed);
    Ok(2 * replicas + surge)
}
