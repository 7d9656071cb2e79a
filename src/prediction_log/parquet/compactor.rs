//! The thread that turns closed segments into Parquet files and looks after these.
//!
//! Owns the Parquet directory while the gateway runs: it alone writes, merges and removes there. Runs
//! at the lowest priority and within a CPU budget, so that serving goes first. Never gives a record up
//! because of the disk: a conversion that fails is tried again, later and later. A segment that can
//! itself not be read is passed over with a gap row after a few tries, and kept aside.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use parquet::errors::ParquetError;

use super::budget::{Budget, thread_cpu};
use super::catalog::{Hour, catalog, parquet_dir};
use super::convert::{ConvertError, Converted, convert, give_up};
use super::disk::Disk;
use super::merge::{MergeError, Mergeable, merge, recover, waiting};
use super::retention::Limits;
use super::segments::{Closed, backlog, bytes_beyond, resume_at};
use super::stats::{Counters, ParquetStats, add, set};
use crate::domain::record::{GapReason, GapRecord};
use crate::domain::spec::{LogSpec, ParquetSpec};
use crate::prediction_log::appender::log_dir;
use crate::prediction_log::consumers::PARQUET;
use crate::prediction_log::files::LocalFiles;
use crate::prediction_log::recorder::ParquetSide;
use crate::prediction_log::segment;
use crate::prediction_log::unix_us;
use crate::prediction_log::{Cursor, Progress, Recorder};
use crate::telemetry::logging::chain;

/// How often files are merged and removed while nothing else is to be done.
const UPKEEP: Duration = Duration::from_secs(30);
/// The first pause after a failure, which doubles up to the longest.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Tries after which a segment that cannot be read is passed over.
const TRIES: u32 = 5;
/// The niceness of the thread: the lowest priority.
const NICE: i32 = 19;
/// Hours whose files could not be merged, of which so many are remembered.
const UNMERGEABLE_MAX: usize = 256;

/// Says up to which log sequence number files may be merged: later ones are still needed one by one.
pub type MergeLimit = Box<dyn Fn() -> u64 + Send>;

/// The thread, from outside.
pub struct Compactor {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Compactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compactor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    counters: Counters,
    /// When to stop, once that is known. Held for moments only.
    stop: Mutex<Option<Instant>>,
    stopping: Condvar,
}

impl Shared {
    /// Lets `time` pass, or less when the thread is to stop.
    fn pause(&self, time: Duration) {
        let mut stop = self.stop.lock();
        if stop.is_none() && !time.is_zero() {
            self.stopping.wait_for(&mut stop, time);
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.lock().is_some()
    }

    fn is_over(&self) -> bool {
        self.stop.lock().is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Compactor {
    /// Starts to convert the log of `recorder` below `data_dir`; `None` where nothing is recorded or
    /// Parquet is off.
    ///
    /// # Errors
    /// When the log's cursor cannot be opened or the system gives no thread.
    pub fn start(
        recorder: &Recorder,
        data_dir: &Path,
        spec: &LogSpec,
        merge_limit: MergeLimit,
    ) -> io::Result<Option<Self>> {
        if !recorder.is_on() || !spec.parquet.enabled {
            return Ok(None);
        }
        let Some(side) = recorder.parquet_side() else { return Ok(None) };
        let shared = Arc::new(Shared::default());
        let work = Work {
            shared: Arc::clone(&shared),
            progress: recorder.progress(),
            cursor: Arc::new(recorder.consumers().register(PARQUET, false)?),
            log_dir: log_dir(data_dir),
            disk: Disk::new(&parquet_dir(data_dir)),
            spec: spec.parquet.clone(),
            limits: Limits::new(spec),
            merge_limit,
            side,
            is_at_floor: false,
            failed: None,
            unmergeable: Vec::new(),
        };
        let builder = std::thread::Builder::new().name("log-parquet".to_owned());
        let thread = Mutex::new(Some(builder.spawn(move || work.run())?));
        Ok(Some(Self { shared, thread }))
    }

    /// The counters.
    pub fn stats(&self) -> ParquetStats {
        self.shared.counters.read()
    }

    /// Converts what is left, for at most about `limit`, and ends the thread. To be called after the
    /// log was closed. Blocks; what is not done is done after the next start.
    pub fn finish(&self, limit: Duration) {
        *self.shared.stop.lock() = Some(Instant::now() + limit);
        self.shared.stopping.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes Parquet files panicked");
        }
    }
}

/// A segment that failed, and how often.
struct Failed {
    closed: Closed,
    tries: u32,
    backoff: Duration,
}

/// The thread, from inside.
struct Work {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    cursor: Arc<Cursor>,
    log_dir: PathBuf,
    disk: Disk,
    spec: ParquetSpec,
    limits: Limits,
    merge_limit: MergeLimit,
    side: ParquetSide,
    /// Whether it was said that no more can be removed.
    is_at_floor: bool,
    failed: Option<Failed>,
    unmergeable: Vec<Hour>,
}

impl Work {
    fn run(mut self) {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "the Parquet thread keeps its priority");
        }
        if let Err(error) = recover(&self.disk) {
            self.warn(&error, "leftovers of an earlier run stay");
        }
        self.resume();
        let mut upkeep_at = Instant::now();
        while !self.shared.is_over() {
            // Asked before the segments are listed: nothing can come after that.
            let ended = self.progress.has_ended() || self.shared.is_stopping();
            let closed = self.progress.closed();
            let waiting = self.count_backlog(closed);
            if let Some(next) = waiting.first() {
                if !self.convert(*next, waiting.len() as u64) && ended {
                    break;
                }
            } else if ended {
                break;
            } else if Instant::now() < upkeep_at {
                let until = upkeep_at.saturating_duration_since(Instant::now());
                self.progress.wait_closed(closed, until);
            }
            if !ended && Instant::now() >= upkeep_at {
                self.keep_up();
                upkeep_at = Instant::now() + UPKEEP;
            }
        }
        self.count_backlog(self.progress.closed());
        self.retain();
    }

    /// Catches up with the files when the cursor is older than they are.
    fn resume(&self) {
        let segments = segment::list(&LocalFiles, &self.log_dir).unwrap_or_default();
        let oldest = segments.first().map(|segment| segment.first_lsn);
        let files = catalog(self.disk.root()).unwrap_or_default();
        let converted = files.iter().map(|file| file.last_lsn).max().unwrap_or(0);
        let at = resume_at(self.cursor.position(), oldest, converted);
        if let Err(error) = self.cursor.advance(at) {
            self.warn(&error, "the cursor of the Parquet files cannot be written");
        }
    }

    fn count_backlog(&self, closed: u64) -> Vec<Closed> {
        let waiting = backlog(&LocalFiles, &self.log_dir, self.cursor.position(), closed);
        let waiting = waiting.unwrap_or_else(|error| {
            self.warn(&error, "the segments cannot be listed");
            self.shared.pause(BACKOFF_MIN);
            Vec::new()
        });
        let counters = &self.shared.counters;
        set(&counters.backlog_segments, waiting.len() as u64);
        set(&counters.backlog_bytes, waiting.iter().map(|closed| closed.bytes).sum());
        waiting
    }

    /// Converts one segment; false when that failed.
    fn convert(&mut self, closed: Closed, waiting: u64) -> bool {
        let from = thread_cpu();
        let result = self.convert_paced(closed, waiting);
        let spent = thread_cpu().saturating_sub(from).as_micros();
        add(&self.shared.counters.cpu_us, u64::try_from(spent).unwrap_or(u64::MAX));
        match result {
            Ok(converted) => self.pass(closed, converted),
            Err(ConvertError::Stopped) => false,
            Err(error) => self.bear(closed, &error),
        }
    }

    fn convert_paced(&self, closed: Closed, waiting: u64) -> Result<Converted, ConvertError> {
        let mut pace = self.pace(waiting, closed.last_lsn);
        let work = || {
            let (log_dir, level) = (&self.log_dir, self.spec.level);
            convert(&LocalFiles, log_dir, &self.disk, closed, level, &mut pace)
        };
        // What a segment holds may bring the encoder to a panic; that must not end the thread.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| {
            let path = segment::path(&self.log_dir, closed.name);
            let source = ParquetError::General("the encoder panicked".to_owned());
            Err(ConvertError::Encode { path, source })
        })
    }

    /// Pauses as the budget asks; false when time is up, or when the writer had to remove the segment
    /// and a gap row says that its rows are missing.
    fn pace(&self, waiting: u64, last_lsn: u64) -> impl FnMut() -> bool + use<> {
        let mut budget = Budget::new(self.spec.cpu, waiting);
        let (shared, cursor) = (Arc::clone(&self.shared), Arc::clone(&self.cursor));
        move || {
            shared.pause(budget.owed());
            !shared.is_over() && cursor.position() < last_lsn
        }
    }

    /// Goes on after a segment that is done.
    fn pass(&mut self, closed: Closed, converted: Converted) -> bool {
        let counters = &self.shared.counters;
        add(&counters.rows, converted.rows);
        add(&counters.segments, 1);
        add(&counters.files, converted.files);
        add(&counters.bytes, converted.bytes);
        self.failed = None;
        if converted.damaged {
            // Before its first name may go.
            self.side.consumers.aside().keep(closed.name);
        }
        if let Err(error) = self.cursor.advance(closed.last_lsn) {
            // The position counts in this process; a start may do some segments once more.
            self.warn(&error, "the cursor of the Parquet files cannot be written");
        }
        self.retain();
        true
    }

    /// Counts a failure, and pauses or passes the segment over.
    fn bear(&mut self, closed: Closed, error: &ConvertError) -> bool {
        self.warn(error, "a segment does not become Parquet");
        let before = self.failed.take().filter(|failed| failed.closed.name == closed.name);
        let mut failed = before.unwrap_or(Failed { closed, tries: 0, backoff: BACKOFF_MIN });
        if let Some(reason) = blames_segment(error) {
            failed.tries += 1;
            if failed.tries >= TRIES || reason == GapReason::Missing {
                return self.give_up(closed, reason, error);
            }
        }
        self.shared.pause(failed.backoff);
        failed.backoff = (failed.backoff * 2).min(BACKOFF_MAX);
        self.failed = Some(failed);
        false
    }

    fn give_up(&mut self, closed: Closed, reason: GapReason, error: &ConvertError) -> bool {
        let detail = chain(error).to_string();
        let level = self.spec.level;
        match give_up(&self.disk, closed, unix_us(), reason, &detail, level) {
            Ok(converted) => {
                add(&self.shared.counters.given_up, 1);
                self.pass(closed, converted)
            }
            Err(error) => {
                self.warn(&error, "a gap row cannot be written");
                self.shared.pause(BACKOFF_MAX);
                false
            }
        }
    }

    /// Merges and removes files.
    fn keep_up(&mut self) {
        self.retain();
        let up_to_lsn = (self.merge_limit)().min(self.cursor.position());
        let mergeable = Mergeable { now_us: unix_us(), up_to_lsn, file_bytes: self.spec.file };
        let groups = match waiting(&self.disk, mergeable, &self.unmergeable) {
            Ok(groups) => groups,
            Err(error) => return self.warn(&error, "the Parquet files cannot be listed"),
        };
        for group in groups {
            if self.shared.is_stopping() || self.count_backlog(self.progress.closed()).len() > 1 {
                return;
            }
            let from = thread_cpu();
            let merged = merge(&self.disk, &group, self.spec.level, &mut self.pace(0, u64::MAX));
            let spent = thread_cpu().saturating_sub(from).as_micros();
            add(&self.shared.counters.cpu_us, u64::try_from(spent).unwrap_or(u64::MAX));
            match merged {
                Ok(true) => add(&self.shared.counters.merged, group.len() as u64),
                Err(MergeError::Write(ConvertError::Stopped)) => return,
                Ok(false) => self.leave_unmerged(group[0].hour),
                Err(error) => {
                    self.leave_unmerged(group[0].hour);
                    self.warn(&error, "the files of an hour are not merged");
                }
            }
        }
        self.retain();
    }

    fn leave_unmerged(&mut self, hour: Hour) {
        if self.unmergeable.len() >= UNMERGEABLE_MAX {
            self.unmergeable.remove(0);
        }
        self.unmergeable.push(hour);
    }

    /// Keeps to the limits, together with the writer. What Parquet files hold is older, so that these
    /// go first; the writer only has to know of those that cannot.
    fn retain(&mut self) {
        let segments = segment::list(&LocalFiles, &self.log_dir).unwrap_or_default();
        // Those that everybody has passed are about to go. Those that were converted and wait for
        // others hold what Parquet files hold too: they take half of the limit at most.
        let passed = self.side.consumers.released_up_to().unwrap_or(0);
        let waiting = bytes_beyond(&segments, passed).min(self.limits.bytes() / 2);
        let unconverted = bytes_beyond(&segments, self.cursor.position());
        let segment_bytes = waiting.max(unconverted);
        let taken = self.side.consumers.files_required_up_to();
        let kept =
            match self.limits.enforce(&self.disk, segment_bytes, taken, self.side.clock.now_us()) {
                Ok(kept) => kept,
                Err(error) => return self.warn(&error, "old Parquet files are not removed"),
            };
        let counters = &self.shared.counters;
        set(&counters.files, kept.files);
        set(&counters.bytes, kept.bytes);
        add(&counters.removed, kept.removed);
        self.side.consumers.set_held_bytes(kept.held);
        kept.gone.iter().for_each(|gone| self.tell_skipped(*gone));
        if kept.at_floor && !self.is_at_floor {
            tracing::warn!(
                bytes = kept.bytes,
                "the disk is full of something else: the newest Parquet files stay"
            );
        }
        self.is_at_floor = kept.at_floor;
    }

    /// Says in the log who misses a file that is gone.
    fn tell_skipped(&self, (first_lsn, last_lsn): (u64, u64)) {
        for (consumer, position) in self.side.consumers.skip_files_to(last_lsn) {
            let first = first_lsn.max(position + 1);
            self.side.note_gap(&GapRecord {
                ts_us: unix_us(),
                reason: GapReason::Skipped,
                lsns: Some((first, last_lsn)),
                records: last_lsn + 1 - first,
                consumer: &consumer,
                detail: "a Parquet file was removed to make room",
            });
        }
    }

    fn warn(&self, error: &(dyn std::error::Error + 'static), what: &str) {
        add(&self.shared.counters.failures, 1);
        tracing::warn!(error = %chain(error), "{what}");
    }
}

/// Why a failure is the segment's own, and not the disk's on which files are written.
fn blames_segment(error: &ConvertError) -> Option<GapReason> {
    match error {
        ConvertError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some(GapReason::Missing)
        }
        ConvertError::Read { .. } => Some(GapReason::Io),
        ConvertError::Encode { source: ParquetError::External(error), .. } => {
            (!error.is::<io::Error>()).then_some(GapReason::Unreadable)
        }
        ConvertError::Encode { .. } => Some(GapReason::Unreadable),
        ConvertError::Disk { .. } | ConvertError::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_segment_itself_is_to_blame_for_is_ever_given_up() {
        let path = PathBuf::new;
        let read = |kind: io::ErrorKind| ConvertError::Read { path: path(), source: kind.into() };
        let encode = |source| ConvertError::Encode { path: path(), source };
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(blames_segment(&read(io::ErrorKind::NotFound)), Some(GapReason::Missing));
        assert_eq!(blames_segment(&read(io::ErrorKind::Other)), Some(GapReason::Io));
        let panicked = ParquetError::General("the encoder panicked".to_owned());
        assert_eq!(blames_segment(&encode(panicked)), Some(GapReason::Unreadable));
        // A full disk, whoever meets it.
        assert_eq!(blames_segment(&encode(full().into())), None);
        assert_eq!(blames_segment(&ConvertError::Disk { path: path(), source: full() }), None);
    }
}
