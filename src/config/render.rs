//! Diagnostics as text for people and as JSON.
//!
//! Owns the look. Never decides what is a mistake.

use std::fmt::Write as _;

use serde_json::json;

use super::diagnostic::{Diagnostic, Diagnostics, Location, Severity};
use super::source::printable;

/// Renders for people, in the shape that rustc has taught: message, place, line, mark, help.
pub(super) fn human(all: &Diagnostics, color: bool) -> String {
    let paint = Paint { color };
    let mut out = String::new();
    for found in all.iter() {
        one(&mut out, found, &paint);
        out.push('\n');
    }
    if all.left_out() > 0 {
        out.push_str(&format!("… and {} more errors\n", all.left_out()));
    }
    out.push_str(&totals(all));
    out.push('\n');
    out
}

/// Renders one JSON array.
pub(super) fn json(all: &Diagnostics) -> String {
    let place = |at: &Location| {
        json!({
            "file": at.file.to_string_lossy(),
            "line": at.line,
            "column": at.column,
            "source": at.excerpt.text,
        })
    };
    let object = |found: &Diagnostic| {
        let related = found.related.iter().map(|other| {
            let mut object = place(&other.location);
            object["message"] = other.message.clone().into();
            object
        });
        json!({
            "code": found.code.as_str(),
            "severity": found.severity.as_str(),
            "file": found.location.file.to_string_lossy(),
            "line": found.location.line,
            "column": found.location.column,
            "message": found.message,
            "help": found.help,
            "source": found.location.excerpt.text,
            "related": related.collect::<Vec<_>>(),
        })
    };
    let array = serde_json::Value::Array(all.iter().map(object).collect());
    format!("{array:#}\n")
}

fn one(out: &mut String, found: &Diagnostic, paint: &Paint) {
    let (style, mark) = match found.severity {
        Severity::Error => (RED, '^'),
        Severity::Warning => (YELLOW, '^'),
    };
    let title = format!("{}[{}]", found.severity.as_str(), found.code.as_str());
    let places = found.related.iter().map(|other| &other.location).chain([&found.location]);
    let gutter = places.map(|at| at.line.to_string().len()).max().unwrap_or(1);
    line(out, format_args!("{}: {}", paint.style(style, &title), printable(&found.message)));
    excerpt(out, "-->", &found.location, (mark, style), "", gutter, paint);
    for other in &found.related {
        excerpt(out, ":::", &other.location, ('-', BLUE), &other.message, gutter, paint);
    }
    if let Some(help) = &found.help {
        let lead = paint.style(BLUE, &format!("{:gutter$} = ", ""));
        line(out, format_args!("{lead}{}: {}", paint.style(BOLD, "help"), printable(help)));
    }
}

fn excerpt(
    out: &mut String,
    arrow: &str,
    at: &Location,
    (mark, style): (char, &str),
    label: &str,
    gutter: usize,
    paint: &Paint,
) {
    let file = printable(&at.file.to_string_lossy());
    let arrow = paint.style(BLUE, &format!("{:gutter$}{arrow}", ""));
    line(out, format_args!("{arrow} {file}:{}:{}", at.line, at.column));
    if at.excerpt.text.is_empty() {
        return;
    }
    let bar = paint.style(BLUE, &format!("{:gutter$} |", ""));
    let marks: String = std::iter::repeat_n(mark, at.excerpt.width).collect();
    let marks = paint.style(style, format!("{marks} {}", printable(label)).trim_end());
    let number = paint.style(BLUE, &format!("{:>gutter$} |", at.line));
    line(out, format_args!("{bar}"));
    line(out, format_args!("{}", format!("{number} {}", at.excerpt.text).trim_end()));
    line(out, format_args!("{bar} {:offset$}{marks}", "", offset = at.excerpt.offset));
}

fn totals(all: &Diagnostics) -> String {
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    match (all.errors(), all.warnings()) {
        (errors, 0) => count(errors, "error"),
        (0, warnings) => count(warnings, "warning"),
        (errors, warnings) => {
            format!("{}, {}", count(errors, "error"), count(warnings, "warning"))
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a `String` cannot fail.
    writeln!(out, "{text}").unwrap_or_default();
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const BLUE: &str = "1;34";
const BOLD: &str = "1";

/// SGR sequences (ECMA-48 8.3.117), or none.
struct Paint {
    color: bool,
}

impl Paint {
    fn style(&self, style: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
