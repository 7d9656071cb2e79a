//! Records, one by one, for sinks that take them so.
//!
//! Owns the reading after the cursor and the cutting into lots: by records, by bytes, or when the first
//! record of a lot has waited long enough. Only predictions are delivered; feedback and gap rows are
//! passed over. Never hands out a record that the writer has not finished writing. Holds one lot, and
//! the one record that did not fit into it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Lot, Parcel, Source, SourceError};
use crate::domain::record::Entry;
use crate::domain::spec::SinkSpec;
use crate::prediction_log::consumers::Consumers;
use crate::prediction_log::cursor::Cursor;
use crate::prediction_log::progress::Progress;
use crate::prediction_log::query::cloudevents::{self, Settings};
use crate::prediction_log::reader::{Item, LogReader, ReadError, Row};
use crate::prediction_log::recorder::Recorder;
use crate::prediction_log::segment;

/// How long a source waits for a first record before its driver may look around.
const IDLE: Duration = Duration::from_secs(1);

/// Records as CloudEvents: a comma follows each event.
pub(super) struct Rows {
    log_dir: PathBuf,
    progress: Arc<Progress>,
    consumers: Arc<Consumers>,
    reader: Option<LogReader>,
    /// The last record that was handed out or passed over.
    taken: u64,
    /// The end of the log, at which the reader had nothing more.
    seen: u64,
    /// A record that did not fit into the last lot.
    carried: Option<Parcel<Vec<u8>>>,
    batch: usize,
    batch_bytes: u64,
    linger: Duration,
    events: Settings,
}

impl Rows {
    pub(super) fn new(
        log_dir: &Path,
        recorder: &Recorder,
        spec: &SinkSpec,
        cursor: &Cursor,
    ) -> Self {
        Self {
            log_dir: log_dir.to_owned(),
            progress: recorder.progress(),
            consumers: recorder.consumers(),
            reader: None,
            taken: cursor.position(),
            seen: 0,
            carried: None,
            batch: spec.batch.max(1),
            batch_bytes: spec.batch_bytes as u64,
            linger: spec.linger,
            events: Settings { separator: b',', ..Settings::default() },
        }
    }

    /// Reads on into `lot`, to the end of what is written or until it is full; whether it is full.
    fn fill(&mut self, lot: &mut Filling) -> Result<bool, ReadError> {
        if let Some(parcel) = self.carried.take() {
            lot.add(parcel);
        }
        let written = self.progress.written();
        while self.taken < written {
            if lot.parcels.len() >= self.batch || lot.bytes >= self.batch_bytes {
                return Ok(true);
            }
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => none.insert(LogReader::open_after(&self.log_dir, self.taken)?),
            };
            let row = match reader.next_item()? {
                None => break,
                Some(Item::Gap(gap)) => {
                    if gap.bytes > 0
                        && let Some(first_lsn) = segment::number_of(&gap.segment)
                    {
                        self.consumers.aside().keep(first_lsn);
                    }
                    if let Some(lsns) = &gap.lsns {
                        let first = *lsns.start().max(&(self.taken + 1));
                        lot.missing += (lsns.end() + 1).saturating_sub(first);
                        self.taken = self.taken.max(*lsns.end());
                    }
                    continue;
                }
                Some(Item::Row(row)) => row,
            };
            self.taken = self.taken.max(row.lsn);
            let Some(parcel) = parcel(&row, &self.events) else { continue };
            if !lot.parcels.is_empty() && lot.bytes + parcel.bytes > self.batch_bytes {
                self.carried = Some(parcel);
                return Ok(true);
            }
            lot.add(parcel);
        }
        self.seen = written;
        Ok(false)
    }

    /// Where the cursor stands once everything but a carried record is delivered.
    fn done(&self) -> u64 {
        self.carried.as_ref().map_or(self.taken, |carried| carried.first_lsn - 1)
    }
}

/// A lot that is being filled.
#[derive(Default)]
struct Filling {
    parcels: Vec<Parcel<Vec<u8>>>,
    bytes: u64,
    missing: u64,
    since: Option<Instant>,
}

impl Filling {
    fn add(&mut self, parcel: Parcel<Vec<u8>>) {
        self.since.get_or_insert_with(Instant::now);
        self.bytes += parcel.bytes;
        self.parcels.push(parcel);
    }
}

/// The events of a prediction; `None` for rows of other kinds.
fn parcel(row: &Row<'_>, events: &Settings) -> Option<Parcel<Vec<u8>>> {
    let Entry::Prediction(record) = &row.entry else { return None };
    let mut content = Vec::new();
    cloudevents::write_events(row, record, events, &mut content);
    Some(Parcel {
        first_lsn: row.lsn,
        last_lsn: row.lsn,
        done: row.lsn,
        records: 1,
        bytes: content.len() as u64,
        ts_us: record.ts_us,
        content,
    })
}

impl Source for Rows {
    type Content = Vec<u8>;

    fn next(&mut self, stopping: bool) -> Result<Lot<Vec<u8>>, SourceError> {
        let began = Instant::now();
        let mut lot = Filling::default();
        loop {
            match self.fill(&mut lot) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    // Whatever was read is good; the reader itself is opened anew.
                    self.reader = None;
                    if lot.parcels.is_empty() {
                        return Err(error.into());
                    }
                    break;
                }
            }
            let patience = match lot.since {
                Some(since) => self.linger.saturating_sub(since.elapsed()),
                None => IDLE.saturating_sub(began.elapsed()),
            };
            if stopping || patience.is_zero() || self.progress.has_ended() {
                break;
            }
            self.progress.wait_written(self.seen.max(self.taken), patience);
        }
        let clear_to = if self.carried.is_none() { self.seen } else { 0 };
        Ok(Lot { parcels: lot.parcels, done: self.done(), clear_to, missing: lot.missing })
    }
}
