//! A bar for what takes longer than a second.
//!
//! Owns when it appears: on standard error, and only if that is a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long a command may take without a bar.
const QUIET: Duration = Duration::from_secs(1);
/// Steps between two looks at the clock.
const STRIDE: u32 = 256;

/// How far a command has come.
pub(super) struct Progress {
    started: Instant,
    steps: u32,
    template: &'static str,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Counts records.
    pub(super) fn records() -> Self {
        Self::new("{bar:40} {pos}/{len} records {eta}")
    }

    /// Counts bytes.
    pub(super) fn bytes() -> Self {
        Self::new("{bar:40} {bytes}/{total_bytes} {eta}")
    }

    fn new(template: &'static str) -> Self {
        Self { started: Instant::now(), steps: 0, template, bar: None }
    }

    /// Says that `done` of `all` are done.
    pub(super) fn set(&mut self, done: u64, all: u64) {
        self.steps = self.steps.wrapping_add(1);
        if !self.steps.is_multiple_of(STRIDE) {
            return;
        }
        if self.bar.is_none() && self.started.elapsed() >= QUIET {
            let style = ProgressStyle::with_template(self.template);
            let bar = ProgressBar::new(all);
            self.bar = Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(all.max(done));
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
