//! Syncs in the background what nobody waits to be synced.
//!
//! Owns the thread `log-sync`, the segments that hold records not yet known to be on the disk, and the
//! number up to which all are. Never writes, and never syncs a file again on which a sync has failed:
//! the writer is told and copies what is in it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::files::{FileSystem, SegmentFile};
use super::progress::Progress;
use super::queue::Queue;
use super::stats::set;

/// The background side of syncing.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    interval: Duration,
    /// Held for a moment by the writer, once a group, and by the thread, never during a sync.
    state: Mutex<State>,
    wake: Condvar,
    /// Held while the directory is synced: who finds the names unchanged must know that they are on
    /// the disk, not that the other thread is about to put them there.
    names: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Segments with records that may not be on the disk, and the open one; oldest first.
    segments: VecDeque<Unsynced>,
    /// Names in the directory may not survive a loss of power.
    names_changed: bool,
    written: u64,
    failed: Vec<Distrusted>,
    /// When the oldest record in `failed` was written.
    failed_since: Option<Instant>,
    is_idle: bool,
    ending: bool,
}

struct Unsynced {
    first_lsn: u64,
    file: Arc<dyn SegmentFile>,
    /// The first record that may not be on the disk.
    from: u64,
    /// The last record that was written.
    to: u64,
    /// Where it is not clean, not later than `from` was written.
    since: Option<Instant>,
    closed: bool,
}

/// Records in a segment that cannot be trusted any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Distrusted {
    pub(super) first_lsn: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Distrusted {
    /// Whether everything in the segment is on the disk.
    pub(super) fn is_empty(&self) -> bool {
        self.from > self.to
    }
}

impl State {
    fn is_clean(&self) -> bool {
        self.segments.iter().all(Unsynced::is_clean)
    }

    /// When the oldest record was written that may not be on the disk.
    fn unsynced_since(&self) -> Option<Instant> {
        let open = self.segments.iter().filter(|segment| !segment.is_clean());
        open.filter_map(|segment| segment.since).chain(self.failed_since).min()
    }

    fn segment(&mut self, first_lsn: u64) -> Option<&mut Unsynced> {
        self.segments.iter_mut().find(|segment| segment.first_lsn == first_lsn)
    }

    /// A segment now ends with `to`. One may have failed while the writer was writing to it. Says
    /// whether everything in it was on the disk before.
    fn extend(&mut self, first_lsn: u64, to: u64) -> bool {
        if let Some(segment) = self.segment(first_lsn) {
            let was_clean = segment.is_clean() && to >= segment.from;
            segment.to = to;
            if was_clean {
                segment.since = Some(Instant::now());
            }
            return was_clean;
        }
        let Some(failed) = self.failed.iter_mut().find(|f| f.first_lsn == first_lsn) else {
            return false;
        };
        let was_clean = failed.is_empty();
        failed.to = to;
        self.failed_since.get_or_insert_with(Instant::now);
        was_clean
    }
}

impl Unsynced {
    fn is_clean(&self) -> bool {
        self.from > self.to
    }
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub(super) fn start(
        files: Arc<dyn FileSystem>,
        dir: &Path,
        queue: Arc<Queue>,
        progress: Arc<Progress>,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let state = State { names_changed: true, ..State::default() };
        let shared = Arc::new(Shared {
            files,
            dir: dir.to_owned(),
            queue,
            progress,
            interval,
            state: Mutex::new(state),
            wake: Condvar::new(),
            names: Mutex::new(()),
        });
        let thread = std::thread::Builder::new().name("log-sync".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A segment was opened.
    pub(super) fn opened(&self, first_lsn: u64, file: Box<dyn SegmentFile>) {
        let file = Arc::from(file);
        let (from, to) = (first_lsn, first_lsn - 1);
        let segment = Unsynced { first_lsn, file, from, to, since: None, closed: false };
        self.shared.state.lock().segments.push_back(segment);
    }

    /// A name in the directory has changed.
    pub(super) fn named(&self) {
        self.shared.state.lock().names_changed = true;
    }

    /// Syncs the directory, if a name in it has changed.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn sync_names(&self) -> std::io::Result<()> {
        self.shared.sync_names()
    }

    /// Records up to `to` were written to the segment.
    pub(super) fn wrote(&self, first_lsn: u64, to: u64) {
        let mut state = self.shared.state.lock();
        state.written = to;
        if state.extend(first_lsn, to) {
            *self.shared.queue.counters().unsynced_since.lock() = state.unsynced_since();
        }
        if std::mem::take(&mut state.is_idle) {
            self.shared.wake.notify_one();
        }
    }

    /// The writer has synced the segment itself, up to `to`; false when a sync of it has failed in the
    /// background, so that this one proves nothing.
    #[must_use]
    pub(super) fn synced(&self, first_lsn: u64, to: u64) -> bool {
        let mut state = self.shared.state.lock();
        let Some(segment) = state.segment(first_lsn) else { return false };
        segment.to = to;
        segment.from = to + 1;
        state.written = state.written.max(to);
        self.shared.publish(&mut state);
        true
    }

    /// Nothing more will be written to the segment.
    pub(super) fn closed(&self, first_lsn: u64) {
        let mut state = self.shared.state.lock();
        if let Some(segment) = state.segment(first_lsn) {
            segment.closed = true;
        }
        self.shared.publish(&mut state);
    }

    /// The segment failed: of what was written to it, records below `below` may have to be saved.
    pub(super) fn distrust(&self, first_lsn: u64, below: u64) {
        self.shared.fail(first_lsn, Some(below));
    }

    /// A segment that failed, and the records in it that may not be on the disk; there may be none.
    pub(super) fn failed(&self) -> Option<Distrusted> {
        self.shared.state.lock().failed.first().copied()
    }

    /// Everything that could be done for `distrusted` was done.
    pub(super) fn forget(&self, distrusted: Distrusted) {
        let mut state = self.shared.state.lock();
        state.failed.retain(|failed| *failed != distrusted);
        if state.failed.is_empty() {
            state.failed_since = None;
        }
        self.shared.publish(&mut state);
    }

    /// Syncs what is left and ends the thread.
    pub(super) fn finish(&mut self) {
        self.shared.state.lock().ending = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.shared.queue.set_last_error("the syncing thread panicked".to_owned());
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.ending && state.is_clean() {
                state.is_idle = true;
                self.wake.wait(&mut state);
            }
            if !state.ending {
                // What is written during this time is synced with it.
                let until = Instant::now() + self.interval;
                while !state.ending && !self.wake.wait_until(&mut state, until).timed_out() {}
            }
            let ending = state.ending;
            drop(state);
            self.sync_all();
            if ending {
                return;
            }
        }
    }

    /// Syncs every segment that has to be, oldest first.
    fn sync_all(&self) {
        let mut passed = 0;
        loop {
            // What is written from here on may miss this sync.
            let started = Instant::now();
            let state = self.state.lock();
            let next = state.segments.iter().find(|s| s.first_lsn > passed && !s.is_clean());
            let Some(next) = next else { return };
            let (first_lsn, to, file) = (next.first_lsn, next.to, Arc::clone(&next.file));
            drop(state);
            passed = first_lsn;
            let synced = self.sync_names().and_then(|()| file.sync());
            self.queue.counters().sync_took(started.elapsed());
            match synced {
                Ok(()) => {
                    let mut state = self.state.lock();
                    if let Some(segment) = state.segment(first_lsn) {
                        segment.from = segment.from.max(to + 1);
                        segment.since = segment.since.max(Some(started));
                    }
                    self.publish(&mut state);
                }
                Err(error) => {
                    let path = super::segment::path(&self.dir, first_lsn);
                    let words = format!("syncing `{}`: {error}", path.display());
                    tracing::warn!(error = words, "a segment of the prediction log is not trusted");
                    self.queue.set_last_error(words);
                    self.fail(first_lsn, None);
                    super::stats::add(&self.queue.counters().write_errors, 1);
                    self.queue.call_attention();
                }
            }
        }
    }

    fn sync_names(&self) -> std::io::Result<()> {
        let _one_at_a_time = self.names.lock();
        if !std::mem::take(&mut self.state.lock().names_changed) {
            return Ok(());
        }
        let synced = self.files.sync_dir(&self.dir);
        if synced.is_err() {
            self.state.lock().names_changed = true;
        }
        synced
    }

    /// Gives up a segment. `below` is `None` where the writer does not know yet: it is told in any
    /// case, and what it still writes there counts as well.
    fn fail(&self, first_lsn: u64, below: Option<u64>) {
        let mut state = self.state.lock();
        let index = state.segments.iter().position(|segment| segment.first_lsn == first_lsn);
        let Some(segment) = index.and_then(|index| state.segments.remove(index)) else { return };
        let to = below.map_or(segment.to, |below| segment.to.min(below.saturating_sub(1)));
        if below.is_none() || segment.from <= to {
            if segment.from <= to {
                state.failed_since = state.failed_since.into_iter().chain(segment.since).min();
            }
            state.failed.push(Distrusted { first_lsn, from: segment.from, to });
        }
        self.publish(&mut state);
    }

    /// Tells how far the disk has everything.
    fn publish(&self, state: &mut State) {
        let mut closed = 0;
        while let Some(first) = state.segments.front()
            && first.closed
            && first.is_clean()
        {
            closed = first.to;
            state.segments.pop_front();
        }
        if closed > 0 && state.failed.is_empty() {
            self.progress.set_closed(closed);
        }
        let open = state.segments.iter().find(|segment| !segment.is_clean());
        let failed = state.failed.iter().map(|failed| failed.from).min();
        let from = open.map(|segment| segment.from).into_iter().chain(failed).min();
        let durable = from.map_or(state.written, |from| from - 1);
        set(&self.queue.counters().durable_lsn, durable);
        *self.queue.counters().unsynced_since.lock() = state.unsynced_since();
    }
}
