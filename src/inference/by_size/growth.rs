//! How much a plan for certain sizes may take, before it is made.
//!
//! Owns what the graphs for some sizes were found to take, and the estimate that follows for others: what depends on
//! sizes is worked out while a plan is compiled, so that nothing else would bound it. Sizes are approached
//! by doubling, and a graph is taken to grow with the cube of them at most. Pure: never compiles anything.

use smallvec::SmallVec;

use crate::inference::shapes::Sizes;

/// What twice the sizes may take, compared with the sizes.
const GROWTH_MAX: u64 = 8;
/// The most sizes that are remembered; the ones that were measured first are never forgotten.
const MEASURED_MAX: usize = 64;

/// What graphs take, by their sizes.
#[derive(Debug)]
pub(super) struct Growth {
    measured: Vec<(Sizes, u64)>,
    first: usize,
    limit: u64,
}

/// What to do before a plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make it.
    Make,
    /// Measure the graph for these sizes and ask again. It takes so many bytes at most, which count where it cannot be
    /// measured: not every size between two that fit does.
    Measure(Sizes, u64),
    /// It may take so many bytes, which is more than the limit.
    TooMuch(u64),
}

impl Growth {
    /// With what graphs were found to take that do run. More than `limit` bytes is too much.
    pub(super) fn new(measured: Vec<(Sizes, u64)>, limit: u64) -> Self {
        let first = measured.len();
        Self { measured, first, limit }
    }

    /// What to do before a plan for `sizes` is made.
    pub(super) fn next(&self, sizes: &Sizes) -> Step {
        let nearest = self.measured.iter().min_by_key(|(known, _)| times(known, sizes));
        let Some((known, bytes)) = nearest else { return Step::TooMuch(u64::MAX) };
        let times = times(known, sizes);
        if times <= 1 {
            return Step::Make;
        }
        let estimate = bytes.saturating_mul(GROWTH_MAX);
        if estimate > self.limit {
            return Step::TooMuch(estimate);
        }
        if times <= 2 {
            return Step::Make;
        }
        let doubled =
            known.iter().zip(sizes).map(|(known, size)| known.saturating_mul(2).min(*size));
        Step::Measure(doubled.collect::<SmallVec<_>>(), estimate)
    }

    /// Keeps what the graph for `sizes` takes.
    pub(super) fn add(&mut self, sizes: Sizes, bytes: u64) {
        if self.measured.iter().any(|(known, _)| *known == sizes) {
            return;
        }
        if self.measured.len() >= MEASURED_MAX {
            self.measured.remove(self.first);
        }
        self.measured.push((sizes, bytes));
    }
}

/// How many times as large as what is known the sizes are at most, rounded up.
fn times(known: &Sizes, sizes: &Sizes) -> usize {
    let times = known.iter().zip(sizes).map(|(known, size)| size.div_ceil((*known).max(1)));
    times.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn growth(limit: u64) -> Growth {
        Growth::new(vec![(smallvec![1, 8], MIB), (smallvec![2, 8], 2 * MIB)], limit)
    }

    #[test]
    fn sizes_are_approached_by_doubling() {
        let mut growth = growth(1024 * MIB);
        for below in [[1, 8], [2, 8], [2, 1], [0, 0]] {
            assert_eq!(growth.next(&Sizes::from_slice(&below)), Step::Make);
        }
        assert_eq!(growth.next(&smallvec![4, 16]), Step::Make, "twice");
        assert_eq!(growth.next(&smallvec![5, 8]), Step::Measure(smallvec![4, 8], 16 * MIB));
        growth.add(smallvec![4, 8], 4 * MIB);
        assert_eq!(growth.next(&smallvec![5, 8]), Step::Make);
        assert_eq!(growth.next(&smallvec![1, 100]), Step::Measure(smallvec![1, 16], 8 * MIB));
    }

    #[test]
    fn what_may_take_too_much_is_neither_made_nor_measured() {
        let growth = growth(15 * MIB);
        assert_eq!(growth.next(&smallvec![2, 8]), Step::Make, "it was");
        assert_eq!(growth.next(&smallvec![4, 8]), Step::TooMuch(16 * MIB));
        assert_eq!(growth.next(&smallvec![1, 9]), Step::Make);
    }

    proptest! {
        #[test]
        fn nothing_is_made_that_takes_more_than_the_limit(
            wanted in prop::collection::vec((1..100_000_usize, 1..100_000_usize), 1..20),
            power in 0..3_u32,
        ) {
            // All of them grow at most with the cube of the sizes.
            let takes = |sizes: &Sizes| {
                let product = sizes.iter().product::<usize>() as u64;
                product.saturating_mul((sizes[0] as u64).saturating_pow(power.saturating_sub(1)))
            };
            let limit = 1_000_000_000;
            let one: Sizes = smallvec![1, 1];
            let mut growth = Growth::new(vec![(one.clone(), takes(&one))], limit);
            for (rows, length) in wanted {
                let sizes: Sizes = smallvec![rows, length];
                for asked in 0.. {
                    prop_assert!(asked < 64, "it ends");
                    match growth.next(&sizes) {
                        Step::Make => {
                            prop_assert!(takes(&sizes) <= limit);
                            break;
                        }
                        Step::Measure(rung, at_most) => {
                            prop_assert!(takes(&rung) <= limit);
                            let fits = rung[1] % 3 != 0;
                            growth.add(rung.clone(), if fits { takes(&rung) } else { at_most });
                        }
                        Step::TooMuch(_) => break,
                    }
                    prop_assert!(growth.measured.len() <= MEASURED_MAX);
                }
            }
        }
    }
}
