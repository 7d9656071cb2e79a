//! Sets of numbers that lie in few stretches.
//!
//! Owns their arithmetic. Pure. Adding numbers in rising order takes constant time.

use std::ops::RangeInclusive;

/// A set of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(
    /// Rising, with at least one number missing between any two.
    Vec<(u64, u64)>,
);

impl Ranges {
    /// Adds a number.
    pub(super) fn insert(&mut self, number: u64) {
        self.insert_range(number, number);
    }

    /// Adds all numbers from `first` to `last`.
    pub(super) fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        if let Some(tail) = self.0.last_mut()
            && first >= tail.0
            && first <= tail.1.saturating_add(1)
        {
            tail.1 = tail.1.max(last);
            return;
        }
        // The stretches that touch the new one.
        let from = self.0.partition_point(|range| range.1.saturating_add(1) < first);
        let to = self.0.partition_point(|range| range.0 <= last.saturating_add(1));
        let merged = self.0[from..to]
            .iter()
            .fold((first, last), |merged, range| (merged.0.min(range.0), merged.1.max(range.1)));
        self.0.splice(from..to, [merged]);
    }

    /// Whether the set holds `number`.
    pub(super) fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|range| range.1 < number);
        self.0.get(at).is_some_and(|range| range.0 <= number)
    }

    /// The highest number.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.last().map(|range| range.1)
    }

    /// Adds all numbers of `other`.
    pub(super) fn union(&mut self, other: &Self) {
        other.0.iter().for_each(|range| self.insert_range(range.0, range.1));
    }

    /// The numbers that are in both.
    pub(super) fn common(&self, other: &Self) -> Self {
        let (mut common, mut own, mut others) = (Vec::new(), 0, 0);
        while let (Some(a), Some(b)) = (self.0.get(own), other.0.get(others)) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                common.push((first, last));
            }
            if a.1 <= b.1 { own += 1 } else { others += 1 }
        }
        Self(common)
    }

    /// The numbers between the first and the last that are not in the set.
    pub(super) fn holes(&self) -> Self {
        Self(self.0.windows(2).map(|pair| (pair[0].1 + 1, pair[1].0 - 1)).collect())
    }

    /// The numbers that are not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for &(first, last) in &self.0 {
            let mut from = Some(first);
            let begin = other.0.partition_point(|range| range.1 < first);
            for range in other.0[begin..].iter().take_while(|range| range.0 <= last) {
                if let Some(start) = from.filter(|&start| start < range.0) {
                    left.push((start, range.0 - 1));
                }
                from = range.1.checked_add(1);
            }
            if let Some(start) = from.filter(|&start| start <= last) {
                left.push((start, last));
            }
        }
        Self(left)
    }

    /// The stretches.
    pub(super) fn into_vec(self) -> Vec<RangeInclusive<u64>> {
        self.0.into_iter().map(|(first, last)| first..=last).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn build(ranges: &[(u64, u64)]) -> (Ranges, BTreeSet<u64>) {
        let (mut own, mut set) = (Ranges::default(), BTreeSet::new());
        for &(first, len) in ranges {
            own.insert_range(first, first + len);
            set.extend(first..=first + len);
        }
        (own, set)
    }

    fn flat(ranges: Ranges) -> Vec<u64> {
        let stretches = ranges.into_vec();
        for pair in stretches.windows(2) {
            assert!(pair[0].end() + 1 < *pair[1].start(), "{pair:?} touch");
        }
        let all: Vec<u64> = stretches.into_iter().flatten().collect();
        all
    }

    proptest! {
        #[test]
        fn they_are_sets(
            one in prop::collection::vec((0u64..60, 0u64..8), 0..12),
            two in prop::collection::vec((0u64..60, 0u64..8), 0..12),
        ) {
            let ((a, set_a), (b, set_b)) = (build(&one), build(&two));
            let list = |set: BTreeSet<u64>| set.into_iter().collect::<Vec<_>>();
            prop_assert_eq!(flat(a.clone()), list(set_a.clone()));
            prop_assert!((0..70).all(|number| a.contains(number) == set_a.contains(&number)));
            // Neighbours may stand apart in what is cut.
            let cut: Vec<u64> = a.common(&b).into_vec().into_iter().flatten().collect();
            prop_assert_eq!(cut, list(&set_a & &set_b));
            let rest: Vec<u64> = a.without(&b).into_vec().into_iter().flatten().collect();
            prop_assert_eq!(rest, list(&set_a - &set_b));
            let mut both = a.clone();
            both.union(&b);
            prop_assert_eq!(flat(both), list(&set_a | &set_b));
            if let (Some(first), Some(last)) = (set_a.first(), set_a.last()) {
                let holes = (*first..=*last).filter(|number| !set_a.contains(number));
                prop_assert_eq!(flat(a.holes()), holes.collect::<Vec<_>>());
            }
        }
    }
}
