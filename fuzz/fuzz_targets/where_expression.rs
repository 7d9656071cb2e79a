//! Arbitrary text as a condition on rows: an expression that prints and reads back as itself, or a mistake
//! with its place.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pointsman::prediction_log::query::expression::fuzz_expression(bytes);
});
