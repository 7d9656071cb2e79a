//! What a client sends in any dialect without types.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::dialect::fuzz_request(bytes));
