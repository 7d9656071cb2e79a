//! Questions to the reflection service: each has an answer that repeats it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::fuzz_reflection(bytes));
