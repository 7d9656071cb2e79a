//! What a version on trial has shown: the way from counts to the evidence that the life cycle judges.
//!
//! Owns which tests run on which counts: two arms of clients' requests ([`comparison`]), and pairs of answers
//! to one request ([`pairs`]) with how they are spread ([`shift`]). Never counts for itself and never judges: whoever serves counts, and the
//! guards of [the life cycle](super::lifecycle) judge.

pub mod comparison;
pub mod pairs;
pub mod shift;

/// The chance that a bound is wrong.
pub const BOUND_ALPHA: f64 = 0.05;
