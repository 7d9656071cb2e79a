//! The small JSON bodies, paths and content types: no panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::fuzz_small_bodies(bytes));
