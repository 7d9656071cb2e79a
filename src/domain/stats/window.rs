//! Windows: what is counted about one version between two points in time.
//!
//! Owns minutes and the lengths of windows, what is counted about the traffic of a version, and the exact
//! sum of two counts. Never reads a clock: the minute of an exchange is the one in which it ended, and
//! both numbers that say so stand in its record, so that the same window can be counted again from the
//! prediction log.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

use hdrhistogram::Histogram;

use super::counts::Counts;
use super::heavy_hitters::HeavyHitters;
use super::layout::LayoutHash;
use crate::domain::record::{Latency, Outcome};

/// Microseconds in a minute.
const MINUTE_US: u64 = 60_000_000;

/// A minute, counted from the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Minute(pub u32);

impl Minute {
    /// The minute in which a moment lies, in microseconds since the Unix epoch.
    pub fn of_us(unix_us: u64) -> Self {
        Self(u32::try_from(unix_us / MINUTE_US).unwrap_or(u32::MAX))
    }

    /// The minute in which an exchange ended that began at `ts_us` and took `t_total_us`.
    pub fn of_exchange(ts_us: u64, t_total_us: u32) -> Self {
        Self::of_us(ts_us.saturating_add(t_total_us.into()))
    }

    /// Its first moment, in microseconds since the Unix epoch.
    pub fn start_us(self) -> u64 {
        u64::from(self.0) * MINUTE_US
    }

    /// The minute after `minutes` more.
    #[must_use]
    pub fn plus(self, minutes: u32) -> Self {
        Self(self.0.saturating_add(minutes))
    }
}

/// How long a window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WindowLength {
    /// A minute.
    Minute,
    /// An hour, from its first minute in UTC.
    Hour,
    /// A day, from midnight in UTC.
    Day,
}

impl WindowLength {
    /// All of them, shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// In minutes.
    pub const fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The length of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|length| length.as_str() == word)
    }

    /// The first minute of the window that `minute` lies in.
    pub const fn start_of(self, minute: Minute) -> Minute {
        Minute(minute.0 - minute.0 % self.minutes())
    }
}

/// A part of the time that an exchange took, measured from the arrival of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// From the first byte of the request to the last of the response.
    Total,
    /// Waiting for an executor thread.
    Queue,
    /// Running in process.
    Infer,
    /// From the request being sent to the head of the backend's response.
    Upstream,
    /// What is left of the total: reading, deciding, decoding, encoding, the log, and sending.
    Overhead,
}

impl Stage {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Total, Self::Queue, Self::Infer, Self::Upstream, Self::Overhead];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Queue => "queue",
            Self::Infer => "infer",
            Self::Upstream => "upstream",
            Self::Overhead => "overhead",
        }
    }

    /// What an exchange spent in it, in microseconds.
    pub fn of(self, latency: &Latency) -> Option<u32> {
        match self {
            Self::Total => Some(latency.t_total),
            Self::Queue => latency.t_queue,
            Self::Infer => latency.t_infer,
            Self::Upstream => latency.t_ttfb,
            Self::Overhead => {
                let elsewhere = [latency.t_queue, latency.t_infer, latency.t_ttfb];
                let elsewhere = elsewhere.into_iter().flatten().fold(0u32, u32::saturating_add);
                Some(latency.t_total.saturating_sub(elsewhere))
            }
        }
    }
}

/// Why the values of an exchange were not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unseen {
    /// It did not belong to the share that is looked at.
    Sampled,
    /// Too much was waiting to be looked at.
    Busy,
    /// Its body was not kept whole.
    Omitted,
    /// Its body could not be understood.
    Unreadable,
    /// It has no answer of the model.
    Failed,
}

impl Unseen {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Sampled, Self::Busy, Self::Omitted, Self::Unreadable, Self::Failed];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Busy => "busy",
            Self::Omitted => "omitted",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
        }
    }
}

/// Times as they are recorded: dense, so that recording one is an addition.
#[derive(Debug, Clone)]
pub struct LatencyRecorder {
    histogram: Histogram<u64>,
    sum_us: u64,
}

/// The longest time that is told apart, in microseconds: one hour.
const MICROS_MAX: u32 = 3_600_000_000;

impl LatencyRecorder {
    /// An empty recorder: two significant digits, growing with what it sees.
    #[expect(clippy::expect_used, reason = "invariant: two significant digits are always accepted")]
    pub fn new() -> Self {
        let histogram = Histogram::new(2).expect("invariant: 0 to 5 significant digits are valid");
        Self { histogram, sum_us: 0 }
    }

    /// Counts one time.
    pub fn record(&mut self, us: u32) {
        // A histogram that resizes takes every value; the range is bounded here.
        let recorded = self.histogram.record(us.clamp(1, MICROS_MAX).into());
        debug_assert!(recorded.is_ok(), "the histogram grows with its values");
        self.sum_us = self.sum_us.saturating_add(us.into());
    }

    /// Forgets everything but the room it takes.
    pub fn reset(&mut self) {
        if !self.histogram.is_empty() {
            self.histogram.reset();
        }
        self.sum_us = 0;
    }
}

impl Default for LatencyRecorder {
    fn default() -> Self {
        Self::new()
    }
}

/// Times that were recorded: sparse, so that a closed window takes little room. Every time is known to
/// within one percent, and two of them add up exactly.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LatencyCounts {
    /// Upper ends of the buckets of HdrHistogram with two significant digits, in microseconds, and
    /// how many times lie in each; in order, none of them empty.
    buckets: Vec<(u32, u64)>,
    sum_us: u64,
}

impl LatencyCounts {
    /// Counts that were stored. `None` unless buckets are in order and none is empty.
    pub fn from_parts(buckets: Vec<(u32, u64)>, sum_us: u64) -> Option<Self> {
        let ordered = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let full = buckets.iter().all(|(_, count)| *count > 0);
        (ordered && full).then_some(Self { buckets, sum_us })
    }

    /// Upper ends in microseconds, and counts.
    pub fn buckets(&self) -> &[(u32, u64)] {
        &self.buckets
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// All of them together, in microseconds, exact.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The time that a share of all do not exceed, in microseconds; `None` without any.
    pub fn quantile_us(&self, share: f64) -> Option<u32> {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among fewer than 2^53"
        )]
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        self.buckets.iter().find_map(|(us, count)| {
            below += count;
            (below >= rank).then_some(*us)
        })
    }

    /// How many took longer than `us`, to within the width of a bucket.
    pub fn above(&self, us: u32) -> u64 {
        let longer = self.buckets.iter().filter(|(bucket, _)| *bucket > us);
        longer.map(|(_, count)| count).sum()
    }

    /// Adds what was recorded.
    pub fn add_recorded(&mut self, recorded: &LatencyRecorder) {
        if recorded.histogram.is_empty() {
            return;
        }
        let buckets = recorded.histogram.iter_recorded().map(|step| {
            let us = u32::try_from(step.value_iterated_to()).unwrap_or(u32::MAX);
            (us, step.count_since_last_iteration())
        });
        self.merge(&Self { buckets: buckets.collect(), sum_us: recorded.sum_us });
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        let mut merged = Vec::with_capacity(self.buckets.len() + other.buckets.len());
        let (mut own, mut more) = (self.buckets.iter().peekable(), other.buckets.iter().peekable());
        loop {
            let next = match (own.peek(), more.peek()) {
                (Some(a), Some(b)) if a.0 == b.0 => (a.0, a.1 + b.1),
                (Some(a), Some(b)) => **if a.0 < b.0 { a } else { b },
                (Some(one), None) | (None, Some(one)) => **one,
                (None, None) => break,
            };
            own.next_if(|bucket| bucket.0 == next.0);
            more.next_if(|bucket| bucket.0 == next.0);
            merged.push(next);
        }
        self.buckets = merged;
    }

    /// The bytes of the heap that it takes.
    pub fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<(u32, u64)>()
    }
}

/// What is counted about the traffic of a version, whatever is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Exchanges by how they ended, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Predictions: rows of the exchanges that the gateway looked into, and one for each other.
    pub rows: u64,
    /// Exchanges whose values were looked at.
    pub seen: u64,
    /// Exchanges whose values were not, in the order of [`Unseen::ALL`].
    pub unseen: [u64; Unseen::ALL.len()],
    /// Times, in the order of [`Stage::ALL`].
    latency: [LatencyCounts; Stage::ALL.len()],
}

impl Traffic {
    /// Exchanges that ended in one way.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(usize::from(outcome.code()) - 1).copied().unwrap_or(0)
    }

    /// All exchanges.
    pub fn exchanges(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Exchanges that were not looked at for one reason.
    pub fn not_seen(&self, reason: Unseen) -> u64 {
        self.unseen.get(reason as usize).copied().unwrap_or(0)
    }

    /// The share of the exchanges with an answer of the model whose values were looked at; `None` without
    /// any.
    pub fn share_seen(&self) -> Option<f64> {
        let failed = self.not_seen(Unseen::Failed);
        let all = (self.seen + self.unseen.iter().sum::<u64>()).saturating_sub(failed);
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = self.seen as f64 / all as f64;
        (all > 0).then_some(share)
    }

    /// The times of one stage.
    pub fn latency(&self, stage: Stage) -> &LatencyCounts {
        &self.latency[stage as usize]
    }

    /// The times of one stage, to be filled from a store.
    pub fn latency_mut(&mut self, stage: Stage) -> &mut LatencyCounts {
        &mut self.latency[stage as usize]
    }

    /// Adds what was recorded.
    pub fn add_recorded(&mut self, recorded: &TrafficRecorder) {
        add(&mut self.outcomes, &recorded.outcomes);
        add(&mut self.unseen, &recorded.unseen);
        self.rows += recorded.rows;
        self.seen += recorded.seen;
        for (own, times) in self.latency.iter_mut().zip(&recorded.latency) {
            own.add_recorded(times);
        }
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.outcomes, &other.outcomes);
        add(&mut self.unseen, &other.unseen);
        self.rows += other.rows;
        self.seen += other.seen;
        for (own, times) in self.latency.iter_mut().zip(&other.latency) {
            own.merge(times);
        }
    }

    /// The bytes of the heap that it takes.
    pub fn heap_bytes(&self) -> usize {
        self.latency.iter().map(LatencyCounts::heap_bytes).sum()
    }
}

fn add<const N: usize>(counts: &mut [u64; N], more: &[u64; N]) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count += more;
    }
}

/// The traffic of one version as one worker records it.
#[derive(Debug, Clone, Default)]
pub struct TrafficRecorder {
    outcomes: [u64; Outcome::ALL.len()],
    rows: u64,
    seen: u64,
    unseen: [u64; Unseen::ALL.len()],
    latency: [LatencyRecorder; Stage::ALL.len()],
}

impl TrafficRecorder {
    /// Counts an exchange.
    pub fn record(&mut self, outcome: Outcome, rows: Option<u32>, latency: &Latency) {
        if let Some(count) = self.outcomes.get_mut(usize::from(outcome.code()) - 1) {
            *count += 1;
        }
        if outcome == Outcome::Ok {
            self.rows += u64::from(rows.unwrap_or(1));
        }
        for (stage, times) in Stage::ALL.into_iter().zip(&mut self.latency) {
            if let Some(us) = stage.of(latency) {
                times.record(us);
            }
        }
    }

    /// Counts an exchange whose values were looked at.
    pub fn see(&mut self) {
        self.seen += 1;
    }

    /// Counts an exchange whose values were not.
    pub fn miss(&mut self, reason: Unseen) {
        if let Some(count) = self.unseen.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// Forgets everything but the room it takes.
    pub fn reset(&mut self) {
        self.outcomes = Default::default();
        self.unseen = Default::default();
        (self.rows, self.seen) = (0, 0);
        self.latency.iter_mut().for_each(LatencyRecorder::reset);
    }
}

/// Everything that is counted about a version in one window.
#[derive(Debug, Clone, Default)]
pub struct WindowCounts {
    /// Its traffic.
    pub traffic: Traffic,
    /// Its inputs by how often they came, as far as they were recorded.
    pub inputs: HeavyHitters,
    /// What its features and outputs were: one for each layout by which they were counted. There is more
    /// than one where the baseline was replaced within the window.
    values: Vec<Counts>,
}

/// The most layouts of one window; with a further one, the counts of the oldest are forgotten.
const LAYOUTS_MAX: usize = 4;

impl WindowCounts {
    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        self.traffic.merge(&other.traffic);
        self.inputs.merge(&other.inputs);
        for counts in &other.values {
            self.add_values(counts);
        }
    }

    /// Adds values that were counted.
    pub fn add_values(&mut self, counts: &Counts) {
        // Only counts of the same layout have a sum.
        if self.values.iter_mut().any(|own| own.merge(counts).is_ok()) {
            return;
        }
        // The newest is the one that traffic is counted by from now on.
        if self.values.len() >= LAYOUTS_MAX {
            self.values.remove(0);
        }
        self.values.push(counts.clone());
    }

    /// Everything that was counted about values, by layout.
    pub fn values(&self) -> &[Counts] {
        &self.values
    }

    /// What was counted about values by one layout.
    pub fn values_by(&self, layout: LayoutHash) -> Option<&Counts> {
        self.values.iter().find(|counts| counts.layout().hash() == layout)
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        let values = self.values.iter().map(|counts| Counts::bytes(counts.layout()));
        size_of::<Self>()
            + self.traffic.heap_bytes()
            + self.inputs.heap_bytes()
            + values.sum::<usize>()
    }
}

/// The counts of one window.
#[derive(Debug, Clone)]
pub struct Window {
    /// Its first minute.
    pub start: Minute,
    /// How long it is.
    pub length: WindowLength,
    /// What was counted.
    pub counts: WindowCounts,
}

impl Window {
    /// The first minute after it.
    pub fn end(&self) -> Minute {
        self.start.plus(self.length.minutes())
    }
}
