//! The recording side of the log, as the rest of the gateway sees it.
//!
//! Owns the order in which the parts are opened and closed. Never blocks or fails an exchange.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::appender::{Appender, Layout};
use super::clock::Clock;
use super::consumers::Consumers;
use super::cursor;
use super::files::{FileSystem, LocalFiles};
use super::progress::Progress;
use super::queue::Queue;
use super::recovery::{self, Recovery};
use super::segment::LOCK_FILE;
use super::settlement::Lost;
use super::shelf::Shelf;
use super::stats::{DropReason, LogStats};
use super::syncer::Syncer;
use super::writer::Writer;
use crate::domain::record::{FeedbackRecord, GapRecord, PredictionRecord};
use crate::domain::spec::{Durability, LogSpec};

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there and cannot be made.
    #[error(
        "cannot create the prediction log directory `{path}`: make its parent writable or set `data_dir`"
    )]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process records here.
    #[error(
        "the prediction log `{path}` is in use by another gateway: give each its own `data_dir`"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The lock file cannot be written.
    #[error(
        "cannot write in the prediction log directory `{path}`: make it writable or set `data_dir`"
    )]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The directory cannot be read.
    #[error(
        "cannot list the prediction log directory `{path}`: make it readable or set `data_dir`"
    )]
    List {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The last segment cannot be read or closed.
    #[error("cannot repair `{path}`, the end of the prediction log: make it readable and writable")]
    Heal {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A new segment cannot be written.
    #[error("cannot create the prediction log segment `{path}`: make room or set `data_dir`")]
    CreateSegment {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The operating system gives no thread.
    #[error("cannot start the thread that writes the prediction log")]
    Spawn(#[source] std::io::Error),
}

/// What became of an offered record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It waits for the writer; [`Recorder::written`] tells when it is safe.
    Queued(Ticket),
    /// It is not in the log, and was counted.
    Dropped(DropReason),
    /// Nothing is recorded.
    Off,
}

/// Names a queued record until it is settled, and what was promised of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) slot: u32,
    pub(super) synced: bool,
    pub(super) sequence: u64,
}

/// The log, as whoever keeps the Parquet files sees it. Does not keep the log open.
pub(super) struct ParquetSide {
    queue: Arc<Queue>,
    pub(super) consumers: Arc<Consumers>,
    /// Tells the age of files.
    pub(super) clock: Arc<Clock>,
}

impl ParquetSide {
    /// As [`Recorder::note_gap`].
    pub(super) fn note_gap(&self, gap: &GapRecord<'_>) {
        self.queue.note_gap(gap);
    }
}

/// The recording side of the prediction log.
pub struct Recorder {
    queue: Option<Arc<Queue>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    recovery: Recovery,
    progress: Arc<Progress>,
    consumers: Arc<Consumers>,
    /// `None` where nothing is recorded.
    clock: Option<Arc<Clock>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("recovery", &self.recovery).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Opens the log in `dir` for a gateway named `node` with so many data-plane workers, creating
    /// or healing what is there. The durability in `spec` is that of records that name none.
    ///
    /// # Errors
    /// When the directory cannot be written or another process writes there.
    pub fn open(dir: &Path, node: &str, workers: usize, spec: &LogSpec) -> Result<Self, OpenError> {
        Self::open_with(Arc::new(LocalFiles), dir, node, workers, spec)
    }

    /// The recorder of a gateway that records nothing. Touches no file.
    pub fn off() -> Self {
        let progress = Progress::default();
        progress.end();
        Self {
            queue: None,
            thread: Mutex::new(None),
            recovery: Recovery::default(),
            progress: Arc::new(progress),
            consumers: Arc::default(),
            clock: None,
        }
    }

    pub(super) fn open_with(
        files: Arc<dyn FileSystem>,
        dir: &Path,
        node: &str,
        workers: usize,
        spec: &LogSpec,
    ) -> Result<Self, OpenError> {
        let path = || dir.to_owned();
        files
            .create_dir(dir)
            .map_err(|source| OpenError::CreateDirectory { path: path(), source })?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = files.lock(&lock_path).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse { path: path() },
            _ => OpenError::Lock { path: lock_path, source },
        })?;
        let (mut recovery, segments) = recovery::recover(files.as_ref(), dir, node)?;
        // A number that a consumer has seen is never given again, even if its record was lost with
        // the power.
        recovery.next_lsn = recovery.next_lsn.max(cursor::highest(dir).saturating_add(1));
        let progress = Arc::new(Progress::starting_at(recovery.next_lsn - 1));
        let consumers = Arc::new(Consumers::new(Arc::clone(&files), dir));
        let queue = Arc::new(Queue::new(workers + 1, spec));
        // Before there is a segment of this run.
        let clock = Arc::new(Clock::of_log(files.as_ref(), dir));
        let layout = Layout::new(dir, node, spec);
        let counters = Arc::clone(queue.counters());
        let next_lsn = recovery.next_lsn;
        let shelf = Shelf::new(
            Arc::clone(&files),
            dir,
            Arc::clone(&counters),
            spec,
            Arc::clone(&consumers),
            Arc::clone(&clock),
            segments,
        );
        let syncer = Syncer::start(
            Arc::clone(&files),
            dir,
            Arc::clone(&queue),
            Arc::clone(&progress),
            spec.sync_interval,
        );
        let syncer = syncer.map_err(OpenError::Spawn)?;
        let mut appender =
            Appender::new(files, layout, counters, Arc::clone(&progress), syncer, shelf, next_lsn);
        appender.open().map_err(|fault| {
            let (path, source) = fault.into_parts();
            OpenError::CreateSegment { path, source }
        })?;
        let mut writer =
            Writer::new(Arc::clone(&queue), appender, Arc::clone(&progress), spec, lock);
        if let Some(lost) = &recovery.lost {
            writer.note_missing(lost.missing());
        }
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(|| writer.run())
            .map_err(OpenError::Spawn)?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { queue: Some(queue), thread, recovery, progress, consumers, clock: Some(clock) })
    }

    /// What was found when the log was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues a record. `slot` is the number of the worker, so that workers do not meet; any larger
    /// number is the slot for everyone else. The record's own durability decides what
    /// [`Self::written`] waits for.
    pub fn offer(&self, slot: usize, record: &PredictionRecord<'_>) -> Offer {
        self.queue.as_ref().map_or(Offer::Off, |queue| queue.offer(slot, record))
    }

    /// Queues feedback, like [`Self::offer`].
    pub fn offer_feedback(
        &self,
        slot: usize,
        record: &FeedbackRecord<'_>,
        durability: Durability,
    ) -> Offer {
        let queue = self.queue.as_ref();
        queue.map_or(Offer::Off, |queue| queue.offer_feedback(slot, record, durability))
    }

    /// Queues a row that says what is missing. Never blocks; a row that cannot be queued is counted
    /// as dropped.
    pub fn note_gap(&self, gap: &GapRecord<'_>) {
        if let Some(queue) = &self.queue {
            queue.note_gap(gap);
        }
    }

    /// Waits until a queued record is as safe as was promised: written, or under `sync` synced to
    /// the disk.
    ///
    /// # Errors
    /// [`Lost`] when it will not be.
    pub async fn written(&self, ticket: Ticket) -> Result<(), Lost> {
        match &self.queue {
            Some(queue) => queue.written(ticket).await,
            None => Err(Lost),
        }
    }

    /// Whether an exchange may start whose record is promised: the queue has room for it beside
    /// those of the exchanges that run, and the log can be written.
    pub fn has_room(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.has_room())
    }

    /// Resolves when [`Self::has_room`] may hold again, or when it never will because the log is
    /// being closed. To be bounded by the caller.
    pub async fn room(&self) {
        if let Some(queue) = &self.queue {
            queue.room().await;
        }
    }

    /// How far the log has come.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Who still needs the segments.
    pub fn consumers(&self) -> Arc<Consumers> {
        Arc::clone(&self.consumers)
    }

    /// What whoever keeps the Parquet files needs of the log; `None` where nothing is recorded.
    pub(super) fn parquet_side(&self) -> Option<ParquetSide> {
        let queue = Arc::clone(self.queue.as_ref()?);
        let consumers = Arc::clone(&self.consumers);
        let clock = Arc::clone(self.clock.as_ref()?);
        Some(ParquetSide { queue, consumers, clock })
    }

    /// The state of the log.
    pub fn stats(&self) -> LogStats {
        let mut stats = self.queue.as_ref().map_or_else(
            || LogStats { durability: Durability::Off, healthy: true, ..LogStats::default() },
            |queue| queue.stats(),
        );
        stats.healed_bytes = self.recovery.healed_bytes;
        stats
    }

    /// Writes what waits, syncs and seals the log and ends its thread; records that are offered from
    /// now on are dropped. Blocks as long as the disk takes.
    pub fn close(&self) -> LogStats {
        if let Some(queue) = &self.queue {
            queue.shut();
            if let Some(thread) = self.thread.lock().take()
                && thread.join().is_err()
            {
                queue.set_last_error("the writer thread panicked".to_owned());
            }
        }
        self.stats()
    }
}

impl Drop for Recorder {
    /// Lets the writer finish by itself, without waiting for it.
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.shut();
        }
    }
}
