//! `pointsman drift`: how far the traffic of a model's versions is from their baselines.
//!
//! Owns the table. Asks the running gateway; judges nothing.

use std::io::Write;

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::args::{DriftArgs, Format};
use super::printable::printable;
use super::{Failure, admin_client};
use crate::domain::ids::is_valid_name;
use crate::domain::spec::Intent;

/// The columns: heading, and whether numbers stand in it.
const COLUMNS: [(&str, bool); 9] = [
    ("FEATURE", false),
    ("ROLE", false),
    ("VERDICT", false),
    ("PSI", true),
    ("MARGIN", true),
    ("P", true),
    ("KS", true),
    ("MISSING", true),
    ("VALUES", true),
];

/// Shows the last judgement of each version.
pub(super) fn drift(intent: &Intent, args: &DriftArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let names = std::iter::once(&args.model).chain(&args.of);
    if let Some(bad) = names.into_iter().find(|name| !is_valid_name(name)) {
        return Err(Failure::Usage(format!("`{}` is no name", bad.escape_debug())));
    }
    let answer = match &args.of {
        None => admin_client::get(intent.admin, &format!("/api/v1/models/{}/drift", args.model))?,
        Some(version) => {
            let path = format!("/api/v1/models/{}/versions/{version}/drift", args.model);
            admin_client::get(intent.admin, &path)?
        }
    };
    if args.format == Format::Json {
        return Ok(writeln!(out, "{answer}")?);
    }
    let versions = match answer["versions"].as_array() {
        Some(versions) => versions.as_slice(),
        None => std::slice::from_ref(&answer),
    };
    for (at, version) in versions.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        for line in lines(version) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// One version.
fn lines(version: &Value) -> Vec<String> {
    let text = |value: &Value| printable(value.as_str().unwrap_or("?"));
    let name = format!("{} {}", text(&version["model"]), text(&version["version"]));
    let state = match version["state"].as_str() {
        Some("judged") => String::new(),
        Some("insufficient") => "too few values so far to judge".to_owned(),
        Some("learning") => {
            format!("a baseline is learned: {} of {} rows", version["rows"], version["wanted"])
        }
        Some("refused") => format!("the baseline is refused: {}", text(&version["reason"])),
        Some("absent") => "there is no baseline".to_owned(),
        Some(other) => other.to_owned(),
        None => "?".to_owned(),
    };
    if !state.is_empty() {
        return vec![format!("{name} · {state}")];
    }
    let baseline = &version["baseline"];
    let own = match baseline["origin"].as_str() {
        Some("self") => {
            ", learned from the first traffic: it cannot see a skew to the training data"
        }
        _ => "",
    };
    let mut lines = vec![format!(
        "{name} · {} to {} · against {} rows of {}{own}",
        text(&version["since"]),
        text(&version["until"]),
        baseline["rows"],
        text(&baseline["version"]),
    )];
    if let Some(roles) = version["roles"].as_object() {
        let said =
            |(role, verdict): (&String, &Value)| format!("{role}s {}", text(&verdict["outcome"]));
        let roles: Vec<String> = roles.iter().map(said).collect();
        lines.push(format!("taken together: {}", roles.join(", ")));
    }
    let features = version["features"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.extend(table(features));
    let changed = features.iter().filter_map(|feature| {
        let sentence = feature["change"]["sentence"].as_str()?;
        Some(format!("{}: {sentence}", printable(&text(&feature["name"]))))
    });
    lines.extend(changed);
    lines
}

fn table(features: &[Value]) -> Vec<String> {
    let heads = COLUMNS.iter().map(|(head, _)| (*head).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(features.iter().map(row)).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).zip(COLUMNS).map(|((cell, width), (_, is_number))| {
            let space = " ".repeat(width.saturating_sub(cell.width()));
            if is_number { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        cells.collect::<Vec<String>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(feature: &Value) -> Vec<String> {
    let number = |value: &Value, digits: usize| {
        value.as_f64().map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
    };
    let verdict = &feature["verdict"];
    let small = |value: &Value| match value.as_f64() {
        None => "-".to_owned(),
        Some(p) if p >= 0.0005 => format!("{p:.3}"),
        Some(p) => format!("{p:.0e}"),
    };
    let ks = match &feature["kolmogorov_smirnov"] {
        Value::Array(bounds) if bounds.len() == 2 => {
            format!("{}..{}", number(&bounds[0], 3), number(&bounds[1], 3))
        }
        _ => "-".to_owned(),
    };
    let missing = feature["guards"]["missing"].as_f64().unwrap_or(0.0);
    vec![
        // A client may have chosen it.
        printable(feature["name"].as_str().unwrap_or("?")),
        feature["role"].as_str().unwrap_or("?").to_owned(),
        verdict["outcome"].as_str().unwrap_or("?").to_owned(),
        number(&feature["psi"], 4),
        number(&verdict["margin"], 3),
        small(&verdict["p"]),
        ks,
        format!("{:.1}%", missing * 100.0),
        feature["n"].to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_judged_version_is_a_table_and_any_other_a_sentence() {
        let version = json!({
            "model": "fraud", "version": "v1", "state": "judged",
            "since": "2026-03-01T00:00:00Z", "until": "2026-03-01T01:00:00Z",
            "baseline": {"origin": "data", "rows": 1000, "version": "v1"},
            "roles": {"input": {"outcome": "breach"}},
            "features": [{
                "name": "a\u{1b}e", "role": "input", "n": 1000, "psi": 0.25,
                "verdict": {"outcome": "breach", "margin": 0.02, "p": 1e-20},
                "kolmogorov_smirnov": [0.19, 0.21], "guards": {"missing": 0.01},
            }],
        });
        let lines = lines(&version);
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert_eq!(lines[1], "taken together: inputs breach");
        assert!(
            lines[3].contains("0.2500   0.020  1e-20  0.190..0.210     1.0%    1000"),
            "{}",
            lines[3]
        );
        assert!(lines[3].starts_with("a?e "), "{}", lines[3]);
        let learning =
            json!({"model": "m", "version": "v", "state": "learning", "rows": 5, "wanted": 9});
        assert_eq!(super::lines(&learning), ["m v · a baseline is learned: 5 of 9 rows"]);
    }
}
