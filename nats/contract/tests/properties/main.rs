//! What must hold for any input. `fuzz/` looks for some that breaks it; here the seeds it starts from are tried, and what is near
//! to them, the same in every run.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a property that does not hold fails by panicking"
)]

mod messages;
mod money;
#[path = "../../../../fuzz/near.rs"]
mod near;

use near::for_all_near;

#[test]
fn money_is_what_it_says_or_refused() {
    for_all_near("money", money::holds_for);
}

#[test]
fn messages_mean_the_same_however_often_they_are_passed_on() {
    for_all_near("messages", messages::holds_for);
}
