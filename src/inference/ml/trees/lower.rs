//! Tests of a feature as ranges of its key.
//!
//! Owns the step from a comparison, with its rule for NaN, to the ranges in which it passes and fails.
//! One comparison with a bound tells two neighbouring ranges apart, so that a table needs no other kind
//! of test. Never sees features.

use super::forest::{Branch, Test};
use super::key::Real;

/// All keys, cut into ranges that alternate between passing and failing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Whether NaN is below all numbers instead of above.
    pub(super) nan_first: bool,
    /// The last key of each range, ascending, and whether it passes. The last one ends at the last key.
    pub(super) ranges: Vec<(u64, bool)>,
}

impl Ranges {
    /// The ranges of a test on features of type `T`.
    pub(super) fn of<T: Real>(branch: &Branch, sets: &[Vec<f64>]) -> Self {
        let numbers = numbers::<T>(branch, sets);
        let nan = branch.missing_passes || branch.test == Test::NotEqual;
        let mut above = numbers.clone();
        let mut below = vec![(0, nan)];
        if let Some(end) = above.last_mut() {
            end.0 = T::LAST - 1;
        }
        above.push((T::LAST, nan));
        below.extend(numbers);
        let (above, below) = (merged(above), merged(below));
        // Fewer ranges are fewer steps: where NaN goes the way of the largest numbers it belongs above.
        if below.len() < above.len() {
            Self { nan_first: true, ranges: below }
        } else {
            Self { nan_first: false, ranges: above }
        }
    }
}

/// The ranges of the numbers, without NaN.
fn numbers<T: Real>(branch: &Branch, sets: &[Vec<f64>]) -> Vec<(u64, bool)> {
    let value = T::from_f64(branch.value);
    let number: f64 = value.into();
    // No key is the smallest, so that there is always one before.
    let key = T::widen(value.key());
    let last = T::LAST;
    let points = |passes: bool, members: &[f64]| {
        let mut keys: Vec<u64> = members
            .iter()
            .filter(|member| !member.is_nan())
            .map(|member| T::widen(T::from_f64(*member).key()))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let both = keys.iter().flat_map(|key| [(key - 1, !passes), (*key, passes)]);
        both.chain([(last, !passes)]).collect()
    };
    match branch.test {
        Test::Equal => points(true, &[number]),
        Test::NotEqual => points(false, &[number]),
        Test::Member(set) => points(true, sets.get(set as usize).map_or(&[], Vec::as_slice)),
        // Nothing is in order with NaN.
        _ if number.is_nan() => vec![(last, false)],
        Test::AtMost => vec![(key, true), (last, false)],
        Test::Below => vec![(key - 1, true), (last, false)],
        Test::AtLeast => vec![(key - 1, false), (last, true)],
        Test::Above => vec![(key, false), (last, true)],
    }
}

/// Joins neighbours that agree, and drops empty ranges.
fn merged(ranges: Vec<(u64, bool)>) -> Vec<(u64, bool)> {
    let mut joined: Vec<(u64, bool)> = Vec::with_capacity(ranges.len());
    for (end, passes) in ranges {
        match joined.last_mut() {
            Some(before) if before.0 >= end => {}
            Some(before) if before.1 == passes => before.0 = end,
            _ => joined.push((end, passes)),
        }
    }
    joined
}
