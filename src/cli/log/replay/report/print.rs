//! The report in print.
//!
//! Owns its form for people and its form for programs. Never counts.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Comparison, Quantiles, Report, Run, Worst};

/// The verdicts in the order in which they are printed.
const VERDICTS: [&str; 5] = ["equal", "close", "differing", "failed", "unknown"];

impl Report {
    /// The report for people.
    pub(in super::super) fn human(&self) -> String {
        let mut out = String::new();
        // Writing into a `String` cannot fail.
        self.write_human(&mut out).unwrap_or_default();
        out
    }

    fn write_human(&self, out: &mut String) -> std::fmt::Result {
        let Run { target, to_model, to_version, speed, seconds, recorded_seconds, interrupted } =
            &self.run;
        let sent = self.sent();
        write!(out, "replayed {sent} requests at {target}")?;
        if let Some(model) = to_model {
            write!(out, ", model {model}")?;
        }
        if let Some(version) = to_version {
            write!(out, ", version {version}")?;
        }
        write!(out, "\n{recorded_seconds:.1} s of the record in {seconds:.1} s (speed {speed})")?;
        writeln!(out, "{}\n", if *interrupted { ", interrupted" } else { "" })?;
        for verdict in VERDICTS {
            let count = self.count(verdict);
            let share = if sent == 0 { 0.0 } else { count as f64 * 100.0 / sent as f64 };
            let line = format!("  {verdict:<10} {count:>9} {share:>7.2} %  {}", self.of(verdict));
            writeln!(out, "{}", line.trim_end())?;
        }
        for (reason, count) in &self.skipped {
            writeln!(out, "  {:<10} {count:>9}            {reason}", "not sent")?;
        }
        if self.gaps > 0 {
            writeln!(
                out,
                "  {:<10} {:>9}            places where the log has gaps",
                "gaps", self.gaps
            )?;
        }
        if let Some(Worst { deviation, pointer, record_id }) = &self.worst {
            writeln!(out, "\nlargest deviation {deviation:.3e} at {pointer} of {record_id}")?;
        }
        writeln!(out, "\n  ms              p50        p95        p99        max")?;
        let times =
            [("recorded", &self.recorded), ("replayed", &self.replayed), ("late", &self.late)];
        for (name, times) in times {
            let Quantiles { p50, p95, p99, max } = times.quantiles();
            let [p50, p95, p99, max] = [p50, p95, p99, max].map(|us| us as f64 / 1000.0);
            writeln!(out, "  {name:<9} {p50:>9.3}  {p95:>9.3}  {p99:>9.3}  {max:>9.3}")?;
        }
        for example in &self.examples {
            write!(out, "\n{}", human_example(example))?;
        }
        Ok(())
    }

    /// What is behind a verdict.
    fn of(&self, verdict: &str) -> String {
        let kind = |(how, count): (&str, u64)| format!("{count} {}", phrase(how));
        self.kinds(verdict).map(kind).collect::<Vec<_>>().join(", ")
    }

    /// The report for programs: one JSON object.
    ///
    /// # Errors
    /// Never in practice: all keys are text.
    pub(in super::super) fn json(&self) -> serde_json::Result<Vec<u8>> {
        let sent = self.sent();
        let verdict = |name: &'static str| Counted {
            count: self.count(name),
            share: if sent == 0 { 0.0 } else { self.count(name) as f64 / sent as f64 },
            of: self.kinds(name).collect(),
        };
        serde_json::to_vec(&JsonReport {
            run: &self.run,
            sent,
            equal: verdict("equal"),
            close: verdict("close"),
            differing: verdict("differing"),
            failed: verdict("failed"),
            unknown: verdict("unknown"),
            skipped: &self.skipped,
            gaps: self.gaps,
            worst: self.worst.as_ref(),
            recorded_us: self.recorded.quantiles(),
            replayed_us: self.replayed.quantiles(),
            late_us: self.late.quantiles(),
            examples: &self.examples,
        })
    }
}

/// One verdict in the report for programs.
#[derive(Serialize)]
struct Counted {
    count: u64,
    share: f64,
    of: std::collections::BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    #[serde(flatten)]
    run: &'a Run,
    sent: u64,
    equal: Counted,
    close: Counted,
    differing: Counted,
    failed: Counted,
    unknown: Counted,
    skipped: &'a std::collections::BTreeMap<&'static str, u64>,
    gaps: u64,
    worst: Option<&'a Worst>,
    recorded_us: Quantiles,
    replayed_us: Quantiles,
    late_us: Quantiles,
    examples: &'a [Comparison],
}

/// What a kind of verdict means.
fn phrase(how: &str) -> &str {
    match how {
        "bytes" => "byte for byte",
        "json" => "as JSON",
        "status" => "by another class of status",
        "connect" => "not connected",
        "broken" => "broken off",
        "too_long" => "too long",
        "timeout" => "not in time",
        other => other,
    }
}

fn human_example(example: &Comparison) -> String {
    let replayed = example.replay_record_id.as_deref().unwrap_or("-");
    let what = match (&example.error, example.replay_status) {
        (Some(error), _) => printable(error),
        (None, Some(status)) if example.how == Some("status") => {
            format!("status {} was {}", status, example.status)
        }
        _ => {
            let pointer = example.pointer.as_deref().filter(|pointer| !pointer.is_empty());
            let place = pointer.map(|pointer| format!("{} ", printable(pointer)));
            let text = |text: &Option<String>| printable(text.as_deref().unwrap_or_default());
            let (old, new) = (text(&example.recorded), text(&example.replayed));
            format!("{}was {old}, is {new}", place.unwrap_or_default())
        }
    };
    format!("{:<9} {} > {replayed}\n          {what}\n", example.verdict, example.record_id)
}

/// Text of a server's making, without characters that could drive a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
