//! What can be typed after `log replay`.
//!
//! Owns the options, their defaults and their limits. Never acts on them.

use std::path::PathBuf;
use std::time::Duration;

use super::pace::Speed;
use super::target::Target;
use crate::cli::args::Format;
use crate::domain::ids::is_valid_name;
use crate::domain::spec::JsonPointer;

/// Sends recorded requests again.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReplayArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// The server to send to, `http://HOST:PORT`; the gateway of the configuration if absent.
    #[arg(long, value_parser = Target::parse)]
    pub(super) url: Option<Target>,
    /// Ask another model than the recorded one.
    #[arg(long, value_name = "MODEL", value_parser = name)]
    pub(super) to_model: Option<String>,
    /// Ask this version, which must be loaded.
    #[arg(long, value_name = "VERSION", value_parser = name)]
    pub(super) to_version: Option<String>,
    /// How many times as fast as recorded: `1`, `10x`; or `max`.
    #[arg(long, default_value = "1")]
    pub(super) speed: Speed,
    /// The most requests at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) concurrency: u16,
    /// The longest time that one answer may take.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(super) timeout: Duration,
    /// The largest deviation of close numbers, relative to the larger one.
    #[arg(long, default_value_t = 1e-6, value_parser = positive)]
    pub(super) tolerance: f64,
    /// Numbers nearer to zero than this are measured against it.
    #[arg(long, default_value_t = 1e-3, value_parser = positive)]
    pub(super) floor: f64,
    /// A value of JSON answers that is not compared, as a JSON pointer in which `*` stands for every
    /// member; may be repeated. `/id`, `/model_name` and `/model_version` never are.
    #[arg(long, value_name = "POINTER", value_parser = JsonPointer::parse)]
    pub(super) ignore: Vec<JsonPointer>,
    /// The share of answers that may differ or fail for exit code 0: `0.01` or `1%`.
    #[arg(long, value_name = "RATIO", default_value = "0", value_parser = ratio)]
    pub(super) allow_differing: f64,
    /// How many differing or failed answers the report names.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) examples: usize,
    /// Write one JSON line for each comparison to this file.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
}

/// Which recorded requests are sent again.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Selection {
    /// Requests that this model answered.
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Requests since this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<jiff::Timestamp>,
    /// Requests before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<jiff::Timestamp>,
    /// The most requests.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,
}

fn name(text: &str) -> Result<String, &'static str> {
    if is_valid_name(text) { Ok(text.to_owned()) } else { Err("no model or version has this name") }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    let duration = Duration::try_from(duration).unwrap_or_default();
    if duration.is_zero() { Err("must be longer than zero".to_owned()) } else { Ok(duration) }
}

fn positive(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or("write a number such as 1e-6")
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    let ratio = match text.strip_suffix('%') {
        Some(percent) => percent.parse().map(|percent: f64| percent / 100.0),
        None => text.parse(),
    };
    let inside = ratio.ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    inside.ok_or("write a ratio such as 0.01 or 1%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_read_and_nonsense_is_refused() {
        assert_eq!((ratio("1%"), ratio("0.5")), (Ok(0.01), Ok(0.5)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(positive("1e-6"), Ok(1e-6));
        assert!(ratio("2").is_err() && ratio("-1%").is_err() && positive("NaN").is_err());
        assert!(duration("0s").is_err() && duration("-1s").is_err() && duration("x").is_err());
    }
}
