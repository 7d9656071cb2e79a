//! The messages of gRPC that are no prediction: what can be read is written as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::fuzz_grpc_messages(bytes));
