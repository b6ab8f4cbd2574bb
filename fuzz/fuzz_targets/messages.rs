//! Bodies of messages, as they come out of a stream.
#![no_main]

#[path = "../../nats/contract/tests/properties/messages.rs"]
mod messages;

libfuzzer_sys::fuzz_target!(|input: &[u8]| messages::holds_for(input));
