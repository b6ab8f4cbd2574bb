//! The run in which everything fails: faults drawn from one printed seed strike a system under load, and then every book is checked.

mod callers;
mod counters;
mod lost;
mod plan;
mod pulse;
mod rest;
mod restores;
mod run;
mod strikes;
mod timeline;
mod verdict;
mod world;

pub use self::{
    plan::{Database, Fault, Plan, Restored, Strike},
    run::{Options, REST, run},
    timeline::Timeline,
    verdict::Verdict,
};
