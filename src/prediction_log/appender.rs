//! The segment that is being written.
//!
//! Owns numbering, rotation, syncing and retention. Never retries and never decides what a failure
//! means for the records: the writer does. A file that a write or a sync failed on is not trusted
//! again; the next attempt goes to a fresh one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::{FileSystem, SegmentFile, write_all_at};
use super::frame::{self, SEAL_BYTES};
use super::gaps::Missing;
use super::group::Group;
use super::progress::Progress;
use super::rescue::{self, Saved};
use super::segment::{self, Listed, SegmentHeader, UNFINISHED};
use super::shelf::Shelf;
use super::spare::Spare;
use super::stats::{Counters, DropReason, add, set};
use super::syncer::{Distrusted, Syncer};
use super::unix_us;
use crate::domain::spec::{Durability, LogSpec};

/// Where and how segments are written.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) node: String,
    /// Bytes from which on a segment is closed.
    pub(super) segment_bytes: u64,
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
    shelf: Shelf,
    /// What optional consumers miss, to be said in the log.
    skipped: Vec<Missing>,
    /// Whether segments may still be removed.
    retains: bool,
    next_lsn: u64,
    spare: Spare,
    syncer: Syncer,
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
    /// Zeros lie after its end, to be cut off.
    filled: bool,
}

impl Active {
    /// The number of the last record, or the one before the first.
    fn last_lsn(&self) -> u64 {
        (self.first_lsn + self.records).saturating_sub(1)
    }

    /// Writes the frame that goes behind the last record. A segment without records gets none: the
    /// next one takes its name, and who follows the log waits for that.
    fn write_seal(&mut self) -> io::Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        let seal = frame::seal(self.epoch, self.last_lsn(), self.records);
        write_all_at(self.file.as_ref(), &mut [io::IoSlice::new(&seal)], self.end)?;
        self.end += SEAL_BYTES as u64;
        Ok(())
    }
}

impl Appender {
    /// Continues after the segments in `shelf` with `next_lsn`.
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        layout: Layout,
        counters: Arc<Counters>,
        progress: Arc<Progress>,
        syncer: Syncer,
        shelf: Shelf,
        next_lsn: u64,
    ) -> Self {
        let spare = Spare::new(Arc::clone(&files), &layout.dir, layout.segment_bytes);
        Self {
            files,
            layout,
            counters,
            progress,
            current: None,
            shelf,
            skipped: Vec::new(),
            retains: true,
            next_lsn,
            spare,
            syncer,
        }
    }

    /// Removes nothing from now on: the log is being closed, and could not say who misses it.
    pub(super) fn end_retention(&mut self) {
        self.retains = false;
    }

    /// What optional consumers have missed since this was last asked.
    pub(super) fn take_skipped(&mut self) -> Vec<Missing> {
        std::mem::take(&mut self.skipped)
    }

    /// When the closed segments are to be looked at, even if nothing is written.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.shelf.look_at()
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
    /// shows at once. Removes nothing: at the start, who still needs the segments is not known yet.
    pub(super) fn open(&mut self) -> Result<(), Fault> {
        if self.current.is_none() {
            let created = self.create()?;
            if created.unfinished.is_none() {
                self.shelf.forget(created.first_lsn);
            }
            self.current = Some(created);
            self.count_segments();
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
        let mut safe = (group.mark(), self.next_lsn);
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
                    safe = (group.mark(), self.next_lsn);
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
                self.spare.prepare();
                return self.sync();
            }
            if let Some(active) = &self.current {
                self.syncer.wrote(active.first_lsn, self.next_lsn - 1);
            }
            Ok(())
        });
        if result.is_err() {
            // What lies in a file without a name goes with it, whatever it was promised.
            let is_unnamed =
                self.current.as_ref().is_some_and(|active| active.unfinished.is_some());
            self.abandon(if sync || is_unnamed { safe.1 } else { self.next_lsn });
            if is_unnamed {
                group.take_back(safe.0);
            } else if sync {
                group.set_position(safe.0.position());
            }
            if sync || is_unnamed {
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
            self.abandon(self.next_lsn);
        }
    }

    /// Gives the open segment its name, once it holds what the segment of that name held.
    fn publish(&mut self) -> Result<(), Fault> {
        let Some(active) = &mut self.current else { return Ok(()) };
        let Some(unfinished) = &active.unfinished else { return Ok(()) };
        let path = segment::path(&self.layout.dir, active.first_lsn);
        let renamed = self.files.rename(unfinished, &path);
        // Only now: a sync of the directory that was under way has not seen this name.
        self.syncer.named();
        renamed.map_err(|error| Fault::new("naming", path, error))?;
        active.unfinished = None;
        self.shelf.forget(active.first_lsn);
        Ok(())
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
        if active.records == 0 && !self.shelf.is_empty() {
            self.syncer.closed(active.first_lsn);
            let removed = self.files.remove(&self.file_of(active));
            self.current = None;
            self.count_error(removed);
        } else {
            drop(self.sync());
            self.close_segment();
        }
        self.count_segments();
    }

    /// The file of an open segment: while another has its name, the temporary one.
    fn file_of(&self, active: &Active) -> PathBuf {
        let named = || segment::path(&self.layout.dir, active.first_lsn);
        active.unfinished.clone().unwrap_or_else(named)
    }

    /// Copies what background syncs have failed for into segments that can be trusted. Nothing is
    /// held in memory for this: the records are read back from the file, mostly from the page cache,
    /// and count only if their checksums hold.
    pub(super) fn save_distrusted(&mut self) {
        while let Some(distrusted) = self.syncer.failed() {
            let first_lsn = distrusted.first_lsn;
            if self.current.as_ref().is_some_and(|active| active.first_lsn == first_lsn) {
                self.abandon(self.next_lsn);
            }
            if distrusted.is_empty() {
                self.syncer.forget(distrusted);
                continue;
            }
            match self.rescue(distrusted) {
                Ok(saved) => {
                    self.shelf.add(saved.segment);
                    add(&self.counters.rescued, saved.records);
                    add(&self.counters.not_rescued, saved.missing);
                    tracing::warn!(
                        records = saved.records,
                        missing = saved.missing,
                        "records of a segment that could not be synced were copied"
                    );
                }
                Err(error) => {
                    let records = distrusted.to - distrusted.from + 1;
                    add(&self.counters.not_rescued, records);
                    add(&self.counters.write_errors, 1);
                    tracing::warn!(%error, records, "records may be lost with the power");
                }
            }
            self.syncer.forget(distrusted);
            self.progress.set_closed(distrusted.to.min(self.oldest_open()));
        }
        self.count_segments();
    }

    fn rescue(&self, distrusted: Distrusted) -> io::Result<Saved> {
        rescue::rescue(self.files.as_ref(), &self.layout.dir, &self.layout.node, distrusted)
    }

    /// The number before the first record of the open segment.
    fn oldest_open(&self) -> u64 {
        self.current.as_ref().map_or(self.next_lsn - 1, |active| active.first_lsn - 1)
    }

    /// Syncs what is left in the background and ends that.
    pub(super) fn finish(&mut self) {
        self.syncer.finish();
        self.save_distrusted();
    }

    /// Syncs the open segment and, where it has changed, the directory.
    fn sync(&self) -> Result<(), Fault> {
        let Some(active) = &self.current else { return Ok(()) };
        let synced = self.syncer.sync_names();
        synced.map_err(|error| Fault::new("syncing", &self.layout.dir, error))?;
        let started = Instant::now();
        let synced = active.file.sync();
        self.counters.sync_took(started.elapsed());
        let path = || segment::path(&self.layout.dir, active.first_lsn);
        synced.map_err(|error| Fault::new("syncing", path(), error))?;
        if self.syncer.synced(active.first_lsn, self.next_lsn - 1) {
            return Ok(());
        }
        let error = io::Error::other("an earlier sync of it has failed");
        Err(Fault::new("syncing", path(), error))
    }

    /// Writes the seal and moves on. A seal that cannot be written is no loss: readers stop at the
    /// last intact frame.
    fn close_segment(&mut self) {
        let Some(mut active) = self.current.take() else { return };
        let last_lsn = active.last_lsn();
        if let Err(error) = active.write_seal() {
            self.count_error(Err(error));
        }
        if active.filled {
            self.count_error(active.file.set_len(active.end));
        }
        self.shelf.add(Listed { first_lsn: active.first_lsn, bytes: active.end });
        if active.records > 0 {
            self.syncer.wrote(active.first_lsn, last_lsn);
        }
        self.syncer.closed(active.first_lsn);
    }

    /// Gives up the open segment after a failure. What lies after its last good frame is cut off, and
    /// it is sealed there, if the file system still can; readers cope if it cannot. Records below `below` are not appended
    /// again by the writer.
    fn abandon(&mut self, below: u64) {
        let Some(mut active) = self.current.take() else { return };
        self.syncer.distrust(active.first_lsn, below);
        let is_needless = active.records == 0 && !self.shelf.is_empty();
        if active.unfinished.is_some() || is_needless {
            self.count_error(self.files.remove(&self.file_of(&active)));
        } else {
            self.count_error(active.file.set_len(active.end));
            // So that readers need not search it for more. Where that fails too, they do.
            drop(active.write_seal());
            self.shelf.add(Listed { first_lsn: active.first_lsn, bytes: active.end });
        }
        self.count_segments();
    }

    /// Creates the segment for the next record under a temporary name, so that readers never see
    /// half a header.
    fn create(&mut self) -> Result<Active, Fault> {
        let first_lsn = self.next_lsn;
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
        // One without records loses its name at once.
        let replaces = self.shelf.newest().is_some_and(|last| {
            last.first_lsn == first_lsn && last.bytes > segment::HEADER_BYTES as u64
        });
        let spare = self.spare.take(&unfinished);
        let (files, filled) = (&self.files, spare.is_some());
        let created = spare.map_or_else(|| files.create(&unfinished), Ok).and_then(|file| {
            write_all_at(file.as_ref(), &mut [io::IoSlice::new(&header)], 0)?;
            if !replaces {
                files.rename(&unfinished, &path)?;
            }
            // Not a duplicate of the same handle: Linux reports a page that could not be written once
            // to each open file (`fsync(2)`), and both threads that sync have to hear of it.
            let second = files.open(if replaces { &unfinished } else { &path })?;
            Ok((file, second))
        });
        let (file, second) = match created {
            Ok(files) => files,
            Err(error) => {
                // Usually gone or never there; the next start removes what stays.
                drop(files.remove(&unfinished));
                return Err(Fault::new("creating", path, error));
            }
        };
        add(&self.counters.segments_prefilled, u64::from(filled));
        self.syncer.named();
        self.syncer.opened(first_lsn, second);
        let unfinished = replaces.then_some(unfinished);
        let end = segment::HEADER_BYTES as u64;
        Ok(Active { file, first_lsn, epoch, end, records: 0, begun: None, unfinished, filled })
    }

    /// Removes segments that may go and have to.
    pub(super) fn retain(&mut self) {
        let open = self.current.as_ref().map(|active| active.end);
        if self.retains {
            self.skipped.extend(self.shelf.retain(open));
        } else {
            self.shelf.count(open);
        }
    }

    fn count_segments(&self) {
        self.shelf.count(self.current.as_ref().map(|active| active.end));
    }

    fn count_error(&self, result: io::Result<()>) {
        if result.is_err() {
            add(&self.counters.write_errors, 1);
        }
    }
}

/// The directory of the segments below a gateway's `data_dir`.
pub fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}
