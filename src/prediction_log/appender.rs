//! The segment that is being written.
//!
//! Owns numbering, rotation, syncing and retention. Never retries and never decides what a failure
//! means for the records: the writer does. A file that a write or a sync failed on is not trusted
//! again; the next attempt goes to a fresh one.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::files::{FileSystem, SegmentFile, write_all_at};
use super::frame::{self, SEAL_BYTES};
use super::group::Group;
use super::progress::Progress;
use super::segment::{self, Listed, SegmentHeader, UNFINISHED};
use super::stats::{Counters, DropReason, add, set};
use crate::domain::spec::{Durability, LogSpec};

/// Where and how segments are written.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) node: String,
    /// Bytes from which on a segment is closed.
    pub(super) segment_bytes: u64,
    /// Bytes of all segments from which on the oldest are removed.
    pub(super) retain_bytes: u64,
    /// How long a segment with records stays open.
    pub(super) segment_age: Duration,
}

impl Layout {
    /// The layout that `spec` asks for.
    pub(super) fn new(dir: &Path, node: &str, spec: &LogSpec) -> Self {
        Self {
            dir: dir.to_owned(),
            node: node.to_owned(),
            segment_bytes: spec.segment,
            retain_bytes: spec.retain,
            segment_age: spec.segment_age,
        }
    }
}

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} `{path}`")]
pub(super) struct Fault {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Fault {
    fn new(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { doing, path: path.into(), source }
    }

    /// Why the records are dropped that this failure costs.
    pub(super) fn reason(&self) -> DropReason {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DropReason::NoSpace,
            _ => DropReason::Io,
        }
    }

    /// The failure and its cause in one line.
    pub(super) fn in_words(&self) -> String {
        format!("{self}: {}", self.source)
    }

    /// The file, and the error of the operating system.
    pub(super) fn into_parts(self) -> (PathBuf, io::Error) {
        (self.path, self.source)
    }
}

/// Writes groups into segments.
pub(super) struct Appender {
    files: Arc<dyn FileSystem>,
    layout: Layout,
    counters: Arc<Counters>,
    progress: Arc<Progress>,
    current: Option<Active>,
    /// Closed segments, oldest first.
    closed: VecDeque<Listed>,
    next_lsn: u64,
    /// Names in the directory may not survive a loss of power.
    names_changed: bool,
}

/// The open segment.
struct Active {
    file: Box<dyn SegmentFile>,
    first_lsn: u64,
    epoch: u32,
    /// Where the next frame goes.
    end: u64,
    records: u64,
    /// When its first record was written, by the clock that never jumps.
    begun: Option<Instant>,
    /// The name that it gets with its first group: the segment that has it now was given up, but
    /// holds records that were promised.
    unfinished: Option<PathBuf>,
}

impl Appender {
    /// Continues after the segments in `closed` with `next_lsn`.
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        layout: Layout,
        counters: Arc<Counters>,
        progress: Arc<Progress>,
        closed: Vec<Listed>,
        next_lsn: u64,
    ) -> Self {
        let closed = closed.into();
        let (current, names_changed) = (None, true);
        Self { files, layout, counters, progress, current, closed, next_lsn, names_changed }
    }

    /// The number that the next record gets.
    pub(super) fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// Leaves out the numbers of records that were lost, so that the log shows that they are missing.
    pub(super) fn skip(&mut self, records: u64) {
        self.next_lsn += records;
    }

    /// Opens a segment, so that the first record finds one and a directory that cannot be written
    /// shows at once.
    pub(super) fn open(&mut self) -> Result<(), Fault> {
        if self.current.is_none() {
            let created = self.create()?;
            if created.unfinished.is_none() {
                self.forget(created.first_lsn);
            }
            self.current = Some(created);
            self.retain();
        }
        Ok(())
    }

    /// Writes what is left of `group`; then, if one of its records was promised a sync, calls
    /// `written` and syncs. After a failure the group's position tells which frames are safe; the
    /// others have to be appended again or given up.
    pub(super) fn append(
        &mut self,
        group: &mut Group,
        written: impl FnOnce(&Group),
    ) -> Result<(), Fault> {
        let sync = group.strongest() == Some(Durability::Sync);
        let mut safe = (group.position(), self.next_lsn);
        let result = loop {
            if group.is_written() {
                break Ok(());
            }
            match self.append_some(group) {
                Ok(true) => {}
                Ok(false) => {
                    if let Err(fault) = self.publish() {
                        break Err(fault);
                    }
                    if sync && let Err(fault) = self.sync() {
                        break Err(fault);
                    }
                    safe = (group.position(), self.next_lsn);
                    self.close_segment();
                }
                Err(fault) => break Err(fault),
            }
        };
        let result = result.and_then(|()| self.publish()).and_then(|()| {
            set(&self.counters.written_lsn, self.next_lsn - 1);
            self.progress.set_written(self.next_lsn - 1);
            if sync {
                written(group);
                self.sync()?;
            }
            Ok(())
        });
        if result.is_err() {
            self.abandon();
            if sync {
                group.set_position(safe.0);
                self.next_lsn = safe.1;
            }
        } else {
            self.retain();
        }
        result
    }

    /// When the open segment has been open for long enough; `None` while it has no records.
    pub(super) fn age_out_at(&self) -> Option<Instant> {
        self.current.as_ref()?.begun?.checked_add(self.layout.segment_age)
    }

    /// Closes the open segment, whose time is over. The next one opens with the next group.
    pub(super) fn age_out(&mut self) {
        if self.sync().is_ok() {
            self.close_segment();
            self.count_segments();
        } else {
            self.abandon();
        }
    }

    /// Gives the open segment its name, once it holds what the segment of that name held.
    fn publish(&mut self) -> Result<(), Fault> {
        let Some(active) = &mut self.current else { return Ok(()) };
        let Some(unfinished) = active.unfinished.take() else { return Ok(()) };
        let path = segment::path(&self.layout.dir, active.first_lsn);
        self.names_changed = true;
        let renamed = self.files.rename(&unfinished, &path);
        renamed.map_err(|error| Fault::new("naming", path, error))?;
        let first_lsn = active.first_lsn;
        self.forget(first_lsn);
        Ok(())
    }

    /// Forgets a closed segment whose name was given to another.
    fn forget(&mut self, first_lsn: u64) {
        self.closed.retain(|closed| closed.first_lsn != first_lsn);
    }

    /// Writes as many frames as the open segment has room for; false when it has none.
    fn append_some(&mut self, group: &mut Group) -> Result<bool, Fault> {
        self.open()?;
        let (limit, next_lsn) = (self.layout.segment_bytes, self.next_lsn);
        let Some(active) = &mut self.current else { return Ok(true) };
        let fit = group.fit(limit.saturating_sub(active.end), active.records == 0);
        if fit.frames == 0 {
            return Ok(false);
        }
        group.stamp(fit.end, active.epoch, next_lsn);
        let written = write_all_at(active.file.as_ref(), &mut group.pieces(fit.end), active.end);
        if let Err(error) = written {
            let path = segment::path(&self.layout.dir, active.first_lsn);
            return Err(Fault::new("writing", path, error));
        }
        active.end += fit.bytes;
        active.records += fit.frames;
        active.begun.get_or_insert_with(Instant::now);
        self.next_lsn += fit.frames;
        group.set_position(fit.end);
        add(&self.counters.written_bytes, fit.bytes);
        Ok(true)
    }

    /// Seals and syncs the open segment; an empty one is removed, unless it alone tells the number
    /// of the next record.
    pub(super) fn close(&mut self) {
        let Some(active) = &self.current else { return };
        if active.records == 0 && !self.closed.is_empty() {
            let path = segment::path(&self.layout.dir, active.first_lsn);
            self.current = None;
            self.count_error(self.files.remove(&path));
        } else {
            drop(self.sync());
            self.close_segment();
        }
        self.count_segments();
    }

    /// Syncs the open segment and, where it has changed, the directory.
    fn sync(&mut self) -> Result<(), Fault> {
        let Some(active) = &self.current else { return Ok(()) };
        if self.names_changed {
            let synced = self.files.sync_dir(&self.layout.dir);
            synced.map_err(|error| Fault::new("syncing", &self.layout.dir, error))?;
            self.names_changed = false;
        }
        let started = Instant::now();
        let synced = active.file.sync();
        add(&self.counters.syncs, 1);
        add(&self.counters.sync_us, started.elapsed().as_micros() as u64);
        let path = || segment::path(&self.layout.dir, active.first_lsn);
        synced.map_err(|error| Fault::new("syncing", path(), error))?;
        set(&self.counters.durable_lsn, self.next_lsn - 1);
        Ok(())
    }

    /// Writes the seal and moves on. A seal that cannot be written is no loss: readers stop at the
    /// last intact frame.
    fn close_segment(&mut self) {
        let Some(mut active) = self.current.take() else { return };
        let last_lsn = (active.first_lsn + active.records).saturating_sub(1);
        let seal = frame::seal(active.epoch, last_lsn, active.records);
        let sealed = write_all_at(active.file.as_ref(), &mut [io::IoSlice::new(&seal)], active.end);
        match sealed {
            Ok(()) => active.end += SEAL_BYTES as u64,
            Err(_) => add(&self.counters.write_errors, 1),
        }
        self.closed.push_back(Listed { first_lsn: active.first_lsn, bytes: active.end });
        self.progress.set_closed(last_lsn);
    }

    /// Gives up the open segment after a failure. What lies after its last good frame is cut off if
    /// the file system still can; readers cope if it cannot.
    fn abandon(&mut self) {
        let Some(active) = self.current.take() else { return };
        if let Some(unfinished) = &active.unfinished {
            self.count_error(self.files.remove(unfinished));
        } else if active.records == 0 && !self.closed.is_empty() {
            let path = segment::path(&self.layout.dir, active.first_lsn);
            self.count_error(self.files.remove(&path));
        } else {
            self.count_error(active.file.set_len(active.end));
            self.closed.push_back(Listed { first_lsn: active.first_lsn, bytes: active.end });
        }
        self.count_segments();
    }

    /// Creates the segment for the next record under a temporary name, so that readers never see
    /// half a header.
    fn create(&mut self) -> Result<Active, Fault> {
        let (files, first_lsn) = (&self.files, self.next_lsn);
        let path = segment::path(&self.layout.dir, first_lsn);
        let unfinished = self.layout.dir.join(segment::file_name(first_lsn) + UNFINISHED);
        let epoch = fastrand::u32(..);
        let header = SegmentHeader {
            epoch,
            first_lsn,
            created_us: unix_us(),
            node: self.layout.node.clone(),
        };
        let header = header.encode();
        let replaces = self.closed.back().is_some_and(|last| {
            last.first_lsn == first_lsn && last.bytes > segment::HEADER_BYTES as u64
        });
        let created = files.create(&unfinished).and_then(|file| {
            write_all_at(file.as_ref(), &mut [io::IoSlice::new(&header)], 0)?;
            if !replaces {
                files.rename(&unfinished, &path)?;
            }
            Ok(file)
        });
        let file = match created {
            Ok(file) => file,
            Err(error) => {
                // Usually gone or never there; the next start removes what stays.
                drop(files.remove(&unfinished));
                return Err(Fault::new("creating", path, error));
            }
        };
        self.names_changed = true;
        let unfinished = replaces.then_some(unfinished);
        let end = segment::HEADER_BYTES as u64;
        Ok(Active { file, first_lsn, epoch, end, records: 0, begun: None, unfinished })
    }

    /// Removes the oldest closed segments while there are too many bytes.
    fn retain(&mut self) {
        while self.disk_bytes() > self.layout.retain_bytes
            && let Some(oldest) = self.closed.pop_front()
        {
            let removed = self.files.remove(&segment::path(&self.layout.dir, oldest.first_lsn));
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    add(&self.counters.write_errors, 1);
                    self.closed.push_front(oldest);
                    break;
                }
                _ => add(&self.counters.segments_removed, 1),
            }
        }
        self.count_segments();
    }

    fn disk_bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|segment| segment.bytes).sum();
        closed + self.current.as_ref().map_or(0, |active| active.end)
    }

    fn count_segments(&self) {
        let open = u64::from(self.current.is_some());
        set(&self.counters.segments, self.closed.len() as u64 + open);
        set(&self.counters.disk_bytes, self.disk_bytes());
    }

    fn count_error(&self, result: io::Result<()>) {
        if result.is_err() {
            add(&self.counters.write_errors, 1);
        }
    }
}

/// The time of the system clock, in microseconds since the Unix epoch.
pub(super) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The directory of the segments below a gateway's `data_dir`.
pub fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}
