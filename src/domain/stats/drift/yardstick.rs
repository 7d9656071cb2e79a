//! One window of one feature, held against its reference.
//!
//! Owns the gate, the margin test and every distance that is published. The test asks whether the
//! population stability index is above a margin, not whether it is zero: with enough traffic, nothing
//! is ever exactly as it was.
//!
//! Without drift, `N psi` with `N = n m / (n + m)` is about chi-squared; with a true index of `d` it is
//! about non-central chi-squared with the non-centrality `N d`. So `p = P(chi2(df, N margin) > N psi)`.
//! What the pipeline measured on its own chunks changes this twice. Values that follow each other
//! closely make all chunks vary more than independent values would: the median of the chunks says by
//! which factor, and both sides are divided by it. Seasons make single chunks differ: what the largest
//! is above chance becomes the margin, if it is larger than the one asked for. A window that is smaller
//! than a chunk gets a margin that is larger in proportion, because the noise of values that follow each
//! other closely does not average out in it.
//!
//! The reference is itself off by chance, and in every window by the same: `m` times what it is off by is about
//! chi-squared, and its quantile at one in ten thousand goes on top of the margin. That is .0034 for ten groups and
//! 10 000 values, and .22 for 150. A reference with fewer values than a window must have is held against nothing.
//! Groups that neither side has are no degrees of freedom.

use crate::domain::stats::baseline::{Noise, Reference};
use crate::domain::stats::chi2;
use crate::domain::stats::counts::FeatureCounts;
use crate::domain::stats::distance::{
    self, ChiSquared, PSI_DEFINITION, chi_squared, hellinger, jensen_shannon, l_infinity, psi,
};
use crate::domain::stats::drift::detector::e_value;
use crate::domain::stats::groups::Groups;
use crate::domain::stats::interval::{Interval, Piles, atoms, kolmogorov_smirnov, wasserstein};
use crate::domain::stats::layout::{Edges, Feature, FeatureKind, Guard};
use crate::domain::stats::verdict::Evidence;

/// The chance that a reference is off by more than is allowed for.
const OWN_CHANCE: f64 = 1e-4;

/// What windows of one feature are held against.
#[derive(Debug, Clone)]
pub struct Yardstick {
    groups: Groups,
    /// What the reference lets expect in each group.
    grouped: Vec<f64>,
    /// The reference in bins.
    bins: Vec<f64>,
    total: f64,
    /// The margin that is asked for.
    margin: f64,
    dispersion: f64,
    /// What single chunks have beyond chance.
    seasonal: f64,
    /// The values in such a chunk.
    chunk: f64,
    /// By what index a reference of this size may be off itself.
    own: f64,
    numeric: Option<NumericPart>,
}

/// What only numbers have.
#[derive(Debug, Clone)]
struct NumericPart {
    edges: Edges,
    atoms: Vec<bool>,
    piles: Option<Piles>,
}

/// What a window of one feature showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The values of the window that have a bin.
    pub n: u64,
    /// The values of the reference.
    pub m: f64,
    /// All values of the window.
    pub seen: u64,
    /// The share of each guard, in the order of [`Guard::ALL`].
    pub guards: [f64; 4],
    /// The share of values that the baseline does not know; `None` for numbers.
    pub unknown: Option<f64>,
    /// The values that the window, and the reference, must have.
    pub needed: u64,
    /// The groups of the divergences.
    pub groups: usize,
    /// The bins of the two intervals and of the largest difference.
    pub bins: usize,
    /// The population stability index on the groups.
    pub psi: f64,
    /// Jensen and Shannon's distance on the groups.
    pub jensen_shannon: f64,
    /// Hellinger's distance on the groups.
    pub hellinger: f64,
    /// Pearson's test on the groups.
    pub chi_squared: ChiSquared,
    /// The largest difference of a bin's share.
    pub l_infinity: f64,
    /// Bounds of the Kolmogorov-Smirnov statistic, for numbers.
    pub kolmogorov_smirnov: Option<Interval>,
    /// Bounds of Wasserstein's distance, for numbers whose reference says where they are.
    pub wasserstein: Option<Interval>,
    /// The probability of so large an index at the margin; `None` below the gate.
    pub p: Option<f64>,
}

impl Yardstick {
    /// For windows of `feature`, with a margin that noise may widen.
    pub fn new(feature: &Feature, reference: &Reference, margin: f64) -> Self {
        let groups = Groups::new(feature, reference.counts());
        let numeric = match feature.kind() {
            FeatureKind::Numeric(edges) => Some(NumericPart {
                edges: edges.clone(),
                atoms: atoms(edges),
                piles: Piles::of_reference(reference, edges),
            }),
            FeatureKind::Categorical(_) | FeatureKind::Boolean => None,
        };
        let total = reference.total();
        let (dispersion, seasonal) =
            reference.noise.map_or((1.0, 0.0), |noise| beyond_chance(noise, total, groups.df()));
        let own = dispersion * own_error(total, groups.df());
        Self {
            grouped: groups.expected(reference.counts()),
            groups,
            bins: reference.counts().to_vec(),
            total,
            margin,
            dispersion,
            seasonal,
            own,
            chunk: reference.noise.map_or(0.0, |noise| noise.chunk as f64),
            numeric,
        }
    }

    /// The groups that the test is made on.
    pub const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The index that does not matter in a window of `n` values, noise included.
    pub fn margin(&self, n: u64) -> f64 {
        let stretch = (self.chunk / (n as f64).max(1.0)).max(1.0);
        self.margin.max(self.seasonal * stretch) + self.own
    }

    /// The part of the margin that is the reference's own error by chance.
    pub const fn own(&self) -> f64 {
        self.own
    }

    /// By which factor chunks of the baseline vary more than independent values would.
    pub const fn dispersion(&self) -> f64 {
        self.dispersion
    }

    /// Measures a window.
    pub fn measure(&self, counts: &FeatureCounts) -> Measured {
        let bins: Vec<f64> = counts.bins().iter().map(|&count| count as f64).collect();
        let current = self.groups.sum(&bins, |count| count);
        let (n, seen) = (counts.valid(), counts.seen());
        let share = |count: u64, of: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        let (p, q) = (distance::shares(&current), distance::shares(&self.grouped));
        let (fine_p, fine_q) = (distance::shares(&bins), distance::shares(&self.bins));
        let (of_current, of_reference): (Vec<f64>, Vec<f64>) = current
            .iter()
            .zip(&self.grouped)
            .filter(|(current, reference)| **current > 0.0 || **reference > 0.0)
            .unzip();
        let index = psi(&of_current, &of_reference);
        let numeric = self.numeric.as_ref().filter(|_| n > 0 && self.total > 0.0);
        let is_atom =
            |part: &NumericPart, bin: usize| part.atoms.get(bin).copied().unwrap_or(false);
        Measured {
            n,
            m: self.total,
            seen,
            guards: Guard::ALL.map(|guard| share(counts.guard(guard), seen)),
            unknown: match &self.numeric {
                Some(_) => None,
                None => Some(share(counts.bins().last().copied().unwrap_or(0), n)),
            },
            needed: self.groups.values_min() as u64,
            groups: of_current.len(),
            bins: bins.len(),
            psi: index,
            jensen_shannon: jensen_shannon(&p, &q),
            hellinger: hellinger(&p, &q),
            chi_squared: chi_squared(&current, &self.grouped),
            l_infinity: l_infinity(&fine_p, &fine_q),
            kolmogorov_smirnov: numeric
                .map(|part| kolmogorov_smirnov(&fine_p, &fine_q, |bin| is_atom(part, bin))),
            wasserstein: numeric.and_then(|part| {
                Some(wasserstein(&Piles::of_counts(counts, &part.edges)?, part.piles.as_ref()?))
            }),
            p: self.p(n, index, of_current.len()),
        }
    }

    /// The margin test, `None` where the window or the reference has too few values for its law.
    fn p(&self, n: u64, psi: f64, groups: usize) -> Option<f64> {
        let needed = self.groups.values_min();
        if n < needed as u64 || self.total < needed as f64 || self.groups.len() < 2 {
            return None;
        }
        if groups < 2 {
            // Both sides have the same value in every row.
            return Some(1.0);
        }
        let effective = effective(n as f64, self.total) / self.dispersion;
        let (statistic, noncentrality) = (effective * psi, effective * self.margin(n));
        Some(chi2::noncentral_survival(statistic, (groups - 1) as f64, noncentrality))
    }

    /// The evidence of a measured window.
    pub fn evidence(&self, measured: &Measured, score: f64, threshold: f64) -> Evidence {
        Evidence {
            definition: PSI_DEFINITION,
            bins: Some(measured.groups),
            n: measured.n as f64,
            m: measured.m,
            value: (measured.n > 0).then_some(measured.psi),
            margin: Some(self.margin(measured.n)),
            interval: None,
            p: measured.p,
            e_value: measured.p.map(e_value),
            score: Some(score),
            threshold: Some(threshold),
        }
    }
}

/// The index by which a reference of `m` values may be off by chance.
fn own_error(m: f64, df: f64) -> f64 {
    if m > 0.0 && df > 0.0 { chi2::upper_quantile(OWN_CHANCE, df) / m } else { 0.0 }
}

/// The size of one sample that tells as much as both.
fn effective(n: f64, m: f64) -> f64 {
    if n + m > 0.0 { n * m / (n + m) } else { 0.0 }
}

/// What the chunks' noise is beyond that of independent values: the factor by which all vary more, and
/// the index that the largest has on top.
fn beyond_chance(noise: Noise, total: f64, df: f64) -> (f64, f64) {
    let chunk = noise.chunk as f64;
    let chunks = (total / chunk).floor().max(1.0);
    let effective = effective(chunk, (total - chunk).max(1.0));
    if df <= 0.0 || effective <= 0.0 {
        return (1.0, 0.0);
    }
    let dispersion = (noise.psi_q50 * effective / chi2::upper_quantile(0.5, df)).max(1.0);
    // The largest of a few chunks is a lower quantile than .999.
    let tail = (1.0 / (chunks + 1.0)).max(0.001);
    let chance = dispersion * chi2::upper_quantile(tail, df) / effective;
    (dispersion, (noise.psi_q999 - chance).max(0.0))
}
