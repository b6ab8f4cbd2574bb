//! Cursors as they come back.
#![no_main]

#[path = "../../invoice-app/tests/it/properties/cursors.rs"]
mod cursors;

libfuzzer_sys::fuzz_target!(|input: &[u8]| cursors::holds_for(input));
