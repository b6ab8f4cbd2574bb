//! CSV as it is imported.
#![no_main]

#[path = "../../invoice-app/tests/it/properties/csv.rs"]
mod csv;

libfuzzer_sys::fuzz_target!(|input: &[u8]| csv::holds_for(input));
