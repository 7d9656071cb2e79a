//! How often each slot of a layout was hit.
//!
//! Owns the counters of a shard or a window, and adding them up. Never knows when a value came: a
//! window is whoever holds the counts. Counts are integers, so that adding shards in any order gives
//! the same; the sums of the numbers in a bin agree but for rounding.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::layout::{Feature, FeatureKind, Guard, Layout, LayoutHash, Place, Value};

/// The counts of all features of a layout.
#[derive(Debug, Clone)]
pub struct Counts {
    layout: Arc<Layout>,
    features: Box<[FeatureCounts]>,
}

/// The counts of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureCounts {
    /// The bins, then the guards.
    slots: Box<[u64]>,
    /// The sum of the numbers in each bin; empty for features without numbers.
    sums: Box<[f64]>,
    /// The smallest number; infinite before the first.
    min: f32,
    /// The largest number; minus infinite before the first.
    max: f32,
}

impl Counts {
    /// All zero.
    pub fn new(layout: Arc<Layout>) -> Self {
        let features = layout.features().iter().map(FeatureCounts::new).collect();
        Self { layout, features }
    }

    /// What is counted here.
    pub const fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The counts in the order of the layout's features.
    pub fn features(&self) -> &[FeatureCounts] {
        &self.features
    }

    /// The counts of one feature.
    pub fn feature(&self, index: usize) -> Option<&FeatureCounts> {
        self.features.get(index)
    }

    /// Counts one value of the feature at `index`; a place beyond the layout is ignored.
    pub fn record(&mut self, index: usize, value: Value<'_>) {
        if let (Some(feature), Some(counts)) =
            (self.layout.features().get(index), self.features.get_mut(index))
        {
            counts.record(feature, value);
        }
    }

    /// Counts a row of numbers: one for each feature from `first` on.
    pub fn record_row(&mut self, first: usize, row: &[f32]) {
        let features = self.layout.features().get(first..).unwrap_or_default();
        let counts = self.features.get_mut(first..).unwrap_or_default();
        for ((feature, counts), &number) in features.iter().zip(counts).zip(row) {
            counts.record_number(feature, number);
        }
    }

    /// Adds what another shard or window counted.
    ///
    /// # Errors
    ///
    /// Refuses counts of another layout, and changes nothing then.
    pub fn merge(&mut self, other: &Self) -> Result<(), UnlikeLayouts> {
        if self.layout.hash() != other.layout.hash() {
            return Err(UnlikeLayouts { ours: self.layout.hash(), theirs: other.layout.hash() });
        }
        for (ours, theirs) in self.features.iter_mut().zip(&other.features) {
            ours.merge(theirs);
        }
        Ok(())
    }

    /// Sets one feature to zero; a place beyond the layout is ignored.
    pub fn clear_feature(&mut self, index: usize) {
        if let Some(counts) = self.features.get_mut(index) {
            counts.clear();
        }
    }

    /// Puts stored counts back.
    ///
    /// # Errors
    ///
    /// Refuses parts that do not fit the layout.
    pub fn restore(
        layout: Arc<Layout>,
        parts: impl IntoIterator<Item = FeatureCounts>,
    ) -> Result<Self, UnfitCounts> {
        let features: Box<[FeatureCounts]> = parts.into_iter().collect();
        let fits = features.len() == layout.features().len()
            && layout
                .features()
                .iter()
                .zip(&features)
                .all(|(feature, counts)| counts.fits(feature));
        if fits { Ok(Self { layout, features }) } else { Err(UnfitCounts) }
    }

    /// Sets all to zero, without giving memory back.
    pub fn clear(&mut self) {
        for counts in &mut self.features {
            counts.clear();
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.features.iter().all(|counts| counts.slots.iter().all(|&count| count == 0))
    }

    /// The memory that counts of this layout take, in bytes.
    pub fn bytes(layout: &Layout) -> usize {
        let of = |feature: &Feature| {
            let sums =
                if matches!(feature.kind(), FeatureKind::Numeric(_)) { feature.bins() } else { 0 };
            size_of::<FeatureCounts>() + 8 * (feature.slots() + sums)
        };
        size_of::<Self>() + layout.features().iter().map(of).sum::<usize>()
    }
}

impl FeatureCounts {
    /// All zero.
    pub fn new(feature: &Feature) -> Self {
        let sums =
            if matches!(feature.kind(), FeatureKind::Numeric(_)) { feature.bins() } else { 0 };
        Self {
            slots: vec![0; feature.slots()].into(),
            sums: vec![0.0; sums].into(),
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }

    /// Stored counts, still to be put back with [`Counts::restore`].
    pub fn from_parts(slots: Box<[u64]>, sums: Box<[f64]>, min: f32, max: f32) -> Self {
        Self { slots, sums, min, max }
    }

    fn fits(&self, feature: &Feature) -> bool {
        let empty = Self::new(feature);
        self.slots.len() == empty.slots.len()
            && self.sums.len() == empty.sums.len()
            && self.sums.iter().all(|sum| sum.is_finite())
            && !self.min.is_nan()
            && !self.max.is_nan()
    }

    /// Counts one value. `feature` is the one that these counts were made for.
    pub fn record(&mut self, feature: &Feature, value: Value<'_>) {
        match feature.place(value) {
            Place::Number(bin, number) => self.add_number(bin, number),
            Place::Category(bin) => self.add_one(bin),
            Place::Guard(guard) => self.add_one(feature.guard_slot(guard)),
        }
    }

    /// Counts one number: the short way of tensors.
    pub fn record_number(&mut self, feature: &Feature, number: f32) {
        match feature.kind() {
            FeatureKind::Numeric(edges) if number.is_finite() => {
                self.add_number(edges.bin(number), number);
            }
            FeatureKind::Numeric(_) => self.add_one(feature.guard_slot(Guard::of(number))),
            FeatureKind::Categorical(_) | FeatureKind::Boolean => {
                self.record(feature, Value::Number(f64::from(number)));
            }
        }
    }

    fn add_number(&mut self, bin: usize, number: f32) {
        self.add_one(bin);
        if let Some(sum) = self.sums.get_mut(bin) {
            *sum += f64::from(number);
        }
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    fn add_one(&mut self, slot: usize) {
        if let Some(count) = self.slots.get_mut(slot) {
            *count += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.slots.iter_mut().zip(&other.slots) {
            *ours = ours.saturating_add(*theirs);
        }
        for (ours, theirs) in self.sums.iter_mut().zip(&other.sums) {
            *ours += theirs;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.sums.fill(0.0);
        self.min = f32::INFINITY;
        self.max = f32::NEG_INFINITY;
    }

    /// All slots: the bins, then the guards.
    pub fn slots(&self) -> &[u64] {
        &self.slots
    }

    /// The bins.
    pub fn bins(&self) -> &[u64] {
        let bins = self.slots.len().saturating_sub(Guard::ALL.len());
        self.slots.get(..bins).unwrap_or_default()
    }

    /// How many values were of this guard.
    pub fn guard(&self, guard: Guard) -> u64 {
        let bins = self.bins().len();
        self.slots.get(bins + guard as usize).copied().unwrap_or(0)
    }

    /// The sum of the numbers in each bin; empty for features without numbers.
    pub fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// The smallest number; infinite before the first.
    pub const fn min(&self) -> f32 {
        self.min
    }

    /// The largest number; minus infinite before the first.
    pub const fn max(&self) -> f32 {
        self.max
    }

    /// How many values have a bin.
    pub fn valid(&self) -> u64 {
        self.bins().iter().sum()
    }

    /// How many values there were, guards included.
    pub fn seen(&self) -> u64 {
        self.slots.iter().sum()
    }

    /// The mean of the numbers; `None` before the first and for features without numbers.
    pub fn mean(&self) -> Option<f64> {
        let valid = self.valid();
        (valid > 0 && !self.sums.is_empty()).then(|| self.sums.iter().sum::<f64>() / valid as f64)
    }
}

/// Counts of two layouts, which have no sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("counts of the layouts {ours} and {theirs} cannot be added: their bins are not the same")]
pub struct UnlikeLayouts {
    /// The layout that was to be added to.
    pub ours: LayoutHash,
    /// The layout that was to be added.
    pub theirs: LayoutHash,
}

/// Stored counts that do not fit the layout they are said to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the stored counts do not fit the layout")]
pub struct UnfitCounts;
