//! The mathematics of monitoring: what is counted, what the counts say, and how sure that is.
//!
//! Owns the layout of histograms ([`layout`]), their counts ([`counts`]) and what they are held
//! against ([`baseline`]); windows and their exact sum ([`window`]) and the rings that keep them
//! ([`rings`]); what someone is called for ([`alarm`]) and bands for counts ([`rate_band`],
//! [`heavy_hitters`]). Never keeps time, draws numbers or reads files: windows and files are given, and the
//! same input gives the same verdict.

pub mod alarm;
pub mod baseline;
pub mod counts;
pub mod heavy_hitters;
pub mod layout;
pub mod rate_band;
pub mod rings;
pub mod window;

#[cfg(test)]
mod tests;
