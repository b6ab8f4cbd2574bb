//! What the fuzzer starts from, and what is near to it: tried in the tests, the same in every run.

use std::{fs, path::Path};

/// Each seed, each beginning of it, and it with any one byte changed or left out.
pub(crate) fn for_all_near(target: &str, holds_for: impl Fn(&[u8])) {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let directory = above.find_map(|directory| {
        let seeds = directory.join("fuzz/seeds").join(target);
        seeds.is_dir().then_some(seeds)
    });
    let mut seeds = 0;
    for entry in fs::read_dir(directory.unwrap()).unwrap() {
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
