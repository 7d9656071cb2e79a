//! Writes rows as one Parquet file.
//!
//! Owns the size of batches and row groups, and so the bound on memory: one row group as encoded, and
//! one batch of rows. Never names or syncs a file.

use std::io::Write;

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

use super::rows::RowBuilder;
use super::schema::{GROUP_BYTES_MAX, GROUP_ROWS_MAX, ROOT, key_values, properties, schema};
use crate::prediction_log::Row;

/// Bytes of rows that are encoded together.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// Rows that are encoded together.
const BATCH_ROWS: usize = 4096;

/// A Parquet file that is being written.
pub(in crate::prediction_log) struct RowWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    batch: RowBuilder,
    /// Of the row group, those in the batch included.
    group_rows: usize,
    group_bytes: usize,
    rows: u64,
}

impl<W: Write + Send> RowWriter<W> {
    /// Starts a file with the rows `first_lsn` to `last_lsn` of the gateway `replica`.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub(in crate::prediction_log) fn new(
        out: W,
        level: i32,
        replica: &str,
        lsns: (u64, u64),
    ) -> Result<Self, ParquetError> {
        // The Arrow schema would add nothing for readers: every type has its equal in Parquet.
        let options = ArrowWriterOptions::new()
            .with_properties(properties(level))
            .with_schema_root(ROOT.to_owned())
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(out, schema(), options)?;
        for pair in key_values(replica, lsns.0, lsns.1) {
            writer.append_key_value_metadata(pair);
        }
        Ok(Self { writer, batch: RowBuilder::new(), group_rows: 0, group_bytes: 0, rows: 0 })
    }

    /// Adds a row; true when a batch was encoded, so that this took its time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(in crate::prediction_log) fn push(&mut self, row: &Row<'_>) -> Result<bool, ParquetError> {
        let before = self.batch.bytes();
        self.batch.push(row)?;
        self.rows += 1;
        self.group_rows += 1;
        self.group_bytes += self.batch.bytes() - before;
        let group_is_full =
            self.group_rows >= GROUP_ROWS_MAX || self.group_bytes >= GROUP_BYTES_MAX;
        let batch_is_full = self.batch.bytes() >= BATCH_BYTES || self.batch.rows() >= BATCH_ROWS;
        if !group_is_full && !batch_is_full {
            return Ok(false);
        }
        self.encode()?;
        if group_is_full {
            self.writer.flush()?;
            self.group_rows = 0;
            self.group_bytes = 0;
        }
        Ok(true)
    }

    /// Rows so far.
    pub(in crate::prediction_log) fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file and returns what it was written to.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(in crate::prediction_log) fn finish(mut self) -> Result<W, ParquetError> {
        self.encode()?;
        self.writer.into_inner()
    }

    fn encode(&mut self) -> Result<(), ParquetError> {
        if self.batch.rows() > 0 {
            self.writer.write(&self.batch.finish()?)?;
        }
        Ok(())
    }
}
