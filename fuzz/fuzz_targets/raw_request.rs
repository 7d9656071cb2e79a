//! Bodies that are nothing but the bytes of one tensor, for inputs of every type and shape.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::fuzz_raw_request(bytes));
