//! Which parts of a Parquet file can hold the rows that are asked for.
//!
//! Owns what statistics and bloom filters prove. Never leaves out a row that is asked for: where
//! nothing is proved, everything is read.

use std::fs::File;

use arrow_array::{Array as _, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use crate::domain::ids::RecordId;

/// What is asked for. Rows that are not may be returned as well, except that with `ids` only rows with
/// one of these ids are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prune<'a> {
    /// The first and the last `ts`, in microseconds since the Unix epoch.
    pub ts: Option<(u64, u64)>,
    /// The first and the last log sequence number. Rows without one (gaps that were found later) stay.
    pub lsns: Option<(u64, u64)>,
    /// The record ids; empty for all rows.
    pub ids: &'a [RecordId],
    /// Only the columns of `NAMES` are read: all else of a row counts as null.
    pub names_only: bool,
}

/// The columns that tell predictions and statements apart, and those without which a row cannot be read.
pub(super) const NAMES: [&str; 21] = [
    "record_id",
    "lsn",
    "kind",
    "ts",
    "schema_version",
    "protocol",
    "outcome",
    "request_id",
    "feedback_key",
    "feedback_id",
    "target_record_id",
    "target_request_id",
    "target_feedback_key",
    "metric",
    "value",
    "label",
    "source",
    "retracted",
    "gap_reason",
    "gap_first_lsn",
    "gap_last_lsn",
];

/// The row groups that are read, and of them the rows; `None` for all rows.
pub(super) struct Selected {
    pub(super) groups: Vec<usize>,
    pub(super) rows: Option<RowSelection>,
}

/// What of `file` has to be read for `prune`.
pub(super) fn select(
    file: &File,
    metadata: &ArrowReaderMetadata,
    prune: &Prune<'_>,
) -> Result<Selected, ParquetError> {
    let parquet = metadata.metadata();
    let ids: Vec<String> = prune.ids.iter().map(ToString::to_string).collect();
    let (ts, lsn, id) = (leaf(parquet, "ts"), leaf(parquet, "lsn"), leaf(parquet, "record_id"));
    let mut groups = Vec::new();
    for (index, group) in parquet.row_groups().iter().enumerate() {
        let in_time = prune.ts.is_none_or(|range| may_overlap(group, ts, range, false));
        let in_log = prune.lsns.is_none_or(|range| may_overlap(group, lsn, range, true));
        if in_time && in_log && may_have(file, metadata, index, id, &ids)? {
            groups.push(index);
        }
    }
    let rows = match id {
        Some(id) if !ids.is_empty() && !groups.is_empty() => {
            Some(find(file, metadata, &groups, id, &ids)?)
        }
        _ => None,
    };
    Ok(Selected { groups, rows })
}

/// The place of a column without parts among the leaves.
fn leaf(metadata: &ParquetMetaData, name: &str) -> Option<usize> {
    let columns = metadata.file_metadata().schema_descr().columns();
    columns.iter().position(|column| column.path().string() == name)
}

/// The earliest `ts` of all row groups; `None` where one of them does not tell.
pub(super) fn earliest_ts(metadata: &ParquetMetaData) -> Option<u64> {
    let column = leaf(metadata, "ts")?;
    let firsts =
        metadata.row_groups().iter().map(|group| match group.column(column).statistics() {
            Some(Statistics::Int64(statistics)) => u64::try_from(*statistics.min_opt()?).ok(),
            _ => None,
        });
    firsts.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// Whether a row of the group may have a value in `range`; `nulls` says whether rows without a value
/// count.
fn may_overlap(
    group: &RowGroupMetaData,
    column: Option<usize>,
    range: (u64, u64),
    nulls: bool,
) -> bool {
    let statistics = column.and_then(|column| group.column(column).statistics());
    let Some(Statistics::Int64(statistics)) = statistics else { return true };
    if nulls && statistics.null_count_opt() != Some(0) {
        return true;
    }
    let (Some(&min), Some(&max)) = (statistics.min_opt(), statistics.max_opt()) else {
        return true;
    };
    // Values beyond the signed range are ordered in another way: nothing is proved.
    let (Ok(min), Ok(max)) = (u64::try_from(min), u64::try_from(max)) else { return true };
    min <= range.1 && max >= range.0
}

/// Whether the group may have a row with one of `ids`.
fn may_have(
    file: &File,
    metadata: &ArrowReaderMetadata,
    group: usize,
    column: Option<usize>,
    ids: &[String],
) -> Result<bool, ParquetError> {
    let (Some(column), false) = (column, ids.is_empty()) else { return Ok(true) };
    let statistics = metadata.metadata().row_group(group).column(column).statistics();
    let bounds = statistics.and_then(|of| Some((of.min_bytes_opt()?, of.max_bytes_opt()?)));
    let within = |id: &&String| {
        // A cut maximum is rounded up and a cut minimum is a prefix, so that both stay bounds.
        bounds.is_none_or(|(min, max)| id.as_bytes() >= min && id.as_bytes() <= max)
    };
    let mut possible = ids.iter().filter(within).peekable();
    if possible.peek().is_none() {
        return Ok(false);
    }
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(file.try_clone()?, metadata.clone());
    let filter = builder.get_row_group_column_bloom_filter(group, column)?;
    Ok(filter.is_none_or(|filter| possible.any(|id| filter.check(&id.as_str()))))
}

/// The rows of `groups` whose record id is among `ids`.
fn find(
    file: &File,
    metadata: &ArrowReaderMetadata,
    groups: &[usize],
    column: usize,
    ids: &[String],
) -> Result<RowSelection, ParquetError> {
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(file.try_clone()?, metadata.clone());
    let mask = ProjectionMask::leaves(builder.parquet_schema(), [column]);
    let reader = builder.with_projection(mask).with_row_groups(groups.to_vec()).build()?;
    let (mut ranges, mut total) = (Vec::new(), 0);
    for batch in reader {
        let batch = batch?;
        if let Some(found) = batch.column(0).as_any().downcast_ref::<StringArray>() {
            for (row, id) in found.iter().enumerate() {
                if id.is_some_and(|id| ids.iter().any(|wanted| wanted == id)) {
                    ranges.push(total + row..total + row + 1);
                }
            }
        }
        total += batch.num_rows();
    }
    Ok(RowSelection::from_consecutive_ranges(ranges.into_iter(), total))
}
