//! The pure part: what the words of the product mean, and every decision that can be made from
//! values alone.
//!
//! Owns ids, the validated intent ([`spec`]), routing ([`routing`]), what is believed of the sources of
//! discovery ([`discovery`]), the life cycle of versions ([`lifecycle`]), the schema of a prediction record
//! ([`record`]), the mathematics of monitoring ([`stats`]) and what a trial has shown ([`trial`]). Never does I/O, reads a clock, draws a random
//! number, takes a lock or awaits: `now` and `entropy` are arguments, so every decision can be repeated from
//! what was logged.

pub mod dialect;
pub mod discovery;
pub mod ids;
pub mod lifecycle;
pub mod record;
pub mod routing;
pub mod small;
pub mod spec;
pub mod stats;
pub mod trial;
