//! A program that passes a fail point, compiled by the test beside it.

#[path = "../../src"]
mod src {
    pub mod fail_points;
}
pub use src::fail_points;

fn main() {
    crate::fail_point!(PaymentCommitted);
}
