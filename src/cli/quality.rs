//! `pointsman quality`: how good the predictions of a version were, as labels tell, and as scores let expect.
//!
//! Owns the table. Asks the running gateway; computes nothing.

use std::io::Write;

use serde_json::Value;

use super::args::{Format, QualityArgs};
use super::{Failure, admin_client};
use crate::domain::ids::is_valid_name;
use crate::domain::spec::Intent;

/// Shows the quality of a version.
pub(super) fn quality(
    intent: &Intent,
    args: &QualityArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let names = [Some(&args.model), Some(&args.version), args.control.as_ref()];
    if let Some(bad) = names.into_iter().flatten().find(|name| !is_valid_name(name)) {
        return Err(Failure::Usage(format!("`{}` is no name", bad.escape_debug())));
    }
    let mut path =
        format!("/api/v1/models/{}/versions/{}/quality?window=day", args.model, args.version);
    if let Some(control) = &args.control {
        path.push_str("&control=");
        path.push_str(control);
    }
    let answer = admin_client::get(intent.admin, &path)?;
    if args.format == Format::Json {
        return Ok(writeln!(out, "{answer}")?);
    }
    for line in lines(&answer) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn lines(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let whole = &report["whole"];
    let share = whole["coverage"].as_f64().unwrap_or(0.0) * 100.0;
    let mut lines = vec![format!(
        "{} {} · since {} · {} predictions, {} of them labelled ({share:.1} %) · {}",
        text(&report["model"]),
        text(&report["version"]),
        text(&report["since"]),
        whole["predictions"],
        whole["labelled"],
        text(&whole["state"]),
    )];
    if report["complete"] == false {
        lines.push("the log is still being read: not everything is counted yet".to_owned());
    }
    let metrics = whole["metrics"].as_object();
    let rows = metrics.into_iter().flatten().map(|(name, metric)| row(name, metric, ""));
    lines.extend(rows);
    lines.extend(estimated(&report["estimated"]));
    if let Some(unscored) = whole["unscored"].as_object() {
        let reasons: Vec<String> =
            unscored.iter().map(|(why, count)| format!("{why} {count}")).collect();
        lines.push(format!("not scored: {}", reasons.join(", ")));
    }
    let comparison = &report["comparison"];
    if comparison["state"] == "sufficient" {
        lines.push(format!(
            "wrong more often than the control by {} ({} to {})",
            number(&comparison["difference"]),
            number(&comparison["lower"]),
            number(&comparison["upper"]),
        ));
    } else if !comparison.is_null() {
        lines.push("too few labels of both to compare with the control".to_owned());
    }
    lines
}

/// What the scores let expect; never without the word.
fn estimated(estimated: &Value) -> Vec<String> {
    let Some(found) = estimated.as_object() else { return Vec::new() };
    let mut lines = Vec::new();
    for name in ["accuracy", "f1", "auc"] {
        match found.get(name) {
            Some(metric @ Value::Object(_)) => lines.push(row(name, metric, "estimated")),
            Some(value @ Value::Number(_)) => {
                lines.push(format!("{name:<20} {:>10}  estimated", number(value)));
            }
            Some(_) | None => {}
        }
    }
    let part = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    lines.push(format!("estimated: {}; calibration: {}", part("about"), part("calibration")));
    lines
}

fn row(name: &str, metric: &Value, word: &str) -> String {
    let interval = match (&metric["lower"], &metric["upper"]) {
        (Value::Null, _) | (_, Value::Null) => String::new(),
        (lower, upper) => format!("{} to {}", number(lower), number(upper)),
    };
    let line = format!("{name:<20} {:>10}  {interval:<24} {word}", number(&metric["value"]));
    line.trim_end().to_owned()
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |number| format!("{number:.4}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_estimated_is_called_so() {
        let report = json!({
            "model": "m", "version": "v1", "since": "2026-01-01T00:00:00Z", "complete": true,
            "whole": {
                "predictions": 400, "labelled": 100, "coverage": 0.25, "state": "sufficient",
                "metrics": { "accuracy": { "value": 0.9, "n": 100, "lower": 0.8, "upper": 0.95 },
                             "mcc": { "value": 0.7, "n": 100 } },
                "unscored": { "rows": 3 },
            },
            "estimated": {
                "about": "from the scores alone", "calibration": "baseline", "n": 400,
                "accuracy": { "value": 0.91, "lower": 0.9, "upper": 0.92 }, "f1": 0.5, "auc": null,
            },
            "comparison": { "state": "insufficient" },
        });
        let lines = lines(&report);
        assert_eq!(
            lines,
            [
                "m v1 · since 2026-01-01T00:00:00Z · 400 predictions, 100 of them labelled (25.0 %) · sufficient",
                "accuracy                 0.9000  0.8000 to 0.9500",
                "mcc                      0.7000",
                "accuracy                 0.9100  0.9000 to 0.9200         estimated",
                "f1                       0.5000  estimated",
                "estimated: from the scores alone; calibration: baseline",
                "not scored: rows 3",
                "too few labels of both to compare with the control",
            ]
        );
    }
}
