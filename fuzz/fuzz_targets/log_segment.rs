//! Arbitrary bytes as a segment of the prediction log: no panic, and no loop without an end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _rows = pointsman::prediction_log::fuzz_segment(bytes);
});
