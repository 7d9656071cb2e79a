//! The forms of strings about releases.
//!
//! Owns the words for checks and rates, the range of a step's share, and how a moment is written. Never judges a
//! version.

use crate::config::diagnostic::{Code, closest};
use crate::config::scalar::{Fault, percent, show_percent};
use crate::domain::ids::Permille;
use crate::domain::lifecycle::evidence::{CheckKind, Metric};
use crate::domain::lifecycle::policy::CANDIDATE_SHARE_MAX;

/// Parses the name of a check.
pub(in crate::config) fn check(text: &str) -> Result<CheckKind, Fault> {
    let found = CheckKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| no_such(text, "a check", &CheckKind::ALL.map(CheckKind::as_str)))
}

/// Parses the name of a rate.
pub(in crate::config) fn metric(text: &str) -> Result<Metric, Fault> {
    let found = Metric::ALL.into_iter().find(|metric| metric.as_str() == text);
    found.ok_or_else(|| no_such(text, "a rate", &Metric::ALL.map(Metric::as_str)))
}

/// Parses the share of a step.
pub(in crate::config) fn step_share(text: &str) -> Result<Permille, Fault> {
    let share = percent(text)?;
    if share == Permille::NONE || share > CANDIDATE_SHARE_MAX {
        let most = show_percent(CANDIDATE_SHARE_MAX);
        return Err(Fault::new(format!("must hold shares from 0.1% to {most}, not `{text}`"))
            .code(Code::OutOfRange)
            .help("an equal share of the champion's requests is compared with each"));
    }
    Ok(share)
}

/// Parses a moment such as `2026-11-26T20:00:00Z`: milliseconds since the Unix epoch.
pub(in crate::config) fn moment(text: &str) -> Result<u64, Fault> {
    let fault = |help: &'static str| {
        let text = text.escape_debug();
        Fault::new(format!("must be a moment such as 2026-11-26T20:00:00Z, not `{text}`"))
            .help(help)
    };
    let moment: jiff::Timestamp = text
        .parse()
        .map_err(|_| fault("write a date, a time, and `Z` or an offset such as +01:00"))?;
    u64::try_from(moment.as_millisecond()).map_err(|_| fault("no model is from before 1970"))
}

fn no_such(text: &str, what: &str, words: &[&'static str]) -> Fault {
    let fault = Fault::new(format!("names {what} that is not known: `{text}`"));
    match closest(text, words.iter().copied()) {
        Some(word) => fault.help(format!("did you mean \"{word}\"?")),
        None => fault.help(format!("there are {}", words.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_or_the_nearest_is_named() {
        assert_eq!(check("golden_metric"), Ok(CheckKind::GoldenMetric));
        assert_eq!(metric("slow"), Ok(Metric::Slow));
        let help = |fault: Fault| fault.help.unwrap();
        assert_eq!(help(check("identiti").unwrap_err()), "did you mean \"identity\"?");
        assert_eq!(help(metric("x").unwrap_err()), "there are errors, invalid, slow, labels");
    }

    #[test]
    fn a_moment_has_a_date_a_time_and_where_that_is() {
        assert_eq!(moment("1970-01-01T00:00:01.5Z"), Ok(1500));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(0));
        // What Python's `datetime.now(timezone.utc).isoformat()` writes.
        assert_eq!(moment("1970-01-01T00:00:02.000001+00:00"), Ok(2000));
        for bad in ["", "2026-11-26", "2026-11-26T20:00:00", "1969-01-01T00:00:00Z", "yesterday"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_step_has_a_share_that_leaves_room_for_its_control() {
        assert_eq!(step_share("50%").unwrap().thousandths(), 500);
        for bad in ["0%", "50.1%", "100%", "5"] {
            assert!(step_share(bad).is_err(), "{bad}");
        }
    }
}
