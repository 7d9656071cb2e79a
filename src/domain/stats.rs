//! The mathematics of monitoring: what is counted, what the counts say, and how sure that is.
//!
//! Owns the layout of histograms ([`layout`]), their counts ([`counts`]), what they are held against
//! ([`baseline`]) and how that is made of values ([`build`]); windows and their exact sum ([`window`])
//! and the rings that keep them ([`rings`]); distances ([`distance`]), what histograms say for certain
//! about them ([`interval`]), and the drift of a version over its windows ([`drift`]), with verdicts
//! that carry their evidence ([`verdict`]); tests and intervals that hold at any number of looks
//! ([`two_by_two`], [`confidence`], [`sample_ratio`]), and those for one look at fixed rows ([`paired`]);
//! what is known about predictions once the truth is ([`quality`], [`maturity`], [`detectors`] of
//! change), and before that ([`cbpe`]); what someone is
//! called for ([`alarm`]), and bands for counts ([`rate_band`], [`heavy_hitters`]). Never keeps time,
//! draws numbers or reads files: windows and files are given, and the same input gives the same verdict.

pub mod alarm;
pub mod baseline;
pub mod build;
pub mod cbpe;
pub mod chi2;
pub mod confidence;
pub mod counts;
pub mod detectors;
pub mod distance;
pub mod drift;
pub mod exact_sum;
pub mod groups;
pub mod heavy_hitters;
pub mod interval;
pub mod layout;
pub mod maturity;
pub mod paired;
pub mod quality;
pub mod rate_band;
pub mod rings;
pub mod sample_ratio;
pub mod strangers;
pub mod two_by_two;
pub mod verdict;
pub mod window;

#[cfg(test)]
pub(crate) mod tests;
