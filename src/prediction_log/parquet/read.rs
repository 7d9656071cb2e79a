//! Reads a Parquet file of the log, row by row, as it was recorded.
//!
//! Owns the way back from columns to rows. Never returns a row that it does not fully understand.
//! Columns that the file does not have yet count as null, those that this version does not know are
//! passed over. Memory is bounded by one batch.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{
    Array as _, BinaryArray, BooleanArray, FixedSizeBinaryArray, MapArray, PrimitiveArray,
    StringArray,
};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::columns::{Arrays, HASH_BYTES};
pub use super::prune::Prune;
use super::prune::{NAMES, Selected, select};
use super::schema::SCHEMA_KEY;
use crate::domain::ids::{Entropy, Generation, RecordId};
use crate::domain::record::{
    DecisionRow, Entry, FeedbackRecord, FeedbackTarget, Flags, GapReason, GapRecord, Kind, Latency,
    Omission, Outcome, Payload, PredictionRecord, Protocol, SCHEMA_VERSION, Side,
};
use crate::domain::spec::Durability;
use crate::prediction_log::Row;

/// Bytes of a batch, about.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// Rows of a batch.
const BATCH_ROWS: u64 = 1024;

/// Why a Parquet file of the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ParquetReadError {
    /// The file cannot be opened.
    #[error("cannot open the Parquet file `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is damaged, or no Parquet file.
    #[error(
        "cannot read the Parquet file `{path}`: move it out of the data directory if it is damaged"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ParquetError,
    },
    /// A value is not one that this version knows.
    #[error("row {row} of `{path}` has no `{column}` that this version understands")]
    Value {
        /// The file.
        path: PathBuf,
        /// The number of the row among those read, from 1 on.
        row: u64,
        /// The column.
        column: &'static str,
    },
}

/// The rows of one file, in the order of the log.
pub struct ParquetRows {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    reader: Option<ParquetRecordBatchReader>,
    arrays: Arrays,
    /// Rows of the batch, and the place of the one after the current.
    rows: usize,
    next: usize,
    passed: u64,
}

impl std::fmt::Debug for ParquetRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetRows").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ParquetRows {
    /// Opens the file at `path` for the rows that `prune` asks for.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a Parquet file.
    pub fn open(path: &Path, prune: &Prune<'_>) -> Result<Self, ParquetReadError> {
        let file = File::open(path)
            .map_err(|source| ParquetReadError::Open { path: path.to_owned(), source })?;
        Self::start(file, path, prune)
            .map_err(|source| ParquetReadError::Read { path: path.to_owned(), source })
    }

    fn start(file: File, path: &Path, prune: &Prune<'_>) -> Result<Self, ParquetError> {
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options)?;
        let Selected { groups, rows } = select(&file, &metadata, prune)?;
        let reader = if groups.is_empty() {
            None
        } else {
            let mut builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
                    .with_batch_size(batch_rows(metadata.metadata()))
                    .with_row_groups(groups);
            if prune.names_only {
                let mask = ProjectionMask::columns(builder.parquet_schema(), NAMES);
                builder = builder.with_projection(mask);
            }
            Some(match rows {
                Some(rows) => builder.with_row_selection(rows).build()?,
                None => builder.build()?,
            })
        };
        let (arrays, path) = (Arrays::default(), path.to_owned());
        Ok(Self { path, metadata, reader, arrays, rows: 0, next: 0, passed: 0 })
    }

    /// Rows of the whole file.
    pub fn rows_in_file(&self) -> u64 {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Whether a later version wrote this file, which may know more of its rows than this one.
    pub(super) fn is_of_later_version(&self) -> bool {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata();
        let version = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == SCHEMA_KEY));
        let version = version.and_then(|pair| pair.value.as_ref()?.parse::<u16>().ok());
        version.is_none_or(|version| version > SCHEMA_VERSION)
            || self.metadata.schema().fields().len() > super::columns::columns().len()
    }

    /// The next row; its number is 0 when it stands for a gap that was found in the segments. `None`
    /// at the end.
    ///
    /// # Errors
    /// When the file is damaged, or the row is of a later version.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, ParquetReadError> {
        match self.advance()? {
            Some(_) => self.row().map(Some),
            None => Ok(None),
        }
    }

    /// Passes to the next row, which [`Self::row`] returns, and tells its number; `None` at the end.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn advance(&mut self) -> Result<Option<u64>, ParquetReadError> {
        self.next += 1;
        while self.next > self.rows {
            let batch = self.reader.as_mut().and_then(Iterator::next);
            let Some(batch) = batch else {
                self.next = self.rows;
                return Ok(None);
            };
            let batch = batch.map_err(|source| {
                let path = self.path.clone();
                ParquetReadError::Read { path, source: source.into() }
            })?;
            self.arrays = Arrays::of(&batch);
            (self.rows, self.next) = (batch.num_rows(), 1);
        }
        self.passed += 1;
        let at = At { arrays: &self.arrays, row: self.next - 1 };
        Ok(Some(at.number(&self.arrays.lsn).unwrap_or(0)))
    }

    /// The row that was passed last.
    ///
    /// # Errors
    /// When it is of a later version, or none was passed.
    pub fn row(&self) -> Result<Row<'_>, ParquetReadError> {
        let fail = |column| {
            let path = self.path.clone();
            ParquetReadError::Value { path, row: self.passed, column }
        };
        let row = self.next.checked_sub(1).filter(|_| self.rows > 0).ok_or_else(|| fail("row"))?;
        At { arrays: &self.arrays, row }.row().map_err(fail)
    }
}

/// Rows of a batch of about [`BATCH_BYTES`].
fn batch_rows(metadata: &ParquetMetaData) -> usize {
    let groups = metadata.row_groups();
    let largest =
        groups.iter().map(|group| group.total_byte_size() / group.num_rows().max(1)).max();
    let row_bytes = u64::try_from(largest.unwrap_or(0)).unwrap_or(0).max(1);
    usize::try_from((BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS)).unwrap_or(1)
}

/// One row of the arrays. Where a column must have a value and has not, its name is the error.
#[derive(Clone, Copy)]
struct At<'a> {
    arrays: &'a Arrays,
    row: usize,
}

impl<'a> At<'a> {
    fn row(self) -> Result<Row<'a>, &'static str> {
        let a = self.arrays;
        let kind = self.text(&a.kind);
        // Predictions alone have an outcome, whatever their kind says.
        let entry = if let Some(outcome) = self.text_or_null(&a.outcome) {
            Entry::Prediction(self.prediction(outcome)?)
        } else if kind == Kind::Feedback.as_str() {
            Entry::Feedback(self.feedback()?)
        } else if kind == Kind::Gap.as_str() {
            Entry::Gap(self.gap()?)
        } else {
            return Err("kind");
        };
        Ok(Row {
            lsn: self.number(&a.lsn).unwrap_or(0),
            node: self.text(&a.replica_id),
            schema_version: self.number(&a.schema_version).ok_or("schema_version")?,
            entry,
        })
    }

    fn prediction(self, outcome: &str) -> Result<PredictionRecord<'a>, &'static str> {
        let a = self.arrays;
        let durability = match self.text(&a.durability) {
            "" => None,
            word => Some(Durability::from_word(word).ok_or("durability")?),
        };
        Ok(PredictionRecord {
            record_id: self.uuid(&a.record_id).ok_or("record_id")?,
            kind: Kind::from_word(self.text(&a.kind)).ok_or("kind")?,
            request_id: self.text(&a.request_id),
            trace_id: self.hex(&a.trace_id, "trace_id")?,
            span_id: self.hex(&a.span_id, "span_id")?,
            parent_record_id: self.uuid(&a.parent_record_id),
            ts_us: self.number(&a.ts).ok_or("ts")?.cast_unsigned(),
            decision: DecisionRow {
                route: self.text(&a.route),
                protocol: Protocol::from_word(self.text(&a.protocol)).ok_or("protocol")?,
                model: self.text(&a.model),
                model_version: self.text(&a.model_version),
                model_digest: self.hex(&a.model_digest, "model_digest")?,
                backend: self.text(&a.backend),
                reason: self.text(&a.decision_reason),
                generation: Generation(self.number(&a.weight_epoch).unwrap_or(0)),
                entropy: Entropy(self.number(&a.entropy).unwrap_or(0)),
                attempt: self.number(&a.attempt).unwrap_or(0),
            },
            method: self.text(&a.method),
            path: self.text(&a.path),
            client: self.text(&a.client),
            request: self.request()?,
            response: self.response()?,
            status: self.number(&a.status).unwrap_or(0),
            grpc_status: self.number(&a.grpc_status),
            outcome: Outcome::from_word(outcome).ok_or("outcome")?,
            error_code: self.text(&a.error_code),
            error_detail: self.text(&a.error_detail),
            latency: Latency {
                t_total: self.number(&a.t_total).unwrap_or(0),
                t_queue: self.number(&a.t_queue),
                t_route: self.number(&a.t_route),
                t_upstream_connect: self.number(&a.t_upstream_connect),
                t_ttfb: self.number(&a.t_ttfb),
                t_infer: self.number(&a.t_infer),
            },
            sample_rate: self.number(&a.sample_rate).unwrap_or(1.0),
            batch_size: self.number(&a.batch_size),
            durability,
            flags: Flags {
                replayed: self.is(&a.replayed),
                clock_stepped: self.is(&a.clock_stepped),
            },
            feedback_key: self.text(&a.feedback_key),
            session: self.text(&a.session),
        })
    }

    fn request(self) -> Result<Side<'a>, &'static str> {
        let a = self.arrays;
        Ok(Side {
            content_type: self.text(&a.req_content_type),
            content_encoding: self.text(&a.req_content_encoding),
            headers: self.headers(&a.req_headers),
            body: Payload::Slice(self.bytes(&a.req_body)),
            bytes: self.number(&a.req_bytes).unwrap_or(0),
            hash: self.hash(&a.req_hash),
            omission: self.omission(&a.req_omission).map_err(|()| "req_omission")?,
            redacted: self.number(&a.req_redacted).unwrap_or(0),
            chunks: self.number(&a.req_chunks).unwrap_or(0),
        })
    }

    fn response(self) -> Result<Side<'a>, &'static str> {
        let a = self.arrays;
        Ok(Side {
            content_type: self.text(&a.resp_content_type),
            content_encoding: self.text(&a.resp_content_encoding),
            headers: self.headers(&a.resp_headers),
            body: Payload::Slice(self.bytes(&a.resp_body)),
            bytes: self.number(&a.resp_bytes).unwrap_or(0),
            hash: self.hash(&a.resp_hash),
            omission: self.omission(&a.resp_omission).map_err(|()| "resp_omission")?,
            redacted: self.number(&a.resp_redacted).unwrap_or(0),
            chunks: self.number(&a.resp_chunks).unwrap_or(0),
        })
    }

    fn feedback(self) -> Result<FeedbackRecord<'a>, &'static str> {
        let a = self.arrays;
        let target = if let Some(id) = self.uuid(&a.target_record_id) {
            FeedbackTarget::Prediction(id)
        } else if let Some(id) = self.text_or_null(&a.target_request_id) {
            FeedbackTarget::Request(id)
        } else {
            let key = self.text_or_null(&a.target_feedback_key);
            FeedbackTarget::Key(key.ok_or("target_feedback_key")?)
        };
        Ok(FeedbackRecord {
            record_id: self.uuid(&a.record_id).ok_or("record_id")?,
            feedback_id: self.text(&a.feedback_id),
            ts_us: self.number(&a.ts).ok_or("ts")?.cast_unsigned(),
            target,
            model: self.text(&a.model),
            metric: self.text(&a.metric),
            value: self.number(&a.value),
            label: self.text_or_null(&a.label),
            source: self.text(&a.source),
            observed_us: self.number(&a.observed).map(i64::cast_unsigned),
            retracted: self.is(&a.retracted),
        })
    }

    fn gap(self) -> Result<GapRecord<'a>, &'static str> {
        let a = self.arrays;
        Ok(GapRecord {
            ts_us: self.number(&a.ts).ok_or("ts")?.cast_unsigned(),
            reason: GapReason::from_word(self.text(&a.gap_reason)).ok_or("gap_reason")?,
            lsns: self.number(&a.gap_first_lsn).zip(self.number(&a.gap_last_lsn)),
            records: self.number(&a.gap_records).unwrap_or(0),
            consumer: self.text(&a.gap_consumer),
            detail: self.text(&a.gap_detail),
        })
    }

    fn text_or_null(self, column: &'a Option<StringArray>) -> Option<&'a str> {
        let column = column.as_ref()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    fn text(self, column: &'a Option<StringArray>) -> &'a str {
        self.text_or_null(column).unwrap_or_default()
    }

    fn number<T: ArrowPrimitiveType>(
        self,
        column: &Option<PrimitiveArray<T>>,
    ) -> Option<T::Native> {
        let column = column.as_ref()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    fn is(self, column: &Option<BooleanArray>) -> bool {
        column.as_ref().is_some_and(|of| of.is_valid(self.row) && of.value(self.row))
    }

    fn bytes(self, column: &'a Option<BinaryArray>) -> &'a [u8] {
        let column = column.as_ref().filter(|column| column.is_valid(self.row));
        column.map_or(&[], |column| column.value(self.row))
    }

    fn hash(self, column: &Option<FixedSizeBinaryArray>) -> [u8; HASH_BYTES as usize] {
        let column = column.as_ref().filter(|column| column.is_valid(self.row));
        let hash = column.and_then(|column| column.value(self.row).try_into().ok());
        hash.unwrap_or_default()
    }

    fn uuid(self, column: &'a Option<StringArray>) -> Option<RecordId> {
        RecordId::parse(self.text_or_null(column)?)
    }

    fn hex<const N: usize>(
        self,
        column: &'a Option<StringArray>,
        name: &'static str,
    ) -> Result<Option<[u8; N]>, &'static str> {
        self.text_or_null(column).map(|text| unhex(text).ok_or(name)).transpose()
    }

    fn omission(self, column: &'a Option<StringArray>) -> Result<Option<Omission>, ()> {
        match self.text(column) {
            "" => Ok(None),
            word => Omission::from_word(word).map(Some).ok_or(()),
        }
    }

    fn headers(self, column: &'a Option<MapArray>) -> Vec<(&'a str, &'a str)> {
        let Some(column) = column.as_ref().filter(|column| column.is_valid(self.row)) else {
            return Vec::new();
        };
        let names = column.keys().as_any().downcast_ref::<StringArray>();
        let values = column.values().as_any().downcast_ref::<StringArray>();
        let (Some(names), Some(values)) = (names, values) else { return Vec::new() };
        let offsets = column.value_offsets();
        let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
        let places = place(offsets[self.row])..place(offsets[self.row + 1]);
        places.map(|at| (names.value(at), values.value(at))).collect()
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}
