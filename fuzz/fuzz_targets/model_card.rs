//! Arbitrary text as a `model.toml`: a card or a list of mistakes, each of which can be shown.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use pointsman::config::load_card;

/// One file a process, in memory where the system has such a place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("pointsman-fuzz-card-{}.toml", std::process::id()))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if std::fs::write(&*FILE, bytes).is_err() {
        return;
    }
    if let Err(mistakes) = load_card(&FILE) {
        assert!(!mistakes.to_string().is_empty(), "a refusal says why");
    }
});
