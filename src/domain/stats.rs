//! Statistics: counts that merge exactly, and tests that say how often they are wrong.
//!
//! Owns every number that an alarm, a release or a quality report rests on. Pure: `now` is an argument, and
//! nothing here waits, locks or draws a number, so that each verdict can be computed again from what it names
//! as its evidence.

pub mod cbpe;
pub mod confidence;
pub mod detectors;
pub mod exact_sum;
pub mod maturity;
pub mod quality;
pub mod sample_ratio;
pub mod special;
pub mod two_by_two;
