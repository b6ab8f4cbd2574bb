//! A program that passes a fail point, compiled by the test beside it.

#[path = "../../src"]
mod src {
    pub mod fail_points;
}

#[path = "../../../nats/jetstream/src/locks.rs"]
mod locks;

use locks::lock;

mod fail_points {
    pub use crate::src::fail_points::*;

    crate::fail_points! {
        /// The one it passes.
        PaymentCommitted = "payment.committed",
    }
}

fn main() {
    crate::fail_point!(PaymentCommitted);
}
