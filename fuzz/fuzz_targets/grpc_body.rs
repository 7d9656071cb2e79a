//! Everything that a client can send as Open Inference JSON: no panic, and what is read can be written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::fuzz_grpc_body(bytes));
