//! The forms of strings about alarms.
//!
//! Owns how links and hours are written. Never opens a link.

use crate::config::scalar::Fault;
use crate::domain::stats::alarm::MuteHours;

/// The longest link, in bytes.
const LINK_BYTES_MAX: usize = 2048;

/// Checks the URL of a page; `{alarm}` and `{model}` may stand in it.
pub(in crate::config) fn link(text: &str) -> Result<String, Fault> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| !rest.is_empty())
        && text.len() <= LINK_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(format!("must be the URL of a page, not `{text}`"))
            .help("write \"https://…\", without spaces"))
    }
}

/// Parses hours in which nobody is called.
pub(in crate::config) fn mute_hours(text: &str) -> Result<MuteHours, Fault> {
    MuteHours::parse(text).map_err(|error| {
        Fault::new(format!("must be hours of the day, not `{text}`")).help(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_whole_urls() {
        assert!(link("https://wiki/{model}#{alarm}").is_ok());
        for bad in ["", "wiki", "https://", "ftp://a", "https://a b"] {
            assert!(link(bad).is_err(), "{bad}");
        }
        assert!(mute_hours("22:00-06:00").is_ok() && mute_hours("22-6").is_err());
    }
}
