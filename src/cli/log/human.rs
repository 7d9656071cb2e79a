//! Rows as lines for people.
//!
//! Owns the columns of such a line and their widths. Never prints a body.

use std::fmt::Write as _;

use crate::domain::record::{Entry, FeedbackRecord, FeedbackTarget, GapRecord, PredictionRecord};
use crate::prediction_log::query::column::Column;
use crate::prediction_log::query::text::{printable, size, timestamp};
use crate::prediction_log::{Gap, Item, Row};

/// Writes the named columns of a row as a line, a dash for what is not there.
pub(super) fn cells(row: &Row<'_>, columns: &[Column], line: &mut Vec<u8>) {
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            line.extend(b"  ");
        }
        let value = column.value(row);
        let cell = value.cell();
        line.extend(if cell.is_empty() { b"-".to_vec() } else { printable(&cell).into_bytes() });
    }
    line.push(b'\n');
}

/// Writes one item as a line for people.
pub(super) fn line(item: &Item<'_>, line: &mut Vec<u8>) {
    let text = match item {
        Item::Row(row) => match &row.entry {
            Entry::Prediction(record) => human_record(record),
            Entry::Feedback(feedback) => human_feedback(feedback),
            Entry::Gap(gap) => human_gap_row(gap),
        },
        Item::Gap(gap) => human_gap(gap),
    };
    line.extend(text.into_bytes());
    line.push(b'\n');
}

fn human_record(record: &PredictionRecord<'_>) -> String {
    let decision = &record.decision;
    let target = match (decision.model, decision.model_version) {
        ("", _) => decision.route.to_owned(),
        (model, "") => model.to_owned(),
        (model, version) => format!("{model}/{version}"),
    };
    format!(
        "{}  {:<24} {:>3} {:<14} {:>10.3} ms {:>9} > {:<9} {}",
        timestamp(record.ts_us),
        printable(&target),
        record.status,
        record.outcome.as_str(),
        f64::from(record.latency.t_total) / 1000.0,
        size(record.request.bytes),
        size(record.response.bytes),
        record.record_id,
    )
}

fn human_feedback(feedback: &FeedbackRecord<'_>) -> String {
    let target = match feedback.target {
        FeedbackTarget::Prediction(id) => id.to_string(),
        FeedbackTarget::Request(text) | FeedbackTarget::Key(text) => printable(text),
    };
    let value = feedback.value.map(|value| value.to_string()).unwrap_or_default();
    let label = printable(feedback.label.unwrap_or_default());
    let metric = printable(feedback.metric);
    let taken_back = if feedback.retracted { " (taken back)" } else { "" };
    format!(
        "{}  feedback: {metric} {value}{label}{taken_back} for {target}",
        timestamp(feedback.ts_us)
    )
}

fn human_gap_row(gap: &GapRecord<'_>) -> String {
    let who = if gap.consumer.is_empty() {
        String::new()
    } else {
        format!(" for {}", printable(gap.consumer))
    };
    let lsns = gap.lsns.map(|(first, last)| format!(" ({first} to {last})")).unwrap_or_default();
    format!(
        "{}  -- gap: {}, {} records{lsns}{who} --",
        timestamp(gap.ts_us),
        gap.reason.as_str(),
        gap.records
    )
}

fn human_gap(gap: &Gap) -> String {
    let segment = gap.segment.file_name().unwrap_or_default().to_string_lossy();
    let mut text = format!("-- gap: {} at {segment}:{}", gap.reason.as_str(), gap.offset);
    if let Some(lsns) = &gap.lsns {
        let records = lsns.end().saturating_sub(*lsns.start()).saturating_add(1);
        let known = write!(text, ", {records} records ({} to {})", lsns.start(), lsns.end());
        debug_assert!(known.is_ok(), "writing to a string cannot fail");
    }
    if gap.bytes > 0 {
        text.push_str(", ");
        text.push_str(&size(gap.bytes));
    }
    text + " --"
}
