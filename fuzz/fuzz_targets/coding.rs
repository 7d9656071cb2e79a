//! Compressed bodies and the headers about them: inflated within the bound, and coded so that they can be read.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::proxy::fuzz_coding(bytes));
