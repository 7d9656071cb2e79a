//! Open Inference bodies with binary tensors behind the JSON: no panic, and what is read can be written in every form.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::fuzz_binary_request(bytes));
