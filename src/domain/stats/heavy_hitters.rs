//! The inputs that come most often, in a fixed amount of memory.
//!
//! Owns a Space-Saving summary (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k
//! Elements in Data Streams", ICDT 2005) over the hashes of request bodies, and its merge (Agarwal et al.:
//! "Mergeable Summaries", PODS 2012; Cafaro, Pulimeno, Tempesta: "A parallel space saving algorithm for
//! frequent items", 2016). Never sees a body.
//!
//! With `n` inputs seen, each input that came more than `n` / [`CAPACITY`] times is in the summary, and of
//! each one in it the true count lies in `count - error ..= count`. Both hold after any merge.

use serde::{Deserialize, Serialize};

/// How many inputs are kept: what is more than 1/32 of all is found for certain.
pub const CAPACITY: usize = 32;

/// An input and how often it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hitter {
    /// The hash of the input, XXH3-128 as in the record.
    pub input: u128,
    /// It came at most so often.
    pub count: u64,
    /// By how much `count` may be too high.
    pub error: u64,
}

impl Hitter {
    /// It came at least so often.
    pub const fn at_least(&self) -> u64 {
        self.count.saturating_sub(self.error)
    }
}

/// The summary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HeavyHitters {
    /// Inputs seen.
    total: u64,
    /// At most [`CAPACITY`], in no order.
    hitters: Vec<Hitter>,
}

impl HeavyHitters {
    /// An empty summary with all its memory, so that [`Self::add`] allocates nothing.
    pub fn with_room() -> Self {
        Self { total: 0, hitters: Vec::with_capacity(CAPACITY) }
    }

    /// A summary that was stored. `None` unless there are at most [`CAPACITY`] inputs, each once, whose
    /// counts can be true.
    pub fn from_parts(total: u64, hitters: Vec<Hitter>) -> Option<Self> {
        let is_once = |at: usize, hitter: &Hitter| {
            !hitters.iter().take(at).any(|before| before.input == hitter.input)
        };
        let sound = hitters.len() <= CAPACITY
            && hitters.iter().enumerate().all(|(at, hitter)| is_once(at, hitter))
            && hitters.iter().all(|hitter| hitter.error <= hitter.count && hitter.count <= total);
        sound.then_some(Self { total, hitters })
    }

    /// The inputs that are kept, in no order.
    pub fn hitters(&self) -> &[Hitter] {
        &self.hitters
    }

    /// Inputs seen.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Takes in one input.
    pub fn add(&mut self, input: u128) {
        self.total += 1;
        if let Some(hitter) = self.hitters.iter_mut().find(|hitter| hitter.input == input) {
            hitter.count += 1;
        } else if self.hitters.len() < CAPACITY {
            self.hitters.push(Hitter { input, count: 1, error: 0 });
        } else if let Some(least) = self.hitters.iter_mut().min_by_key(|hitter| hitter.count) {
            *least = Hitter { input, count: least.count + 1, error: least.count };
        }
    }

    /// Takes in what another summary saw.
    pub fn merge(&mut self, other: &Self) {
        let (floor, other_floor) = (self.floor(), other.floor());
        for hitter in &mut self.hitters {
            match other.hitters.iter().find(|theirs| theirs.input == hitter.input) {
                Some(theirs) => {
                    hitter.count += theirs.count;
                    hitter.error += theirs.error;
                }
                None => {
                    hitter.count += other_floor;
                    hitter.error += other_floor;
                }
            }
        }
        let own = self.hitters.len();
        for theirs in &other.hitters {
            if !self.hitters.iter().take(own).any(|hitter| hitter.input == theirs.input) {
                let (count, error) = (theirs.count + floor, theirs.error + floor);
                self.hitters.push(Hitter { input: theirs.input, count, error });
            }
        }
        self.hitters.sort_unstable_by_key(|hitter| (u64::MAX - hitter.count, hitter.input));
        self.hitters.truncate(CAPACITY);
        self.total += other.total;
    }

    /// The inputs by what they came at least, most first.
    pub fn top(&self) -> Vec<Hitter> {
        let mut top = self.hitters.clone();
        top.sort_unstable_by_key(|hitter| (u64::MAX - hitter.at_least(), hitter.input));
        top
    }

    /// The input that certainly came most often.
    pub fn first(&self) -> Option<Hitter> {
        self.hitters.iter().copied().max_by_key(|hitter| (hitter.at_least(), hitter.input))
    }

    /// The bytes of the heap that it takes.
    pub fn heap_bytes(&self) -> usize {
        self.hitters.capacity() * size_of::<Hitter>()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.total = 0;
        self.hitters.clear();
    }

    /// How often an input that is not kept may have come.
    fn floor(&self) -> u64 {
        let least = self.hitters.iter().map(|hitter| hitter.count).min();
        least.filter(|_| self.hitters.len() >= CAPACITY).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn summary(inputs: &[u128]) -> HeavyHitters {
        let mut summary = HeavyHitters::with_room();
        inputs.iter().for_each(|input| summary.add(*input));
        summary
    }

    /// Checks the two promises of the module against exact counts.
    fn check(summary: &HeavyHitters, inputs: &[u128]) -> Result<(), TestCaseError> {
        let mut exact: BTreeMap<u128, u64> = BTreeMap::new();
        inputs.iter().for_each(|input| *exact.entry(*input).or_default() += 1);
        let n = inputs.len() as u64;
        prop_assert_eq!(summary.total(), n);
        prop_assert!(summary.hitters.len() <= CAPACITY);
        for hitter in &summary.hitters {
            let count = exact.get(&hitter.input).copied().unwrap_or(0);
            prop_assert!(hitter.at_least() <= count && count <= hitter.count, "{hitter:?} {count}");
            prop_assert!(hitter.error <= n / CAPACITY as u64);
        }
        for (input, count) in exact {
            if count > n / CAPACITY as u64 {
                prop_assert!(summary.hitters.iter().any(|hitter| hitter.input == input));
            }
        }
        Ok(())
    }

    /// Streams with a few frequent inputs among many rare ones.
    fn stream() -> impl Strategy<Value = Vec<u128>> {
        let input = prop_oneof![0..5_u128, 0..60_u128, 0..100_000_u128];
        proptest::collection::vec(input, 0..2000)
    }

    proptest! {
        #[test]
        fn counts_lie_in_their_bounds_and_frequent_inputs_are_found(inputs in stream()) {
            check(&summary(&inputs), &inputs)?;
        }

        #[test]
        fn merged_summaries_keep_the_promises_of_one(parts in proptest::collection::vec(stream(), 1..5)) {
            let mut merged = HeavyHitters::default();
            for part in &parts {
                merged.merge(&summary(part));
            }
            check(&merged, &parts.concat())?;
        }

        #[test]
        fn few_inputs_are_counted_exactly_in_any_order_of_merging(a in proptest::collection::vec(0..30_u128, 0..300), b in proptest::collection::vec(0..30_u128, 0..300)) {
            let (mut one, mut other) = (summary(&a), summary(&b));
            one.merge(&summary(&b));
            other.merge(&summary(&a));
            prop_assert_eq!(one.top(), other.top());
            prop_assert!(one.top().iter().all(|hitter| hitter.error == 0));
        }
    }

    #[test]
    fn a_thousand_identical_inputs_among_others_come_first() {
        let mut inputs: Vec<u128> = (1000..5000).collect();
        inputs.splice(2000..2000, std::iter::repeat_n(7, 1000));
        let first = summary(&inputs).first().expect("a hitter");
        assert_eq!(first.input, 7);
        assert!((850..=1000).contains(&first.at_least()), "{first:?}");
        let mut summary = summary(&inputs);
        summary.clear();
        assert_eq!((summary.total(), summary.first()), (0, None));
    }
}
