//! `pointsman log verify`

use std::cell::RefCell;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::{Value, json};

use super::super::args::Format;
use super::CommandError;
use super::progress::Progress;
use crate::prediction_log::query::text::{printable, size};
use crate::prediction_log::query::verify::{Beyond, Damage, FileReport, Totals, verify as walk};

/// Reads everything and prints what each file holds; an error when there is damage.
pub(super) fn verify(
    data_dir: &Path,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut printed = Ok(());
    let progress = RefCell::new(Progress::bytes());
    let totals = walk(
        data_dir,
        &mut |report| {
            let line = match format {
                Format::Human => human_file(report, data_dir),
                Format::Json => json_file(report).to_string(),
            };
            if printed.is_ok() {
                printed = writeln!(out, "{line}");
            }
        },
        &mut |done, all| progress.borrow_mut().set(done, all),
    )?;
    drop(progress);
    printed?;
    match format {
        Format::Human => human_totals(&totals, out)?,
        Format::Json => writeln!(out, "{}", json_totals(&totals))?,
    }
    if totals.is_damaged() { Err(CommandError::Damaged) } else { Ok(()) }
}

fn human_file(report: &FileReport, data_dir: &Path) -> String {
    let name = report.path.strip_prefix(data_dir).unwrap_or(&report.path).display();
    let lsns = match (report.first_lsn, report.last_lsn) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "empty".to_owned(),
    };
    let mut text = format!("{name}  {} records, {lsns}, {}", report.records, size(report.bytes));
    for (count, what) in [
        (report.feedback, "rows of feedback"),
        (report.gaps, "gap rows"),
        (report.unreadable, "rows of a later version"),
        (report.torn_bytes, "bytes that are being written, or were when it ended"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    for damage in &report.damage {
        text.push_str(&format!("\n  DAMAGED {}", human_damage(damage, &name.to_string())));
    }
    text
}

fn human_damage(damage: &Damage, name: &str) -> String {
    let Damage { offset, bytes, lsns, what } = damage;
    let lost = lsns.as_ref().map(|lsns| format!(", records {}", range(lsns))).unwrap_or_default();
    format!("{name} at offset {offset}, {bytes} bytes: {}{lost}", printable(what))
}

fn range(lsns: &RangeInclusive<u64>) -> String {
    format!("{} to {}", lsns.start(), lsns.end())
}

fn human_totals(totals: &Totals, out: &mut dyn Write) -> io::Result<()> {
    let files = format!("{} segments, {} Parquet files", totals.segments, totals.parquet_files);
    writeln!(out, "{files}, {}: {} records", size(totals.bytes), totals.records)?;
    for (count, what) in [
        (totals.feedback, "rows of feedback"),
        (totals.gaps, "gap rows"),
        (totals.unreadable, "rows of a later version"),
        (totals.converted_twice, "rows in a segment and in a Parquet file: read once"),
    ] {
        if count > 0 {
            writeln!(out, "{count} {what}")?;
        }
    }
    for lsns in &totals.missing {
        writeln!(out, "gap: records {} are missing, and the log says so", range(lsns))?;
    }
    for lsns in &totals.skipped {
        let what = "are missing: skipped by the writer, no gap row";
        writeln!(out, "DAMAGED records {} {what}", range(lsns))?;
    }
    for Beyond { consumer, position, last_lsn } in &totals.beyond {
        let name = printable(consumer);
        let has = format!("the consumer {name} has passed record {position}");
        writeln!(out, "DAMAGED the end is missing: {has}, and the log ends at {last_lsn}")?;
    }
    for lsns in &totals.lost {
        writeln!(out, "DAMAGED records {} are missing, and nothing says why", range(lsns))?;
    }
    for lsns in &totals.doubled {
        writeln!(out, "DAMAGED records {} are in two Parquet files", range(lsns))?;
    }
    match totals.damaged_places {
        0 if !totals.is_damaged() => writeln!(out, "no damage"),
        places => writeln!(out, "{places} damaged places"),
    }
}

fn json_file(report: &FileReport) -> Value {
    let damage: Vec<Value> = report
        .damage
        .iter()
        .map(|damage| {
            json!({
                "offset": damage.offset,
                "bytes": damage.bytes,
                "first_lsn": damage.lsns.as_ref().map(|lsns| *lsns.start()),
                "last_lsn": damage.lsns.as_ref().map(|lsns| *lsns.end()),
                "what": damage.what,
            })
        })
        .collect();
    json!({
        "file": report.path.display().to_string(),
        "bytes": report.bytes,
        "first_lsn": report.first_lsn,
        "last_lsn": report.last_lsn,
        "records": report.records,
        "feedback": report.feedback,
        "gaps": report.gaps,
        "unreadable": report.unreadable,
        "torn_bytes": report.torn_bytes,
        "damage": damage,
    })
}

fn json_totals(totals: &Totals) -> Value {
    let ranges = |list: &[RangeInclusive<u64>]| -> Vec<Value> {
        list.iter()
            .map(|lsns| json!({ "first_lsn": lsns.start(), "last_lsn": lsns.end() }))
            .collect()
    };
    let beyond: Vec<Value> = totals
        .beyond
        .iter()
        .map(|of| {
            json!({ "consumer": of.consumer, "position": of.position, "last_lsn": of.last_lsn })
        })
        .collect();
    json!({
        "segments": totals.segments,
        "parquet_files": totals.parquet_files,
        "bytes": totals.bytes,
        "records": totals.records,
        "feedback": totals.feedback,
        "gaps": totals.gaps,
        "unreadable": totals.unreadable,
        "converted_twice": totals.converted_twice,
        "torn_bytes": totals.torn_bytes,
        "missing": ranges(&totals.missing),
        "skipped": ranges(&totals.skipped),
        "lost": ranges(&totals.lost),
        "beyond": beyond,
        "doubled": ranges(&totals.doubled),
        "damaged_places": totals.damaged_places,
        "damaged": totals.is_damaged(),
    })
}
