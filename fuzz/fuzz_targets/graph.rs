//! Whatever a model file may hold: it is refused or goes on to be compiled, without a panic or a stack overflow.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pointsman::inference::fuzz_graph(bytes);
});
