//! What can be typed after `pointsman monitor`.
//!
//! Owns options and their values.

use clap::{Args, Subcommand, ValueEnum};

use super::Format;
use crate::domain::stats::window::WindowLength;

/// What to do with what is counted about versions.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MonitorCommand {
    /// Count the exchanges of the prediction log again, as a running gateway does, and print the windows.
    Replay(MonitorReplayArgs),
}

/// `monitor replay`
#[derive(Debug, Args)]
pub(in crate::cli) struct MonitorReplayArgs {
    /// Exchanges that ended at this time or later: RFC 3339, or a duration ago such as `2h`.
    #[arg(long, value_name = "TIME", default_value = "1d")]
    pub(in crate::cli) from: String,
    /// Exchanges that ended before this time.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub(in crate::cli) to: String,
    /// Only this model.
    #[arg(long)]
    pub(in crate::cli) model: Option<String>,
    /// Only this version of it.
    #[arg(long, requires = "model")]
    pub(in crate::cli) version: Option<String>,
    /// How long the windows are.
    #[arg(long, value_enum, default_value_t = Length::Hour)]
    pub(in crate::cli) length: Length,
    /// Print the verdicts about drift instead: those of a running gateway with windows of this length.
    #[arg(long)]
    pub(in crate::cli) drift: bool,
    /// Print the alarms instead: those of a running gateway with the configuration as it is now.
    #[arg(long, conflicts_with = "drift")]
    pub(in crate::cli) alarms: bool,
    /// Judge by this margin instead of the configured one: an index such as 0.02.
    #[arg(long, requires = "drift", value_name = "INDEX", value_parser = index)]
    pub(in crate::cli) margin: Option<f64>,
    /// How to print: a table, or one JSON object a window.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(in crate::cli) format: Format,
}

/// A population stability index above zero.
fn index(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "want a number such as 0.02".to_owned())?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("must be above 0".to_owned()) }
}

/// The lengths of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Length {
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
}

impl From<Length> for WindowLength {
    fn from(length: Length) -> Self {
        match length {
            Length::Minute => Self::Minute,
            Length::Hour => Self::Hour,
            Length::Day => Self::Day,
        }
    }
}
