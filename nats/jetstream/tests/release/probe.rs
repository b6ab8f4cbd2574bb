//! A program that passes a crash point, compiled by the test beside it.

#[path = "../../src"]
mod src {
    pub mod crash_points;
}
pub use src::crash_points;

fn main() {
    crate::crash_point!(PaymentCommitted);
}
