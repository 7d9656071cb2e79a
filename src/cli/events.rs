//! `pointsman events`: what a running gateway has found out and decided, one sentence each.
//!
//! Owns what is printed. Decides nothing.

use std::io::Write;

use jiff::Timestamp;
use serde_json::Value;

use super::args::{EventsArgs, Format};
use super::{Failure, admin_client};
use crate::control::events::EVENTS_MAX;
use crate::domain::spec::Intent;

/// Prints the last events, oldest first.
pub(super) fn events(
    intent: &Intent,
    args: &EventsArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let path = format!("/api/v1/events?limit={EVENTS_MAX}");
    let answer = admin_client::get(intent.admin, &path)?;
    let all: Vec<&Value> = answer["events"].as_array().into_iter().flatten().collect();
    let is_asked_for = |event: &&&Value| {
        let begins = |key: &str, wanted: &Option<String>| {
            let text = event[key].as_str().unwrap_or_default();
            wanted.as_ref().is_none_or(|wanted| text.starts_with(wanted.as_str()))
        };
        begins("about", &args.about) && begins("kind", &args.kind)
    };
    let found: Vec<&&Value> = all.iter().filter(is_asked_for).collect();
    let first = found.len().saturating_sub(args.n);
    for event in found.iter().skip(first) {
        if args.format == Format::Json {
            writeln!(out, "{event}")?;
            continue;
        }
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        let mark = if text("weight") != "info" { '!' } else { ' ' };
        writeln!(out, "{} {mark} {:<20} {}", date(event), text("kind"), text("words"))?;
    }
    Ok(())
}

fn date(event: &Value) -> String {
    let date = event["at_ms"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    date.map_or_else(|| "?".to_owned(), |date| format!("{date:.3}"))
}
