//! A wall clock for one gateway, which a test sets while it runs. Needs a C compiler, as the build does.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// The clock of the gateways that are started with [`Self::environment`].
pub(crate) struct Clock {
    dir: tempfile::TempDir,
    file: File,
    /// Since when, by how much it is ahead, and how fast it runs.
    setting: Mutex<(f64, f64, f64)>,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

impl Clock {
    /// One that agrees with the real one.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = super::repository("tests/kill_matrix/clock.c");
        let library = dir.path().join("clock.so");
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        assert!(compile.status().unwrap().success(), "a C compiler");
        let path = dir.path().join("clock");
        std::fs::write(&path, [0; 24]).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let clock = Self { dir, file, setting: Mutex::default() };
        clock.set(0.0, 1.0);
        clock
    }

    /// Lets it be ahead of the real one, and from now on run so many times as fast.
    pub(crate) fn set(&self, ahead_seconds: f64, rate: f64) {
        let numbers = [now(), ahead_seconds, rate];
        *self.setting.lock() = (numbers[0], ahead_seconds, rate);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        self.file.write_all_at(&bytes, 0).unwrap();
    }

    /// How long it is, by the real clock, until its next minute begins.
    pub(crate) fn to_the_next_minute(&self) -> Duration {
        let (since, ahead, rate) = *self.setting.lock();
        let now = now();
        let seen = now + ahead + (now - since).max(0.0) * (rate - 1.0);
        Duration::from_secs_f64((60.0 - seen.rem_euclid(60.0)) / rate)
    }

    /// What a process needs that is to live by it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, std::path::PathBuf)> {
        let path = |name: &str| self.dir.path().join(name);
        vec![("LD_PRELOAD", path("clock.so")), ("TEST_CLOCK", path("clock"))]
    }
}
