//! The body of a gRPC call, cut anywhere: its frames, its predictions in both directions, its headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::fuzz_grpc_body(bytes));
