//! (in progress)

pub mod check;
pub mod schema;
