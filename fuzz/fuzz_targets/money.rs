//! Amounts and currencies as they come in.
#![no_main]

#[path = "../../nats/contract/tests/properties/money.rs"]
mod money;

libfuzzer_sys::fuzz_target!(|input: &[u8]| money::holds_for(input));
