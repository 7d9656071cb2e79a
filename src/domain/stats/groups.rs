//! The groups of bins that verdicts are made on: ten, because a test with few groups sees more and its
//! law holds from a hundred values on.
//!
//! Owns which bin belongs to which group; this follows from the reference alone, so that both sides
//! always agree. Distances that lose nothing by more bins use all of them.
//!
//! A category has values that its reference does not happen to have. They are not nothing: by Good and Turing, their
//! share is about that of the values that the reference has once. In general, what is left of a value when one of its
//! rows is left out says what the next row will find: rows of values that were seen `s + 1` times will find values
//! that were seen `s` times. So the values that were seen at most `s` times share a group with the unknown ones, the
//! *tail*, and the rows of those that were seen once more count for it, too. `s` is 0 where that is next to
//! nothing, as it is for most features; else one to three more, where that is less. A reference that does not know
//! all of its own values by name has told only the most frequent, which are less frequent than they seem: there `s` begins
//! with the least of them.

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
/// A tail that gets less than this share of the reference from those above it needs no other end.
const NEGLIGIBLE: f64 = 0.005;
/// By how much the end of a tail may be raised.
const TAIL_SPAN: u64 = 3;
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
    /// Of a category: up to how often the reference has the values that count as unknown.
    tail: Option<u64>,
}

impl Groups {
    /// The groups of a feature whose bins hold `reference`.
    pub fn new(feature: &Feature, reference: &[f64]) -> Self {
        let (of_bin, tail) = match feature.kind() {
            FeatureKind::Numeric(_) => (tenths(reference), None),
            FeatureKind::Categorical(_) => {
                let tail = tail_of(reference);
                (categories(reference, tail), Some(tail))
            }
            FeatureKind::Boolean => ((0..reference.len()).collect(), None),
        };
        let len = of_bin.iter().max().map_or(0, |last| last + 1);
        let mut groups = Self { of_bin, len, used: 0, tail };
        groups.used = groups.expected(reference).iter().filter(|count| **count > 0.0).count();
        groups
    }

    /// The same groups, as a reference with other counts has them: its tail is its own.
    #[must_use]
    pub fn for_reference(&self, reference: &[f64]) -> Self {
        let mut groups = self.clone();
        if let (Some(tail), Some(&unknown)) = (self.tail, self.of_bin.last()) {
            for (group, &count) in groups.of_bin.iter_mut().zip(reference) {
                if whole(count) <= tail {
                    *group = unknown;
                }
            }
        }
        groups
    }

    /// What the reference lets expect in each group, as counts: its own, and those of values that it has not seen.
    pub fn expected(&self, reference: &[f64]) -> Vec<f64> {
        let mut sums = self.sum(reference, |count| count);
        let (Some(tail), Some((&unknown, known))) = (self.tail, self.of_bin.split_last()) else {
            return sums;
        };
        let moved = rows_seen(known_of(reference), tail + 1);
        let apart = || known.iter().filter(|group| **group != unknown);
        let of_each = moved / (apart().count().max(1) as f64);
        if moved <= 0.0 || apart().next().is_none() {
            return sums;
        }
        for &group in apart() {
            if let Some(sum) = sums.get_mut(group) {
                *sum = (*sum - of_each).max(0.0);
            }
        }
        if let Some(sum) = sums.get_mut(unknown) {
            *sum += moved;
        }
        sums
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

    /// The last bin of each group but the last one, where groups are bins in a row: those of a number.
    pub fn ends(&self) -> impl Iterator<Item = usize> {
        let pairs = self.of_bin.iter().zip(self.of_bin.iter().skip(1)).enumerate();
        pairs.filter(|(_, (group, next))| group != next).map(|(bin, _)| bin)
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
}

/// The share of values that traffic like that of a reference has, and the names of a category do not: those that the
/// reference has no name for, and by Good and Turing as many as it has of the most seldom that has one.
pub fn expected_unknown(reference: &[f64]) -> f64 {
    let total: f64 = reference.iter().sum();
    let other = reference.last().copied().unwrap_or(0.0);
    let known = known_of(reference);
    let fewest = fewest(known);
    let more = match other > 0.0 {
        // Where all are known by name, what the next row may miss is what was seen once.
        false => rows_seen(known, 1),
        true if !is_rare(fewest, total) => 0.0,
        // Without one of its rows, a value that was seen once more than the least would be one of many that are alike, of
        // which some have a name.
        true => {
            let (named, next) = (rows_seen(known, fewest), rows_seen(known, fewest + 1));
            named + next * other / (other + named + fewest as f64)
        }
    };
    ((other + more) / total.max(f64::MIN_POSITIVE)).min(1.0)
}

/// A count of a reference, which a file gives as a share, as the whole number that it was.
fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// The bins of a category that have a name.
fn known_of(reference: &[f64]) -> &[f64] {
    reference.split_last().map_or(&[], |(_, known)| known)
}

/// How often the most seldom of the values was seen; 0 where none was.
fn fewest(known: &[f64]) -> u64 {
    known.iter().map(|&count| whole(count)).filter(|count| *count > 0).min().unwrap_or(0)
}

/// The rows of all values that were seen so often.
fn rows_seen(known: &[f64], times: u64) -> f64 {
    known.iter().filter(|count| whole(**count) == times).sum()
}

fn is_rare(times: u64, total: f64) -> bool {
    (times as f64) < RARE_SHARE * total
}

/// Up to how often values were seen that are not told from unknown ones.
fn tail_of(reference: &[f64]) -> u64 {
    let total: f64 = reference.iter().sum();
    let other = reference.last().copied().unwrap_or(0.0);
    let known = known_of(reference);
    let fewest = fewest(known);
    let first = if other > 0.0 && is_rare(fewest, total) { fewest } else { 0 };
    let mut best = (first, rows_seen(known, first + 1));
    for end in first + 1..=first + TAIL_SPAN {
        if best.1 <= NEGLIGIBLE * total || !is_rare(end, total) {
            break;
        }
        let moved = rows_seen(known, end + 1);
        if moved < best.1 {
            best = (end, moved);
        }
    }
    best.0
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
/// far; and unknown ones by themselves, with those of the tail.
fn categories(reference: &[f64], tail: u64) -> Box<[usize]> {
    let total: f64 = reference.iter().sum();
    let known = known_of(reference).iter().copied().enumerate();
    let mut order: Vec<(usize, f64)> = known.filter(|(_, count)| whole(*count) > tail).collect();
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
