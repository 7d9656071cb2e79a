//! `pointsman schema`: the JSON Schema of the configuration.
//!
//! Owns how it is printed. Never builds it: that is [`crate::config`].

use crate::config;

/// The schema, as committed in `config/schema.json`.
pub(super) fn run() -> String {
    format!("{:#}\n", config::schema())
}
