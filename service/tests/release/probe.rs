//! A program that passes a fail point, compiled by the test beside it.

#[path = "../../src"]
mod src {
    pub mod fail_points;
}

#[path = "../../../nats/jetstream/src/locks.rs"]
mod locks;

#[path = "../../../nats/contract/src/words.rs"]
mod words;

use locks::lock;

mod fail_points {
    pub use crate::src::fail_points::*;

    crate::words! {
        pub enum FailPoint {
            /// The one it passes.
            PaymentCommitted = "payment.committed",
        }
    }
}

fn main() {
    crate::fail_point!(PaymentCommitted);
}
