//! The report in print.
//!
//! Owns its form for people and its form for programs. Never counts.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Comparison, DEVIATION_UNIT, Pair, PairCounts, Quantiles, Report, Run, Worst};

/// Places that are printed for people.
const PLACES_SHOWN: usize = 12;

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
        let Run { target, to_model, to_version, speed, seconds, recorded_seconds, .. } = &self.run;
        let sent = self.sent();
        write!(out, "replayed {sent} requests at {target}")?;
        if let Some(model) = to_model {
            write!(out, ", model {model}")?;
        }
        if let Some(version) = to_version {
            write!(out, ", version {version}")?;
        }
        write!(out, "\n{recorded_seconds:.1} s of the record in {seconds:.1} s (speed {speed})")?;
        writeln!(out, "{}", if self.run.interrupted { ", interrupted" } else { "" })?;
        if let (Some(from), Some(to)) = (&self.run.recorded_from, &self.run.recorded_to) {
            let rate = |seconds: f64| sent as f64 / seconds.max(1e-3);
            let (then, now) = (rate(*recorded_seconds), rate(*seconds));
            writeln!(out, "recorded {from} to {to}: {then:.1} requests/s then, {now:.1} now")?;
        }
        writeln!(out)?;
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
        self.write_pairs(out)?;
        self.write_places(out)?;
        self.write_deviations(out)?;
        writeln!(out, "\n  ms              p50        p95        p99        max")?;
        let times =
            [("recorded", &self.recorded), ("replayed", &self.replayed), ("late", &self.late)];
        for (name, times) in times {
            let Quantiles { p50, p95, p99, max } = times.quantiles();
            let [p50, p95, p99, max] = [p50, p95, p99, max].map(|us| us as f64 / 1000.0);
            writeln!(out, "  {name:<9} {p50:>9.3}  {p95:>9.3}  {p99:>9.3}  {max:>9.3}")?;
        }
        for example in self.examples() {
            write!(out, "\n{}", human_example(example))?;
        }
        Ok(())
    }

    /// Who answered then and now, where that is not the same for all.
    fn write_pairs(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n  {:<34} {:>9} {:>9} {:>9}",
            "answered by", "sent", "differing", "failed"
        )?;
        for (pair, counts) in &self.pairs {
            let Pair { model, model_version, replay_model_version } = pair;
            let or_none =
                |name: &str| if name.is_empty() { "-".to_owned() } else { printable(name) };
            let (then, now) = (or_none(model_version), or_none(replay_model_version));
            let who = format!("{} {then} > {now}", or_none(model));
            let PairCounts { sent, differing, failed, .. } = counts;
            writeln!(out, "  {who:<34} {sent:>9} {differing:>9} {failed:>9}")?;
        }
        Ok(())
    }

    /// Where answers differ, the most frequent place first.
    fn write_places(&self, out: &mut String) -> std::fmt::Result {
        if self.places.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n  {:<34} {:>9}", "differing at", "answers")?;
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_by_key(|(place, count)| (std::cmp::Reverse(**count), *place));
        for (place, count) in places.iter().take(PLACES_SHOWN) {
            let share = **count as f64 * 100.0 / self.sent().max(1) as f64;
            writeln!(out, "  {:<34} {count:>9} {share:>7.2} %", printable(place))?;
        }
        if let Some(more) = places.len().checked_sub(PLACES_SHOWN + 1) {
            writeln!(out, "  and {} more places (--format json has them)", more + 1)?;
        }
        Ok(())
    }

    fn write_deviations(&self, out: &mut String) -> std::fmt::Result {
        let Some(Worst { deviation, pointer, record_id }) = &self.worst else { return Ok(()) };
        let Deviations { answers, p50, p95, p99, .. } = self.deviations();
        let Run { tolerance, floor, .. } = &self.run;
        writeln!(
            out,
            "\n  numbers that are not equal, largest deviation of each of {answers} answers"
        )?;
        writeln!(out, "  p50 {p50:.2e}, p95 {p95:.2e}, p99 {p99:.2e}, max {deviation:.2e}")?;
        writeln!(out, "  (close up to {tolerance:e}; below {floor:e} measured against that)")?;
        writeln!(out, "  max at {pointer} of {record_id}")
    }

    fn deviations(&self) -> Deviations {
        let at = |quantile| self.deviations.value_at_quantile(quantile) as f64 * DEVIATION_UNIT;
        let max = self.worst.as_ref().map_or(0.0, |worst| worst.deviation);
        // The histogram rounds up; nothing is larger than the largest.
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| at(quantile).min(max));
        Deviations { answers: self.deviations.len(), p50, p95, p99, max }
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
            answered_by: self
                .pairs
                .iter()
                .map(|(pair, counts)| Answered { pair, counts })
                .collect(),
            differing_at: &self.places,
            deviations: self.deviations(),
            worst: self.worst.as_ref(),
            recorded_us: self.recorded.quantiles(),
            replayed_us: self.replayed.quantiles(),
            late_us: self.late.quantiles(),
            examples: self.examples().collect(),
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
    answered_by: Vec<Answered<'a>>,
    differing_at: &'a std::collections::BTreeMap<String, u64>,
    deviations: Deviations,
    worst: Option<&'a Worst>,
    recorded_us: Quantiles,
    replayed_us: Quantiles,
    late_us: Quantiles,
    examples: Vec<&'a Comparison>,
}

/// A line about who answered.
#[derive(Serialize)]
struct Answered<'a> {
    #[serde(flatten)]
    pair: &'a Pair,
    #[serde(flatten)]
    counts: &'a PairCounts,
}

/// The largest deviations of the answers that have one.
#[derive(Serialize)]
struct Deviations {
    answers: u64,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
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
