//! Arbitrary bytes as a segment that becomes a Parquet file in memory: no panic, and no loop without an
//! end.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _rows = pointsman::prediction_log::fuzz_parquet_rows(bytes);
});
