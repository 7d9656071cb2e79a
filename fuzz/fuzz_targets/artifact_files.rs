//! The small files beside a model: `READY` and its signature.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::inference::fuzz_artifact(bytes));
