//! A clock for decisions: wall time at the start, and from there on the time that has passed.
//!
//! Owns that it never goes back and never jumps, whatever is done to the wall clock. Two runs may differ.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    began: Instant,
    began_ms: u64,
}

impl Steady {
    /// A clock that starts at the wall time of now.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), began_ms: millis(wall) }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.began_ms.saturating_add(millis(self.began.elapsed()))
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
