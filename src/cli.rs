//! The commands.

pub mod log;
