//! `pointsman log stats`
//!
//! Owns what the totals are called. Counts of records come from seals and footers; only a breakdown reads
//! the records themselves.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::super::args::Format;
use super::CommandError;
use super::progress::Progress;
use crate::prediction_log::Item;
use crate::prediction_log::query::column::Column;
use crate::prediction_log::query::text::{printable, size, timestamp};
use crate::prediction_log::query::totals::{Totals, totals};
use crate::prediction_log::query::{Log, last_lsn};

/// The columns by which a breakdown counts.
const GROUPS: [Column; 4] = [Column::Kind, Column::Model, Column::ModelVersion, Column::Outcome];

/// Rows by the values of [`GROUPS`].
type Breakdown = BTreeMap<[String; GROUPS.len()], u64>;

/// Prints what the log holds in total.
pub(super) fn stats(
    data_dir: &Path,
    breakdown: bool,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let totals = totals(data_dir)?;
    let groups = if breakdown { Some(count(data_dir)?) } else { None };
    match format {
        Format::Human => human(&totals, groups.as_ref(), out)?,
        Format::Json => writeln!(out, "{}", to_json(&totals, groups.as_ref()))?,
    }
    Ok(())
}

fn count(data_dir: &Path) -> Result<Breakdown, CommandError> {
    let all = last_lsn(data_dir)?;
    let mut progress = Progress::records();
    let mut log = Log::open(data_dir)?;
    let mut groups = Breakdown::new();
    loop {
        progress.set(log.position(), all);
        match log.next_item()? {
            Some(Item::Row(row)) => {
                let key = GROUPS.map(|column| column.value(&row).cell().into_owned());
                *groups.entry(key).or_default() += 1;
            }
            Some(Item::Gap(_)) => {}
            None => return Ok(groups),
        }
    }
}

fn human(totals: &Totals, groups: Option<&Breakdown>, out: &mut dyn Write) -> io::Result<()> {
    let survey = &totals.segments;
    let number = |lsn: Option<u64>| lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
    let time = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), timestamp);
    let rows = [
        ("records", totals.records.to_string()),
        ("first", number(totals.first_lsn)),
        ("last", number(totals.last_lsn)),
        ("segments", format!("{} ({} closed)", survey.segments, survey.sealed)),
        ("bytes", format!("{} ({})", survey.bytes, size(survey.bytes))),
        ("parquet", format!("{} files, {}", totals.parquet_files, size(totals.parquet_bytes))),
        ("since", time(totals.since_us)),
        ("node", printable(&survey.node)),
        ("gaps", format!("{} numbers", totals.missing)),
        ("damaged", survey.damaged_places.to_string()),
        ("torn bytes", survey.torn_bytes.to_string()),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<11} {value}")?;
    }
    for cursor in &totals.cursors {
        let name = printable(&cursor.name);
        let (amount, side) = match cursor.ahead {
            0 => (cursor.lag, "behind"),
            ahead => (ahead, "beyond the end of the log: see `log verify`"),
        };
        writeln!(out, "{:<11} {name} at {}, {amount} {side}", "cursor", cursor.position)?;
    }
    for suspect in &totals.suspects {
        writeln!(out, "{:<11} {}", "suspect", suspect.display())?;
    }
    for (key, count) in groups.into_iter().flatten() {
        let key = key
            .each_ref()
            .map(|cell| if cell.is_empty() { "-".to_owned() } else { printable(cell) });
        writeln!(out, "{count:>11} {}", key.join("  "))?;
    }
    Ok(())
}

fn to_json(totals: &Totals, groups: Option<&Breakdown>) -> Value {
    let survey = &totals.segments;
    let cursors: Vec<Value> = totals
        .cursors
        .iter()
        .map(|of| {
            json!({ "name": of.name, "position": of.position, "lag": of.lag, "ahead": of.ahead })
        })
        .collect();
    let suspects: Vec<String> =
        totals.suspects.iter().map(|path| path.display().to_string()).collect();
    let mut whole = json!({
        "records": totals.records,
        "first_lsn": totals.first_lsn,
        "last_lsn": totals.last_lsn,
        "segments": survey.segments,
        "segments_sealed": survey.sealed,
        "bytes": survey.bytes,
        "parquet_files": totals.parquet_files,
        "parquet_bytes": totals.parquet_bytes,
        "created": totals.since_us.map(timestamp),
        "replica_id": (!survey.node.is_empty()).then_some(&survey.node),
        "missing": totals.missing,
        "damaged_places": survey.damaged_places,
        "torn_bytes": survey.torn_bytes,
        "cursors": cursors,
        "suspects": suspects,
    });
    if let Some(groups) = groups {
        let rows = groups.iter().map(|(key, count)| {
            let mut row: serde_json::Map<String, Value> = GROUPS
                .iter()
                .zip(key)
                .map(|(column, cell)| {
                    let cell = if cell.is_empty() { Value::Null } else { json!(cell) };
                    (column.name().to_owned(), cell)
                })
                .collect();
            row.insert("rows".to_owned(), json!(count));
            Value::Object(row)
        });
        whole["breakdown"] = Value::Array(rows.collect());
    }
    whole
}
