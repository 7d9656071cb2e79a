//! What a backend answers in any dialect: predictions, errors, states and metadata.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pointsman::protocol::dialect::fuzz_answer(bytes));
