//! What only a cluster can show, when a local one, or the one named by `KUBE_CONTEXT`, has the system deployed: that policies are
//! enforced, that nobody gets further than they may, and that admission and roles refuse what they must.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]

use std::io::Write as _;

mod admission;
mod connections;
mod kube;
mod nats_permissions;
mod payments;
mod rollout;
mod teams;

/// The deployed cluster, or an early return that says why nothing was tested.
macro_rules! cluster {
    () => {
        $crate::cluster!(())
    };
    ($otherwise:expr) => {
        match $crate::kube::Cluster::find() {
            Ok(cluster) => cluster,
            Err(reason) => {
                $crate::skip(&reason);
                return $otherwise;
            }
        }
    };
}
pub(crate) use cluster;

/// Says so past the harness, which keeps to itself what a test prints that passes.
fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "no test on a cluster: {reason}");
}
