//! What histograms say for certain about distances between what was binned.
//!
//! Owns the intervals of the Kolmogorov-Smirnov statistic and of Wasserstein's first distance. Both hold
//! for every pair of samples with these counts: they are bounds, not estimates.

use super::baseline::Reference;
use super::counts::FeatureCounts;
use super::layout::Edges;

/// The definition of [`kolmogorov_smirnov`], published with its value.
pub const KOLMOGOROV_SMIRNOV_DEFINITION: &str =
    "max |F - G| of the two samples, certified between these bounds by the bins";
/// The definition of [`wasserstein`].
pub const WASSERSTEIN_DEFINITION: &str =
    "integral of |F - G|, each bin's values at their mean, certified between these bounds";

/// What lies for certain between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
}

impl Interval {
    /// Whether `value` lies in it, but for rounding.
    pub fn holds(&self, value: f64) -> bool {
        let slack = 1e-9 * (1.0 + self.upper.abs());
        (self.lower - slack..=self.upper + slack).contains(&value)
    }
}

/// Bounds of the largest difference between two distribution functions.
///
/// At an edge both are known. Inside a bin with shares `p` and `q`, and the difference `d` at its lower
/// edge, no point can be above `d + p` or below `d - q`. In a bin of one value only, such as that of a
/// point mass, both jump at once. `is_atom` says which bins those are.
pub fn kolmogorov_smirnov(p: &[f64], q: &[f64], is_atom: impl Fn(usize) -> bool) -> Interval {
    let (mut difference, mut lower, mut upper) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (bin, (p, q)) in p.iter().zip(q).enumerate() {
        let before = difference;
        difference += p - q;
        lower = lower.max(difference.abs());
        upper =
            upper.max(if is_atom(bin) { difference.abs() } else { (before + p).max(q - before) });
    }
    Interval { lower, upper: upper.max(lower).min(1.0) }
}

/// Which bins of these edges hold one value only: those of point masses.
pub fn atoms(edges: &Edges) -> Vec<bool> {
    let cuts = edges.cuts();
    let opens = |bin: usize| bin.checked_sub(1).and_then(|at| cuts.get(at));
    let is_atom = |bin: usize| {
        opens(bin).is_some_and(|&cut| {
            edges.point_masses().contains(&cut) && cuts.get(bin) == Some(&cut.next_up())
        })
    };
    (0..=cuts.len()).map(is_atom).collect()
}

/// One side of a transport: where the mass of each bin stands, and how far it can be spread.
#[derive(Debug, Clone, Default)]
pub struct Piles {
    /// Position and share of each pile, positions ascending.
    piles: Vec<(f64, f64)>,
    /// The most that moving the values to their means can have moved.
    error: f64,
}

impl Piles {
    /// Piles at these positions, of these shares, exactly.
    pub fn at(piles: Vec<(f64, f64)>) -> Self {
        Self { piles, error: 0.0 }
    }

    /// The values of a sample with smallest and largest value `range`: each bin's at their mean.
    ///
    /// Values in `[a, b]` with the mean `c` are on average at most `2 (c - a)(b - c) / (b - a)` away
    /// from it: those at the two ends are.
    fn of(
        shares: &[f64],
        mean: impl Fn(usize) -> Option<f64>,
        cuts: &[f32],
        range: (f64, f64),
    ) -> Option<Self> {
        let cut = |at: usize| cuts.get(at).map(|&cut| f64::from(cut));
        let mut piles = Vec::with_capacity(shares.len());
        let mut error = 0.0;
        for (bin, &share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let from = bin.checked_sub(1).and_then(cut).map_or(range.0, |cut| cut.max(range.0));
            let to = cut(bin).map_or(range.1, |cut| cut.min(range.1)).max(from);
            let mean = mean(bin)?.clamp(from, to);
            if to > from {
                error += share * 2.0 * (mean - from) * (to - mean) / (to - from);
            }
            piles.push((mean, share));
        }
        Some(Self { piles, error })
    }

    /// The values of a reference, if it says where they are.
    pub fn of_reference(reference: &Reference, edges: &Edges) -> Option<Self> {
        let shares = super::distance::shares(reference.counts());
        let mean = |bin: usize| reference.means.get(bin).copied().flatten();
        Self::of(&shares, mean, edges.cuts(), reference.range?)
    }

    /// The values that were counted, if there are any.
    pub fn of_counts(counts: &FeatureCounts, edges: &Edges) -> Option<Self> {
        let bins: Vec<f64> = counts.bins().iter().map(|&count| count as f64).collect();
        let mean = |bin: usize| Some(counts.sums().get(bin)? / bins.get(bin)?);
        let range = (f64::from(counts.min()), f64::from(counts.max()));
        (counts.valid() > 0)
            .then(|| Self::of(&super::distance::shares(&bins), mean, edges.cuts(), range))
            .flatten()
    }
}

/// The work of moving one side's piles onto the other's: the integral of the difference of their
/// distribution functions.
pub fn transport(ours: &Piles, theirs: &Piles) -> f64 {
    let signed = |side: &Piles, sign: f64| -> Vec<(f64, f64)> {
        side.piles.iter().map(|&(at, share)| (at, sign * share)).collect()
    };
    let mut steps = signed(ours, 1.0);
    steps.extend(signed(theirs, -1.0));
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut work, mut difference, mut last) = (0.0, 0.0_f64, None);
    for (at, step) in steps {
        if let Some(last) = last {
            work += difference.abs() * (at - last);
        }
        difference += step;
        last = Some(at);
    }
    work
}

/// Bounds of Wasserstein's first distance between two samples.
pub fn wasserstein(ours: &Piles, theirs: &Piles) -> Interval {
    let (middle, error) = (transport(ours, theirs), ours.error + theirs.error);
    Interval { lower: (middle - error).max(0.0), upper: middle + error }
}
