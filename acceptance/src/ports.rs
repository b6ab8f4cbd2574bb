//! Ports for listeners that come and go: outside the range from which the system takes ports for outgoing connections, one of
//! which would otherwise sit on a port while the process that listens there is being started again.

use std::sync::{
    LazyLock,
    atomic::{AtomicU16, Ordering},
};

use local_stack::Ports;

/// The first port and the number of blocks of ten. The system's range usually begins at 32768.
const FIRST: u16 = 12_000;
const BLOCKS: u16 = 2000;

/// The first of ten ports that nobody uses now and nobody else in this process is given.
#[must_use]
pub fn free_block() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static BEGIN: LazyLock<u16> = LazyLock::new(rand::random);
    loop {
        // Other test processes begin elsewhere.
        let block = BEGIN.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let base = FIRST + block * 10;
        if Ports::from_base(base).check_free().is_ok() {
            return base;
        }
    }
}
