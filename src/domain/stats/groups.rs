//! The groups of bins that verdicts are made on: ten, because a test with few groups sees more and its
//! law holds from a hundred values on.
//!
//! Owns which bin belongs to which group; this follows from the reference alone, so that both sides
//! always agree. Distances that lose nothing by more bins use all of them.

use super::layout::{Feature, FeatureKind};

/// The groups of a numeric feature: tenths of the reference.
const TENTHS: usize = 10;
/// The most groups of a categorical feature, the one of rare values included.
const CATEGORIES_MAX: usize = 20;
/// Values with a smaller share of the reference are one group, together with unknown values.
const RARE_SHARE: f64 = 0.01;
/// The values that a window must have for each group.
const VALUES_PER_GROUP: usize = 10;
/// The values that a window must have however few groups there are.
const VALUES_MIN: usize = 50;

/// Which bin belongs to which group.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    of_bin: Box<[usize]>,
    len: usize,
}

impl Groups {
    /// The groups of a feature whose bins hold `reference`.
    pub fn new(feature: &Feature, reference: &[f64]) -> Self {
        let of_bin = match feature.kind() {
            FeatureKind::Numeric(_) => tenths(reference),
            FeatureKind::Categorical(_) => frequent(reference),
            FeatureKind::Boolean => (0..reference.len()).collect(),
        };
        let len = of_bin.iter().max().map_or(0, |last| last + 1);
        Self { of_bin, len }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The degrees of freedom of the divergence on these groups.
    pub fn df(&self) -> f64 {
        self.len.saturating_sub(1) as f64
    }

    /// The values from which on a window says anything.
    pub fn values_min(&self) -> usize {
        (VALUES_PER_GROUP * self.len).max(VALUES_MIN)
    }

    /// The counts of bins, added up.
    pub fn sum<T: Copy>(&self, bins: &[T], as_count: impl Fn(T) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.len];
        for (&group, &count) in self.of_bin.iter().zip(bins) {
            if let Some(sum) = sums.get_mut(group) {
                *sum += as_count(count);
            }
        }
        sums
    }

    /// The group of a bin.
    pub fn of(&self, bin: usize) -> Option<usize> {
        self.of_bin.get(bin).copied()
    }
}

/// Neighbouring bins whose middles lie in the same tenth of the reference.
fn tenths(reference: &[f64]) -> Box<[usize]> {
    let total: f64 = reference.iter().sum();
    let (mut before, mut last, mut group) = (0.0, None, 0);
    let mut place = |&count: &f64| {
        let middle = (before + count / 2.0) / total.max(f64::MIN_POSITIVE);
        // The small number keeps a middle that rounding moved onto an edge above it.
        let tenth = ((middle * TENTHS as f64 + 1e-9) as usize).min(TENTHS - 1);
        before += count;
        if last.is_some_and(|last| last != tenth) {
            group += 1;
        }
        last = Some(tenth);
        group
    };
    reference.iter().map(&mut place).collect()
}

/// Frequent values singly, the others and unknown ones together.
fn frequent(reference: &[f64]) -> Box<[usize]> {
    let total: f64 = reference.iter().sum();
    let known = reference.len().saturating_sub(1);
    let mut order: Vec<(usize, f64)> = reference.iter().copied().take(known).enumerate().collect();
    order.retain(|(_, count)| *count >= RARE_SHARE * total && *count > 0.0);
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.truncate(CATEGORIES_MAX - 1);
    let mut of_bin = vec![order.len(); reference.len()];
    for (group, (bin, _)) in order.into_iter().enumerate() {
        if let Some(slot) = of_bin.get_mut(bin) {
            *slot = group;
        }
    }
    of_bin.into()
}
