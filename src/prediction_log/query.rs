//! Reading the log as one: everything that is printed, exported, verified or delivered comes from here.
//!
//! Owns the view over segments and Parquet files, the columns and forms of a row, the conditions on rows,
//! the search for an id, and the check of everything. Never writes to the log, and needs no running
//! gateway.

pub mod cloudevents;
pub mod column;
pub mod export;
pub mod expression;
pub mod filter;
mod find;
pub mod json;
mod last;
mod log;
mod merge;
mod ranges;
mod runs;
#[cfg(test)]
mod tests;
pub mod text;
pub mod totals;
pub mod verify;

pub use self::export::ExportError;
pub use self::find::find;
pub use self::last::{Last, last, last_lsn};
pub use self::log::{Log, LogError, Scope, segments_dir};
