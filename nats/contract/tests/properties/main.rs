//! What must hold for any input. `fuzz/` looks for some that breaks it; here the seeds it starts from are tried, and what is near
//! to them, the same in every run.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a property that does not hold fails by panicking"
)]

mod messages;
mod money;

use std::{fs, path::Path};

#[test]
fn money_is_what_it_says_or_refused() {
    for_all_near("money", money::holds_for);
}

#[test]
fn messages_mean_the_same_however_often_they_are_passed_on() {
    for_all_near("messages", messages::holds_for);
}

/// Each seed, each beginning of it, and it with any one byte changed or left out.
fn for_all_near(target: &str, holds_for: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let seed = fs::read(entry.unwrap().path()).unwrap();
        seeds += 1;
        holds_for(&seed);
        for (position, byte) in seed.iter().enumerate() {
            holds_for(&seed[..position]);
            let mut near = seed.clone();
            near.remove(position);
            holds_for(&near);
            for other in [b'0', b'9', b' ', b'"', b'\\', byte ^ 1, byte ^ 0x20, byte ^ 0x80] {
                near.clone_from(&seed);
                near[position] = other;
                holds_for(&near);
            }
        }
    }
    assert!(seeds > 5, "of {target} there are {seeds} seeds");
}
