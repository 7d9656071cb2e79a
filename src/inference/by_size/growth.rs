//! How much a plan for certain sizes may take, before it is made.
//!
//! Owns what the graphs for some sizes were found to take, and the estimate that follows for others: what depends on
//! sizes is worked out while a plan is compiled, so that nothing else would bound it. Sizes are approached in steps that double
//! them at most, and a graph is taken to grow with the cube of them at most. Steps become smaller where a larger one might take too
//! much, so that it hardly matters what was measured before. Pure: never compiles anything.

use smallvec::SmallVec;

use crate::inference::shapes::Sizes;

/// The most that sizes grow by in one step.
pub(super) const STEP_MAX: f64 = 2.0;
/// What a graph takes grows with this power of its sizes at most.
const GROWTH: i32 = 3;
/// Smaller steps are not worth the time: sizes for which a graph takes less than six sevenths of the limit are within reach.
pub(super) const STEP_MIN: f64 = 1.05;
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

    /// What to do before a plan for `sizes` is made, where a step makes sizes `least` times as large at least.
    pub(super) fn next(&self, sizes: &Sizes, least: f64) -> Step {
        let measured = self.measured.iter();
        let known = measured.filter(|(known, _)| !self.is_surpassed(known, sizes));
        let mut known: Vec<_> = known.map(|known| (estimate(known, sizes), known)).collect();
        known.sort_unstable_by_key(|(estimate, _)| *estimate);
        let lowest = known.first().map_or(u64::MAX, |(estimate, _)| *estimate);
        let step = known.into_iter().find_map(|(_, known)| self.step(known, sizes, least));
        step.unwrap_or(Step::TooMuch(lowest))
    }

    /// Whether others that were measured lie between these and `sizes`.
    fn is_surpassed(&self, known: &Sizes, sizes: &Sizes) -> bool {
        self.measured.iter().any(|(other, _)| {
            let places = || known.iter().zip(other).zip(sizes);
            other != known
                && places().all(|((known, other), size)| other <= size && other >= known.min(size))
        })
    }

    /// The step from `known` towards `sizes`, if there is one.
    fn step(&self, known: &(Sizes, u64), sizes: &Sizes, least: f64) -> Option<Step> {
        let (of, bytes) = known;
        let most = (self.limit as f64 / (*bytes).max(1) as f64).cbrt().min(STEP_MAX);
        let whole = times(of, sizes);
        if whole <= most.max(1.0) {
            return (estimate(known, sizes) <= self.limit).then_some(Step::Make);
        }
        // A graph that takes some sizes only may take the multiples of what these are multiples of.
        let rungs = [rung(of, sizes, most, grain), rung(of, sizes, most, |_| 1)];
        rungs.into_iter().find_map(|rung| {
            let at_most = estimate(known, &rung);
            let is_step = times(of, &rung) >= least.min(whole) && at_most <= self.limit;
            is_step.then_some(Step::Measure(rung, at_most))
        })
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

/// What a graph may take for `sizes`, from what it takes for others.
fn estimate((known, bytes): &(Sizes, u64), sizes: &Sizes) -> u64 {
    (*bytes as f64 * times(known, sizes).max(1.0).powi(GROWTH)).ceil() as u64
}

/// How many times as large as what is known the sizes are at most.
fn times(known: &Sizes, sizes: &Sizes) -> f64 {
    let times = known.iter().zip(sizes).map(|(known, size)| *size as f64 / (*known).max(1) as f64);
    times.fold(0.0, f64::max)
}

/// Sizes that are at most so many times as large as `known`, and not larger than `sizes`, in multiples of what `grain` says.
fn rung(known: &Sizes, sizes: &Sizes, most: f64, grain: impl Fn(usize) -> usize) -> Sizes {
    let places = known.iter().zip(sizes).map(|(known, size)| {
        let grown = (*known as f64 * most) as usize;
        let grain = grain(*size);
        (grown / grain * grain).max(*known).min(*size)
    });
    places.collect::<SmallVec<_>>()
}

/// The largest power of two, up to 64, that a size is a multiple of.
fn grain(size: usize) -> usize {
    1 << size.trailing_zeros().min(6)
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

    fn next(growth: &Growth, sizes: [usize; 2]) -> Step {
        growth.next(&Sizes::from_slice(&sizes), STEP_MIN)
    }

    #[test]
    fn sizes_are_approached_by_doubling() {
        let mut growth = growth(1024 * MIB);
        for below in [[1, 8], [2, 8], [2, 1], [0, 0]] {
            assert_eq!(next(&growth, below), Step::Make);
        }
        assert_eq!(next(&growth, [4, 16]), Step::Make, "twice");
        assert_eq!(next(&growth, [5, 8]), Step::Measure(smallvec![4, 8], 16 * MIB));
        growth.add(smallvec![4, 8], 4 * MIB);
        assert_eq!(next(&growth, [5, 8]), Step::Make);
        assert_eq!(next(&growth, [1, 100]), Step::Measure(smallvec![1, 16], 8 * MIB));
    }

    #[test]
    fn what_may_take_too_much_is_approached_in_smaller_steps() {
        let mut growth = growth(15 * MIB);
        assert_eq!(next(&growth, [2, 8]), Step::Make, "it was");
        assert_eq!(next(&growth, [1, 9]), Step::Make);
        let step = Step::Measure(smallvec![3, 8], 27 * MIB / 4);
        assert_eq!(next(&growth, [4, 8]), step, "four rows may take 16 MiB");
        assert_eq!(growth.next(&smallvec![4, 8], STEP_MAX), Step::TooMuch(16 * MIB));
        growth.add(smallvec![3, 8], 3 * MIB);
        assert_eq!(next(&growth, [4, 8]), Step::Make, "7.1 MiB at most");
        growth.add(smallvec![4, 8], 14 * MIB);
        let Step::TooMuch(_) = next(&growth, [5, 8]) else { panic!("no row more") };
        assert_eq!(next(&growth, [4, 8]), Step::Make);
        growth.add(smallvec![1, 16], 16 * MIB);
        assert_eq!(next(&growth, [1, 16]), Step::TooMuch(16 * MIB), "it grew faster");
    }

    #[test]
    fn steps_go_by_what_sizes_are_multiples_of() {
        let one: Sizes = smallvec![64, 64];
        let growth = Growth::new(vec![(one, 200 * MIB)], 1024 * MIB);
        // 110 × 110 would be within what may be measured.
        let rung = growth.next(&smallvec![160, 160], STEP_MIN);
        assert_eq!(rung, Step::Measure(smallvec![96, 96], 675 * MIB));
        assert!(
            matches!(growth.next(&smallvec![161, 161], STEP_MIN), Step::Measure(rung, _) if rung[0] == 110)
        );
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
                    match growth.next(&sizes, STEP_MIN) {
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

        #[test]
        fn what_was_asked_before_hardly_matters(
            before in prop::collection::vec((1..3000_usize, 1..3000_usize), 0..12),
            wanted in (1..3000_usize, 1..3000_usize),
            power in 1..3_u32,
        ) {
            let takes = |sizes: &Sizes| 1000 + (sizes[0] as u64).pow(power) * sizes[1] as u64;
            let limit = 100_000_000;
            let ask = |growth: &mut Growth, sizes: Sizes| loop {
                match growth.next(&sizes, STEP_MIN) {
                    Step::Make => break true,
                    Step::Measure(rung, _) => { let bytes = takes(&rung); growth.add(rung, bytes) }
                    Step::TooMuch(_) => break false,
                }
            };
            let one: Sizes = smallvec![8, 8];
            let wanted: Sizes = smallvec![wanted.0, wanted.1];
            let fresh = Growth::new(vec![(one.clone(), takes(&one))], limit);
            let mut growth = Growth::new(vec![(one.clone(), takes(&one))], limit);
            for (rows, length) in before {
                ask(&mut growth, smallvec![rows, length]);
            }
            if takes(&wanted) < limit / 2 && ask(&mut { fresh }, wanted.clone()) {
                prop_assert!(ask(&mut growth, wanted));
            }
        }
    }
}
