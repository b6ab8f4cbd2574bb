//! Ids of events as they come back in `Last-Event-ID`.
#![no_main]

#[path = "../../invoice-app/tests/it/properties/event_ids.rs"]
mod event_ids;

libfuzzer_sys::fuzz_target!(|input: &[u8]| event_ids::holds_for(input));
