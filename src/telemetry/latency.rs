//! Latency histograms, recorded by each worker for itself and merged when they are read.
//!
//! HdrHistogram with two significant digits: a recorded value is known to within one percent, from
//! one microsecond to one hour, and two histograms add up exactly. Quantiles are read from merged
//! counts and never averaged.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::shards::Padded;

/// The longest time that is told apart, in microseconds: one hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// Upper bounds of the exported buckets in microseconds: the advice of the OpenTelemetry HTTP
/// conventions, with finer steps below 5 ms for models that run in process.
const BOUNDS_US: [u64; 20] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000,
    500_000, 750_000, 1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// One histogram a worker.
#[derive(Debug)]
pub struct LatencyShards {
    shards: Box<[Padded<Mutex<Histogram<u64>>>]>,
}

impl LatencyShards {
    /// Empty histograms for `workers` recorders.
    pub fn new(workers: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Padded(Mutex::new(empty()))).collect() }
    }

    /// Counts one duration. Only `worker` records into its shard, so the lock is uncontended but for
    /// the moment of a scrape.
    pub fn record(&self, worker: usize, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(MICROS_MAX);
        let shard = &self.shards[worker % self.shards.len()];
        // A histogram that resizes takes every value; the range is bounded here.
        let recorded = shard.0.lock().record(micros.clamp(1, MICROS_MAX));
        debug_assert!(recorded.is_ok(), "the histogram grows with its values");
    }

    /// All shards added up.
    pub fn merged(&self) -> Histogram<u64> {
        let mut merged = empty();
        for shard in &self.shards {
            // Every shard is built by `empty`, so that the ranges agree and adding cannot fail.
            if let Err(error) = merged.add(&*shard.0.lock()) {
                debug_assert!(false, "histograms of one layout: {error}");
            }
        }
        merged
    }

    /// Whether nothing was recorded.
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.0.lock().is_empty())
    }

    /// Appends the histogram in the Prometheus text format, version 0.0.4; `labels` is the inner part
    /// of the braces, without a trailing comma.
    pub(super) fn render(&self, name: &str, labels: &str, out: &mut String) {
        let merged = self.merged();
        let mut below = 0;
        let mut bounds = BOUNDS_US.iter().peekable();
        let mut sum_us = 0.0;
        for step in merged.iter_recorded() {
            let value = step.value_iterated_to();
            while let Some(bound) = bounds.next_if(|bound| **bound < value) {
                line(out, name, labels, *bound, below);
            }
            below += step.count_since_last_iteration();
            #[expect(clippy::cast_precision_loss, reason = "a sum for people and rates")]
            {
                sum_us += value as f64 * step.count_since_last_iteration() as f64;
            }
        }
        for bound in bounds {
            line(out, name, labels, *bound, below);
        }
        let sum = sum_us / 1e6;
        out.push_str(&format!(
            "{name}_bucket{{{labels},le=\"+Inf\"}} {below}\n\
             {name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {below}\n"
        ));
    }
}

fn line(out: &mut String, name: &str, labels: &str, bound_us: u64, count: u64) {
    #[expect(clippy::cast_precision_loss, reason = "the bounds are small")]
    let seconds = bound_us as f64 / 1e6;
    out.push_str(&format!("{name}_bucket{{{labels},le=\"{seconds}\"}} {count}\n"));
}

/// A histogram that grows with what it sees, so that a target without traffic costs little memory.
#[expect(clippy::expect_used, reason = "invariant: two significant digits are always accepted")]
fn empty() -> Histogram<u64> {
    Histogram::new(2).expect("invariant: 0 to 5 significant digits are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_shards_add_up() {
        let shards = LatencyShards::new(2);
        for (worker, micros) in [(0, 40), (1, 60), (0, 400), (1, 20_000_000)] {
            shards.record(worker, Duration::from_micros(micros));
        }
        let mut text = String::new();
        shards.render("x", "model=\"m\"", &mut text);
        let count = |le: &str| {
            let prefix = format!("x_bucket{{model=\"m\",le=\"{le}\"}} ");
            text.lines()
                .find_map(|line| line.strip_prefix(&prefix))
                .unwrap_or_else(|| panic!("no bucket {le} in\n{text}"))
                .parse::<u64>()
                .unwrap()
        };
        assert_eq!(count("0.00005"), 1, "{text}");
        assert_eq!(count("0.0001"), 2);
        assert_eq!(count("0.0005"), 3);
        assert_eq!(count("10"), 3);
        assert_eq!(count("+Inf"), 4);
        assert!(text.contains("x_count{model=\"m\"} 4"));
    }
}
