//! The segment that is being written.
//!
//! Owns numbering, rotation, syncing and retention. Never retries and never decides what a failure
//! means for the records: the writer does. A file that a write or a sync failed on is not trusted
//! again; the next attempt goes to a fresh one.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::files::{FileSystem, SegmentFile, write_all_at};
use super::frame::{self, SEAL_BYTES};
use super::group::Group;
use super::segment::{self, Listed, SegmentHeader, UNFINISHED};
use super::stats::{Counters, DropReason, add, set};

/// Where and how segments are written.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) node: String,
    /// Bytes from which on a segment is closed.
    pub(super) segment_bytes: u64,
    /// Bytes of all segments from which on the oldest are removed.
    pub(super) retain_bytes: u64,
    /// Whether each group is synced.
    pub(super) sync: bool,
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
    current: Option<Active>,
    /// Closed segments, oldest first.
    closed: VecDeque<Listed>,
    next_lsn: u64,
}

/// The open segment.
struct Active {
    file: Box<dyn SegmentFile>,
    first_lsn: u64,
    epoch: u32,
    /// Where the next frame goes.
    end: u64,
    records: u64,
}

impl Appender {
    /// Continues after the segments in `closed` with `next_lsn`.
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        layout: Layout,
        counters: Arc<Counters>,
        closed: Vec<Listed>,
        next_lsn: u64,
    ) -> Self {
        Self { files, layout, counters, current: None, closed: closed.into(), next_lsn }
    }

    /// Leaves out the numbers of records that were lost, so that the log shows that they are missing.
    pub(super) fn skip(&mut self, records: u64) {
        self.next_lsn += records;
    }

    /// Opens a segment, so that the first record finds one and a directory that cannot be written
    /// shows at once.
    pub(super) fn open(&mut self) -> Result<(), Fault> {
        if self.current.is_none() {
            self.current = Some(self.create()?);
            self.retain();
        }
        Ok(())
    }

    /// Writes what is left of `group`, and syncs it if the layout says so. After a failure the group's
    /// position tells which frames are safe; the others have to be appended again or given up.
    pub(super) fn append(&mut self, group: &mut Group) -> Result<(), Fault> {
        let mut synced = (group.position(), self.next_lsn);
        let result = loop {
            if group.is_written() {
                break self.sync_if_due();
            }
            match self.append_some(group) {
                Ok(true) => {}
                Ok(false) => {
                    if let Err(fault) = self.sync_if_due() {
                        break Err(fault);
                    }
                    synced = (group.position(), self.next_lsn);
                    self.close_segment();
                }
                Err(fault) => break Err(fault),
            }
        };
        if result.is_err() {
            self.abandon();
            if self.layout.sync {
                group.set_position(synced.0);
                self.next_lsn = synced.1;
            }
        } else {
            set(&self.counters.written_lsn, self.next_lsn - 1);
            self.retain();
        }
        result
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
            if self.sync().is_ok() {
                set(&self.counters.durable_lsn, self.next_lsn - 1);
            }
            self.close_segment();
        }
        self.count_segments();
    }

    fn sync_if_due(&self) -> Result<(), Fault> {
        if !self.layout.sync {
            return Ok(());
        }
        self.sync()?;
        set(&self.counters.durable_lsn, self.next_lsn - 1);
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        let Some(active) = &self.current else { return Ok(()) };
        let started = Instant::now();
        let synced = active.file.sync();
        add(&self.counters.syncs, 1);
        add(&self.counters.sync_us, started.elapsed().as_micros() as u64);
        synced.map_err(|error| {
            Fault::new("syncing", segment::path(&self.layout.dir, active.first_lsn), error)
        })
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
    }

    /// Gives up the open segment after a failure. What lies after its last good frame is cut off if
    /// the file system still can; readers cope if it cannot.
    fn abandon(&mut self) {
        let Some(active) = self.current.take() else { return };
        if active.records == 0 && !self.closed.is_empty() {
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
        let created = files.create(&unfinished).and_then(|file| {
            write_all_at(file.as_ref(), &mut [io::IoSlice::new(&header)], 0)?;
            files.rename(&unfinished, &path)?;
            if self.layout.sync {
                files.sync_dir(&self.layout.dir)?;
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
        // A segment of the same name was given up before it held a record, and is replaced.
        self.closed.retain(|closed| closed.first_lsn != first_lsn);
        let end = segment::HEADER_BYTES as u64;
        Ok(Active { file, first_lsn, epoch, end, records: 0 })
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
