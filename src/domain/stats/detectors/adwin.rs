//! Adaptive windowing: a window that shrinks when its two ends differ.
//!
//! Owns the exponential histogram of the window and the test of its cuts (Bifet, Gavaldà, "Learning from
//! time-changing data with adaptive windowing", SDM 2007). Memory grows with the logarithm of the window.

use std::collections::VecDeque;

use super::Signal;
use serde::{Deserialize, Serialize};

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdwinSettings {
    /// The confidence of the bound.
    pub delta: f64,
    /// Values from one look to the next.
    pub clock: u32,
    /// Buckets of one size.
    pub buckets: usize,
    /// The fewest values on each side of a cut.
    pub side: u32,
    /// The fewest values in the window.
    pub grace: u32,
}

impl Default for AdwinSettings {
    fn default() -> Self {
        Self { delta: 0.002, clock: 32, buckets: 5, side: 5, grace: 10 }
    }
}

/// The sum of `2^row` values and their squared distances from their mean.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Bucket {
    total: f64,
    squares: f64,
}

/// The detector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Adwin {
    settings: AdwinSettings,
    /// Buckets of 1, 2, 4, … values; the oldest first within a row, so that the oldest of all is the first
    /// of the last row.
    rows: Vec<VecDeque<Bucket>>,
    width: f64,
    total: f64,
    squares: f64,
    ticks: u32,
    has_drifted: bool,
}

impl Adwin {
    /// An empty window.
    pub fn new(settings: AdwinSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes the next value.
    pub fn observe(&mut self, value: f64) -> Signal {
        if self.has_drifted {
            *self = Self::new(self.settings);
        }
        self.insert(value);
        self.ticks = self.ticks.wrapping_add(1);
        let looks = self.ticks.is_multiple_of(self.settings.clock.max(1));
        if looks && self.width > f64::from(self.settings.grace) {
            while self.has_cut() {
                self.has_drifted = true;
                self.drop_oldest();
            }
        }
        if self.has_drifted { Signal::Drift } else { Signal::Quiet }
    }

    /// Values in the window.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// Their mean, 0 without values.
    pub fn mean(&self) -> f64 {
        if self.width > 0.0 { self.total / self.width } else { 0.0 }
    }

    fn insert(&mut self, value: f64) {
        self.width += 1.0;
        if self.width > 1.0 {
            let mean = self.total / (self.width - 1.0);
            self.squares += (self.width - 1.0) * (value - mean) * (value - mean) / self.width;
        }
        self.total += value;
        self.put(0, Bucket { total: value, squares: 0.0 });
        let (mut row, mut size) = (0, 1.0);
        while let Some(merged) = self.take_pair(row, size) {
            row += 1;
            size *= 2.0;
            self.put(row, merged);
        }
    }

    fn put(&mut self, row: usize, bucket: Bucket) {
        if self.rows.len() == row {
            self.rows.push(VecDeque::new());
        }
        if let Some(row) = self.rows.get_mut(row) {
            row.push_back(bucket);
        }
    }

    /// Joins the two oldest buckets of a row that has too many.
    fn take_pair(&mut self, row: usize, size: f64) -> Option<Bucket> {
        let row = self.rows.get_mut(row)?;
        if row.len() <= self.settings.buckets {
            return None;
        }
        let (first, second) = (row.pop_front()?, row.pop_front()?);
        let apart = first.total / size - second.total / size;
        let squares = first.squares + second.squares + size * 0.5 * apart * apart;
        Some(Bucket { total: first.total + second.total, squares })
    }

    /// Whether the window can be cut into two whose means differ too much.
    fn has_cut(&self) -> bool {
        let side = f64::from(self.settings.side);
        let (mut old, mut old_total) = (0.0, 0.0);
        let mut size = 2f64.powi(i32::try_from(self.rows.len()).unwrap_or(i32::MAX) - 1);
        for row in self.rows.iter().rev() {
            for bucket in row {
                old += size;
                old_total += bucket.total;
                let (new, new_total) = (self.width - old, self.total - old_total);
                if new < side {
                    return false;
                }
                if old >= side && self.differ(old, new, old_total / old - new_total / new) {
                    return true;
                }
            }
            size /= 2.0;
        }
        false
    }

    /// The bound of the paper's equation 3.1, with the variance of the window.
    fn differ(&self, old: f64, new: f64, apart: f64) -> bool {
        let side = f64::from(self.settings.side);
        let delta = (2.0 * self.width.ln() / self.settings.delta).ln();
        let harmonic = 1.0 / (old - side + 1.0) + 1.0 / (new - side + 1.0);
        let variance = self.squares / self.width;
        let bound = (2.0 * harmonic * variance * delta).sqrt() + 2.0 / 3.0 * delta * harmonic;
        apart.abs() > bound
    }

    fn drop_oldest(&mut self) {
        let size = 2f64.powi(i32::try_from(self.rows.len()).unwrap_or(i32::MAX) - 1);
        let Some(bucket) = self.rows.last_mut().and_then(VecDeque::pop_front) else { return };
        self.width -= size;
        self.total -= bucket.total;
        if self.width > 0.0 {
            let apart = bucket.total / size - self.total / self.width;
            let between = size * self.width * apart * apart / (size + self.width);
            self.squares = (self.squares - bucket.squares - between).max(0.0);
        }
        while self.rows.last().is_some_and(VecDeque::is_empty) {
            self.rows.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_what_it_was_given() {
        let mut detector = Adwin::default();
        for value in 0..1000 {
            assert_eq!(detector.observe(f64::from(value % 2)), Signal::Quiet);
        }
        assert_eq!((detector.width(), detector.mean()), (1000.0, 0.5));
        let buckets: usize = detector.rows.iter().map(VecDeque::len).sum();
        assert!(buckets < 60, "{buckets} buckets for 1000 values");
    }
}
