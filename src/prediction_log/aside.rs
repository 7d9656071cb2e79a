//! Damaged segments that are kept for people to look at.
//!
//! Owns the files `*.seg.suspect`: a second name of a segment in which something could not be read, so
//! that it stays when retention removes the first. Never copies a file, and never decides which of
//! them go: the writer's retention does.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::{FileSystem, LocalFiles};
use super::segment::{self, Listed, SUSPECT};

/// The damaged segments of one log; the default is that of a gateway that records nothing.
pub(super) struct Aside {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    /// Oldest first. Locked when damage is found and when retention looks.
    kept: Mutex<VecDeque<Listed>>,
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Default for Aside {
    fn default() -> Self {
        Self { files: Arc::new(LocalFiles), dir: PathBuf::new(), kept: Mutex::default() }
    }
}

impl Aside {
    /// With what is in `dir` already.
    pub(super) fn new(files: Arc<dyn FileSystem>, dir: &Path) -> Self {
        let listed = files.list(dir).unwrap_or_default();
        let mut kept: Vec<_> = listed
            .iter()
            .filter_map(|(name, bytes)| {
                let first_lsn = segment::parse_name(name.strip_suffix(SUSPECT)?)?;
                Some(Listed { first_lsn, bytes: *bytes })
            })
            .collect();
        kept.sort_unstable_by_key(|suspect| suspect.first_lsn);
        Self { files, dir: dir.to_owned(), kept: Mutex::new(kept.into()) }
    }

    /// Keeps the segment that is named `first_lsn`, whatever becomes of its first name. Where it cannot
    /// be given a second one, that is only said.
    pub(super) fn keep(&self, first_lsn: u64) {
        if let Err(error) = self.try_keep(first_lsn) {
            tracing::warn!(%error, first_lsn, "a damaged segment is not kept aside");
        }
    }

    fn try_keep(&self, first_lsn: u64) -> io::Result<()> {
        let path = segment::path(&self.dir, first_lsn);
        let mut kept = self.kept.lock();
        let found = kept.binary_search_by_key(&first_lsn, |suspect| suspect.first_lsn);
        let Err(place) = found else { return Ok(()) };
        let bytes = self.files.open_read(&path)?.size()?;
        match self.files.link(&path, &suspect_path(&self.dir, first_lsn)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => kept.insert(place, Listed { first_lsn, bytes }),
        }
        tracing::warn!(segment = %path.display(), "a damaged segment is kept aside");
        Ok(())
    }

    /// The oldest that is kept.
    pub(super) fn oldest(&self) -> Option<Listed> {
        self.kept.lock().front().copied()
    }

    /// The bytes of those that `counts`.
    pub(super) fn bytes(&self, counts: impl Fn(&Listed) -> bool) -> u64 {
        self.kept.lock().iter().filter(|suspect| counts(suspect)).map(|suspect| suspect.bytes).sum()
    }

    /// Removes the oldest; one that cannot be removed is left alone until the next start.
    pub(super) fn remove_oldest(&self) -> io::Result<()> {
        let Some(oldest) = self.kept.lock().pop_front() else { return Ok(()) };
        match self.files.remove(&suspect_path(&self.dir, oldest.first_lsn)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The name under which a damaged segment is kept.
pub(super) fn suspect_path(dir: &Path, first_lsn: u64) -> PathBuf {
    dir.join(segment::file_name(first_lsn) + SUSPECT)
}
