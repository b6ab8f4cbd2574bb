//! What the admission policies let through, tried by evaluating their expressions. That a cluster evaluates them alike is
//! `tests/cluster`'s to show.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]

mod documents;
mod operators;
mod policy;
mod teams;

/// Where a workload, or a Job, says what its pods are.
const POD: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";
