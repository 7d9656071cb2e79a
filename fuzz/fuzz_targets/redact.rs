//! Every body that a client or a backend can send under redaction rules: no panic, and what comes out
//! can be read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::proxy::fuzz_redact(bytes));
