//! Every node of `ai.onnx.ml`: its attributes make an operator that runs on any numbers, or are refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pointsman::inference::fuzz_operator(bytes);
});
