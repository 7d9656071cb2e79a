//! Reading the log as one: rows in every form that is printed, exported or delivered.
//!
//! Owns the forms of a row. Never writes to the log, and needs no running gateway.

pub mod cloudevents;
pub mod json;
pub mod text;
