//! The groups of bins that verdicts are made on: ten, because a test with few groups sees more and its
//! law holds from a hundred values on.
//!
//! Owns which bin belongs to which group; this follows from the reference alone, so that both sides
//! always agree. Distances that lose nothing by more bins use all of them.

use super::layout::{Feature, FeatureKind};

/// The groups of a numeric feature: tenths of the reference.
const TENTHS: usize = 10;
/// The most groups of known values of a categorical feature.
const CATEGORIES_MAX: usize = 20;
/// The most values that are groups of their own.
const FREQUENT_MAX: usize = CATEGORIES_MAX - 1;
/// Values with a smaller share of the reference share a group with others.
const RARE_SHARE: f64 = 0.01;
/// The share of the reference that a group of such values has at least, where they have so much.
const SHARED_SHARE: f64 = 0.05;
/// The values that a window must have for each group.
const VALUES_PER_GROUP: usize = 10;
/// The values that a window must have however few groups there are.
const VALUES_MIN: usize = 50;

/// Which bin belongs to which group.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    of_bin: Box<[usize]>,
    len: usize,
    /// Those that the reference has values of.
    used: usize,
}

impl Groups {
    /// The groups of a feature whose bins hold `reference`.
    pub fn new(feature: &Feature, reference: &[f64]) -> Self {
        let of_bin = match feature.kind() {
            FeatureKind::Numeric(_) => tenths(reference),
            FeatureKind::Categorical(_) => categories(reference),
            FeatureKind::Boolean => (0..reference.len()).collect(),
        };
        let len = of_bin.iter().max().map_or(0, |last| last + 1);
        let mut groups = Self { of_bin, len, used: 0 };
        let sums = groups.sum(reference, |count| count);
        groups.used = sums.iter().filter(|count| **count > 0.0).count();
        groups
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The degrees of freedom of the divergence on the groups that the reference has.
    pub fn df(&self) -> f64 {
        self.used.saturating_sub(1) as f64
    }

    /// The values from which on a window, or a reference, says anything.
    pub fn values_min(&self) -> usize {
        (VALUES_PER_GROUP * self.used).max(VALUES_MIN)
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

/// Frequent values singly; the others in groups of like weight, each value to the group that is the lightest so
/// far; and unknown ones by themselves.
fn categories(reference: &[f64]) -> Box<[usize]> {
    let total: f64 = reference.iter().sum();
    let known = reference.len().saturating_sub(1);
    let mut order: Vec<(usize, f64)> = reference.iter().copied().take(known).enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let is_frequent = |count: f64| count >= RARE_SHARE * total && count > 0.0;
    let frequent = order.iter().take_while(|(_, count)| is_frequent(*count)).count();
    let frequent = frequent.min(FREQUENT_MAX);
    let (singly, shared) = order.split_at(frequent);
    let share = shared.iter().map(|(_, count)| count).sum::<f64>() / total.max(f64::MIN_POSITIVE);
    let groups = match shared.len() {
        0 => 0,
        _ => ((share / SHARED_SHARE) as usize).clamp(1, CATEGORIES_MAX - frequent),
    };
    let mut weights = vec![0.0_f64; groups];
    let mut of_bin = vec![frequent + groups; reference.len()];
    let mut put = |bin: usize, group: usize| {
        if let Some(slot) = of_bin.get_mut(bin) {
            *slot = group;
        }
    };
    for (group, (bin, _)) in singly.iter().enumerate() {
        put(*bin, group);
    }
    for (bin, count) in shared {
        let lightest = weights.iter_mut().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        if let Some((group, weight)) = lightest {
            *weight += count;
            put(*bin, frequent + group);
        }
    }
    of_bin.into()
}
