//! The frames of an HTTP/2 connection, cut anywhere: the same heads and resets are seen.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::proxy::fuzz_http2_frames(bytes));
