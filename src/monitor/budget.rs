//! What looking into bodies may cost.
//!
//! Owns the allowance of CPU time, which grows with the clock, and the share of exchanges that it is enough
//! for. Measures the thread that it is used on.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::sampling::HALVINGS_MAX;

/// Allowance that may be saved up.
const SAVED_MAX: Duration = Duration::from_secs(5);
/// Exchanges between two looks at the clock.
const STRIDE: u64 = 16;
/// Exchanges that make an estimate of the cost.
const ESTIMATE_MIN: u64 = 50;

/// The allowance.
#[derive(Debug)]
pub(super) struct Budget {
    /// The share of a core.
    share: f64,
    /// Seconds of CPU time that may be spent now.
    allowance: f64,
    /// When it last grew.
    grown: Instant,
    /// The CPU time of the thread when it was last read.
    cpu: Option<f64>,
    /// Since the last choice of a share: exchanges looked into, and their seconds.
    looked: u64,
    spent: f64,
}

impl Budget {
    pub(super) fn new(share: f64) -> Self {
        Self { share, allowance: 0.0, grown: Instant::now(), cpu: None, looked: 0, spent: 0.0 }
    }

    /// Whether more may be looked into.
    pub(super) fn has_any(&mut self) -> bool {
        if self.cpu.is_none() {
            let now = Instant::now();
            let passed = now.duration_since(self.grown).as_secs_f64();
            self.grown = now;
            let saved_max = SAVED_MAX.as_secs_f64() * self.share;
            self.allowance = (self.allowance + passed * self.share).min(saved_max);
            self.cpu = Some(cpu_seconds());
        } else if self.looked.is_multiple_of(STRIDE) {
            self.charge();
        }
        self.allowance > 0.0
    }

    /// Notes that an exchange was looked into.
    pub(super) fn looked(&mut self) {
        self.looked += 1;
    }

    /// Notes the end of looking for now.
    pub(super) fn pause(&mut self) {
        self.charge();
        self.cpu = None;
    }

    fn charge(&mut self) {
        if let Some(before) = self.cpu {
            let now = cpu_seconds();
            self.spent += now - before;
            self.allowance -= now - before;
            self.cpu = Some(now);
        }
    }

    /// How often the share must be halved for `offered` exchanges in a minute; begins a new estimate.
    pub(super) fn halvings(&mut self, offered: u64, current: u8) -> u8 {
        let (looked, spent) = (self.looked, self.spent);
        if looked < ESTIMATE_MIN {
            // Too few to tell what one costs; few enough to look at more of them.
            return if offered < ESTIMATE_MIN { current.saturating_sub(1) } else { current };
        }
        (self.looked, self.spent) = (0, 0.0);
        let load = spent / looked as f64 * offered as f64 / (60.0 * self.share);
        halvings(load, current)
    }
}

/// How often a load must be halved to fit into 1. It must fit well to be halved less often than now.
fn halvings(load: f64, current: u8) -> u8 {
    let needed = |load: f64| {
        let mut halvings = 0;
        while halvings < HALVINGS_MAX && load > f64::from(1u32 << halvings) {
            halvings += 1;
        }
        halvings
    };
    let wanted = needed(load);
    if wanted < current { needed(load / 0.8).min(current) } else { wanted }
}

/// The CPU time of this thread.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_halved_until_the_load_fits_and_widened_with_a_margin() {
        let cases = [
            (0.0, 0, 0),
            (1.0, 0, 0),
            (1.1, 0, 1),
            (3.9, 0, 2),
            (1e9, 0, HALVINGS_MAX),
            (1.9, 2, 2),
            (1.5, 2, 1),
            (0.9, 1, 1),
            (0.7, 1, 0),
        ];
        for (load, current, expected) in cases {
            assert_eq!(halvings(load, current), expected, "{load} at {current}");
        }
    }
}
