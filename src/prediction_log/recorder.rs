//! Takes records from the workers.
//!
//! Owns the hot path: the inbox of each worker, the bound on waiting bytes, and what is dropped when
//! it is reached. Never blocks, awaits or fails: a record is queued or dropped, and both are counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::appender::{Appender, Layout};
use super::arena::Arena;
use super::files::{FileSystem, LocalFiles};
use super::frame::{self, KIND_RECORD, PAYLOAD_BYTES_MAX};
use super::group::Group;
use super::recovery::{self, Recovery};
use super::row::{self, Bodies};
use super::segment::LOCK_FILE;
use super::settlement::{Lost, Settlement};
use super::signal::Signal;
use super::stats::{Counters, DropReason, Dropped, LogStats, add};
use super::writer::Writer;
use crate::domain::record::{Omission, PredictionRecord};
use crate::domain::spec::{Durability, LogSpec};

/// Waiting bytes from which on the writer does not let more gather.
const ENOUGH_BYTES: usize = 1024 * 1024;

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

/// Names a queued record until it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    slot: u32,
    sequence: u64,
}

/// The recording side of the prediction log.
pub struct Recorder {
    core: Option<Arc<Core>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    recovery: Recovery,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("recovery", &self.recovery).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Opens the log in `dir` for a gateway named `node` with so many data-plane workers, creating
    /// or healing what is there. Under [`Durability::Off`] nothing is touched.
    ///
    /// # Errors
    /// When the directory cannot be written or another process writes there.
    pub fn open(dir: &Path, node: &str, workers: usize, spec: &LogSpec) -> Result<Self, OpenError> {
        Self::open_with(Arc::new(LocalFiles), dir, node, workers, spec)
    }

    pub(super) fn open_with(
        files: Arc<dyn FileSystem>,
        dir: &Path,
        node: &str,
        workers: usize,
        spec: &LogSpec,
    ) -> Result<Self, OpenError> {
        if spec.recording.durability == Durability::Off {
            let recovery = Recovery::default();
            return Ok(Self { core: None, thread: Mutex::new(None), recovery });
        }
        let path = || dir.to_owned();
        files
            .create_dir(dir)
            .map_err(|source| OpenError::CreateDirectory { path: path(), source })?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = files.lock(&lock_path).map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse { path: path() },
            _ => OpenError::Lock { path: lock_path, source },
        })?;
        let (recovery, segments) = recovery::recover(files.as_ref(), dir)?;
        let layout = Layout {
            dir: path(),
            node: node.to_owned(),
            segment_bytes: spec.segment,
            retain_bytes: spec.retain,
            sync: spec.recording.durability == Durability::Sync,
        };
        let core = Arc::new(Core::new(workers + 1, spec));
        let counters = Arc::clone(&core.counters);
        let mut appender = Appender::new(files, layout, counters, segments, recovery.next_lsn);
        appender.open().map_err(|fault| {
            let (path, source) = fault.into_parts();
            OpenError::CreateSegment { path, source }
        })?;
        let gather = (spec.recording.durability == Durability::Async).then_some(spec.flush);
        let writer = Writer::new(Arc::clone(&core), appender, gather, lock);
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(|| writer.run())
            .map_err(OpenError::Spawn)?;
        Ok(Self { core: Some(core), thread: Mutex::new(Some(thread)), recovery })
    }

    /// What was found when the log was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.core.is_some()
    }

    /// Queues a record. `slot` is the number of the worker, so that workers do not meet; any larger
    /// number is the slot for everyone else.
    pub fn offer(&self, slot: usize, record: &PredictionRecord<'_>) -> Offer {
        self.core.as_ref().map_or(Offer::Off, |core| core.offer(slot, record))
    }

    /// Waits until a queued record is written (under `sync`: synced to the disk).
    ///
    /// # Errors
    /// [`Lost`] when it will not be.
    pub async fn written(&self, ticket: Ticket) -> Result<(), Lost> {
        let slot = self.core.as_ref().and_then(|core| core.slots.get(ticket.slot as usize));
        match slot {
            Some(slot) => slot.settlement.wait(ticket.sequence).await,
            None => Err(Lost),
        }
    }

    /// The state of the log.
    pub fn stats(&self) -> LogStats {
        let mut stats = self.core.as_ref().map_or_else(
            || LogStats { durability: Durability::Off, healthy: true, ..LogStats::default() },
            |core| core.stats(),
        );
        stats.healed_bytes = self.recovery.healed_bytes;
        stats
    }

    /// Writes what waits, syncs and seals the log and ends its thread; records that are offered from
    /// now on are dropped. Blocks as long as the disk takes.
    pub fn close(&self) -> LogStats {
        if let Some(core) = &self.core {
            core.shut();
            if let Some(thread) = self.thread.lock().take()
                && thread.join().is_err()
            {
                core.set_last_error("the writer thread panicked".to_owned());
            }
        }
        self.stats()
    }
}

impl Drop for Recorder {
    /// Lets the writer finish by itself, without waiting for it.
    fn drop(&mut self) {
        if let Some(core) = &self.core {
            core.shut();
        }
    }
}

/// What the workers and the writer share.
#[derive(Debug)]
pub(super) struct Core {
    slots: Box<[Slot]>,
    /// Bytes of records that were admitted and are not settled.
    queued: AtomicUsize,
    queue_bytes_max: usize,
    signal: Signal,
    counters: Arc<Counters>,
    durability: Durability,
    /// Why writing fails, as 1 + [`DropReason`]; 0 while it does not.
    fault: AtomicU8,
    last_error: Mutex<Option<String>>,
}

/// One worker's side of the queue, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Slot {
    inbox: Mutex<Inbox>,
    /// Records that were queued, readable without the lock.
    offered: AtomicU64,
    settlement: Settlement,
}

#[derive(Debug, Default)]
struct Inbox {
    arena: Arena,
    queued: u64,
    received: u64,
    dropped: Dropped,
    bodies_omitted: u64,
    shut: bool,
}

/// A place in the queue.
struct Admission {
    bodies: Bodies,
    payload_len: usize,
    /// Bytes that wait, this record included.
    waiting: usize,
}

impl Core {
    fn new(slots: usize, spec: &LogSpec) -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            queued: AtomicUsize::new(0),
            queue_bytes_max: spec.queue,
            signal: Signal::new(ENOUGH_BYTES.min(spec.queue / 4)),
            counters: Arc::default(),
            durability: spec.recording.durability,
            fault: AtomicU8::new(0),
            last_error: Mutex::new(None),
        }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.signal
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes that wait.
    pub(super) fn queue_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether a record was published that the writer has not settled.
    pub(super) fn has_pending(&self) -> bool {
        let pending =
            |slot: &Slot| slot.offered.load(Ordering::SeqCst) != slot.settlement.settled();
        self.slots.iter().any(pending)
    }

    fn offer(&self, slot: usize, record: &PredictionRecord<'_>) -> Offer {
        let index = slot.min(self.slots.len() - 1);
        let slot = &self.slots[index];
        let admission = self.admit(record);
        let mut inbox = slot.inbox.lock();
        inbox.received += 1;
        let Admission { bodies, payload_len, waiting } = match admission {
            Ok(admission) => admission,
            Err(reason) => {
                inbox.dropped.add(reason, 1);
                return Offer::Dropped(reason);
            }
        };
        if inbox.shut {
            inbox.dropped.add(DropReason::Closed, 1);
            drop(inbox);
            self.release(frame::frame_len(payload_len));
            return Offer::Dropped(DropReason::Closed);
        }
        if bodies != Bodies::Keep {
            let sides = [&record.request, &record.response];
            inbox.bodies_omitted +=
                sides.iter().filter(|side| !side.body.is_empty()).count() as u64;
        }
        inbox.arena.begin(payload_len);
        row::encode(record, bodies, &mut inbox.arena);
        inbox.arena.end(KIND_RECORD, payload_len);
        let sequence = inbox.queued;
        inbox.queued += 1;
        slot.offered.store(inbox.queued, Ordering::SeqCst);
        drop(inbox);
        self.signal.offered(waiting);
        Offer::Queued(Ticket { slot: index as u32, sequence })
    }

    /// Finds room for a record: whole, or without its bodies once the queue is fuller than seven
    /// eighths, so that the last eighth keeps room for what is known about many more exchanges.
    fn admit(&self, record: &PredictionRecord<'_>) -> Result<Admission, DropReason> {
        let whole = row::encoded_len(record, Bodies::Keep);
        let limit = self.queue_bytes_max;
        let omission = if whole > PAYLOAD_BYTES_MAX {
            Omission::Size
        } else if let Some(waiting) = self.reserve(frame::frame_len(whole), limit - limit / 8) {
            return Ok(Admission { bodies: Bodies::Keep, payload_len: whole, waiting });
        } else {
            Omission::Pressure
        };
        let bodies = Bodies::Omit(omission);
        let payload_len = row::encoded_len(record, bodies);
        if payload_len > PAYLOAD_BYTES_MAX {
            return Err(DropReason::TooLarge);
        }
        let waiting = self.reserve(frame::frame_len(payload_len), limit);
        let waiting = waiting.ok_or_else(|| self.full_reason())?;
        Ok(Admission { bodies, payload_len, waiting })
    }

    /// Takes `bytes` of the queue unless it would hold more than `limit`.
    fn reserve(&self, bytes: usize, limit: usize) -> Option<usize> {
        let waiting = self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting > limit {
            self.release(bytes);
            return None;
        }
        Some(waiting)
    }

    fn release(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Why the queue is full: the disk, if that is what the writer waits for.
    fn full_reason(&self) -> DropReason {
        match self.fault.load(Ordering::Relaxed) {
            0 => DropReason::QueueFull,
            code => DropReason::ALL[usize::from(code - 1)],
        }
    }

    pub(super) fn set_fault(&self, reason: Option<DropReason>) {
        self.fault.store(reason.map_or(0, |reason| 1 + reason as u8), Ordering::Relaxed);
    }

    pub(super) fn set_last_error(&self, error: String) {
        *self.last_error.lock() = Some(error);
    }

    /// Swaps the workers' arenas with the empty ones of `group`.
    pub(super) fn take_arenas(&self, group: &mut Group) {
        for (slot, lot) in self.slots.iter().zip(group.lots_mut()) {
            std::mem::swap(&mut slot.inbox.lock().arena, lot);
        }
    }

    /// Settles the records of `group`: what it has not written is lost for `reason`.
    pub(super) fn settle(&self, group: &Group, reason: DropReason) {
        for (index, slot) in self.slots.iter().enumerate() {
            let (arena, written) = group.lot(index);
            if arena.len() == 0 {
                continue;
            }
            let from = slot.settlement.settled();
            let (safe, end) = (from + written as u64, from + arena.len() as u64);
            if safe < end {
                slot.inbox.lock().dropped.add(reason, end - safe);
            }
            add(&self.counters.written, written as u64);
            self.release(arena.size());
            slot.settlement.settle(safe, end);
        }
    }

    /// Refuses records from now on and tells the writer to finish.
    fn shut(&self) {
        self.shut_inboxes();
        self.signal.close();
    }

    fn shut_inboxes(&self) {
        for slot in &self.slots {
            slot.inbox.lock().shut = true;
        }
    }

    /// Gives up whatever is not settled, when the writer ends.
    pub(super) fn abandon(&self) {
        for slot in &self.slots {
            let mut inbox = slot.inbox.lock();
            inbox.shut = true;
            let (settled, end) = (slot.settlement.settled(), inbox.queued);
            if settled < end {
                inbox.dropped.add(DropReason::Io, end - settled);
                self.release(inbox.arena.size());
                inbox.arena.clear();
                slot.settlement.settle(settled, end);
            }
        }
    }

    fn stats(&self) -> LogStats {
        let mut stats = LogStats {
            durability: self.durability,
            healthy: self.fault.load(Ordering::Relaxed) == 0,
            queue_bytes: self.queue_bytes() as u64,
            last_error: self.last_error.lock().clone(),
            ..LogStats::default()
        };
        for slot in &self.slots {
            let inbox = slot.inbox.lock();
            stats.received += inbox.received;
            stats.bodies_omitted += inbox.bodies_omitted;
            stats.queue_records += inbox.queued - slot.settlement.settled();
            for reason in DropReason::ALL {
                stats.dropped.add(reason, inbox.dropped.of(reason));
            }
        }
        self.counters.copy_to(&mut stats);
        stats
    }
}
