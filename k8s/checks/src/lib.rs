//! What must hold for every overlay, checked on what kubectl renders and without a cluster.
//!
//! Each check is one function from a rendered overlay to the list of what is wrong with it. In `fixtures/` stands, under the
//! check's name, an overlay that is broken in just that way.

mod admission;
mod availability;
mod configuration;
mod connections;
mod containers;
mod monitoring;
mod network;
mod reachability;
mod rendered;
mod roles;
mod selectors;

pub use rendered::{Error, Rendered, Result, Workload, kubectl, workspace_root};
pub use roles::may;

/// What a check finds wrong.
pub type Findings = Vec<String>;

/// A named check.
pub struct Check {
    /// What it is called, here and in `fixtures/`.
    pub name: &'static str,
    /// Finds what is wrong.
    pub find: fn(&Rendered) -> Result<Findings>,
}

/// Every check.
pub const CHECKS: [Check; 31] = [
    Check {
        name: "nothing-selects-payment-provider",
        find: reachability::nothing_selects_payment_provider,
    },
    Check {
        name: "admission-keeps-payments-closed",
        find: reachability::admission_keeps_payments_closed,
    },
    Check {
        name: "every-way-in-is-refused",
        find: reachability::every_way_in_is_refused,
    },
    Check {
        name: "gateways-set-no-timeout",
        find: reachability::gateways_set_no_timeout,
    },
    Check {
        name: "teams-run-what-is-theirs",
        find: admission::teams_run_what_is_theirs,
    },
    Check {
        name: "jobs-have-a-template",
        find: admission::jobs_have_a_template,
    },
    Check {
        name: "teams-write-no-grants",
        find: admission::teams_write_no_grants,
    },
    Check {
        name: "teams-see-what-is-theirs",
        find: roles::teams_see_what_is_theirs,
    },
    Check {
        name: "selectors-match",
        find: selectors::selectors_match,
    },
    Check {
        name: "selectors-name-only",
        find: selectors::selectors_name_only,
    },
    Check {
        name: "targets-exist",
        find: selectors::targets_exist,
    },
    Check {
        name: "roles-name-what-is-there",
        find: selectors::roles_name_what_is_there,
    },
    Check {
        name: "default-deny",
        find: network::default_deny,
    },
    Check {
        name: "peers-are-exact",
        find: network::peers_are_exact,
    },
    Check {
        name: "restricted",
        find: containers::restricted,
    },
    Check {
        name: "resources",
        find: containers::resources,
    },
    Check {
        name: "probes-differ",
        find: containers::probes_differ,
    },
    Check {
        name: "images-are-pinned",
        find: containers::images_are_pinned,
    },
    Check {
        name: "quorums-are-apart",
        find: availability::quorums_are_apart,
    },
    Check {
        name: "one-container-decides",
        find: availability::one_container_decides,
    },
    Check {
        name: "scaling-follows-work",
        find: availability::scaling_follows_work,
    },
    Check {
        name: "keys-exist",
        find: configuration::keys_exist,
    },
    Check {
        name: "ports-agree",
        find: configuration::ports_agree,
    },
    Check {
        name: "both-families-are-heard",
        find: configuration::both_families_are_heard,
    },
    Check {
        name: "hosts-keep-their-address",
        find: configuration::hosts_keep_their_address,
    },
    Check {
        name: "connections-fit",
        find: connections::connections_fit,
    },
    Check {
        name: "files-are-mounted",
        find: configuration::files_are_mounted,
    },
    Check {
        name: "stops-in-time",
        find: configuration::stops_in_time,
    },
    Check {
        name: "alerts-name-real-metrics",
        find: monitoring::alerts_name_real_metrics,
    },
    Check {
        name: "dashboards-show-real-metrics",
        find: monitoring::dashboards_show_real_metrics,
    },
    Check {
        name: "buckets-are-named-both-ways",
        find: monitoring::buckets_are_named_both_ways,
    },
];
