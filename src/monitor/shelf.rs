//! What is kept of versions beside their windows: baselines that were handed over or learned, and the rows of those that
//! are being learned.
//!
//! Owns the files below `state/monitor/baselines`, `MODEL@VERSION.json` and `MODEL@VERSION.rows`, each written, synced and
//! renamed, and how long they wait for a version that is not there. Rows are marked with their form and carry a checksum:
//! what is damaged, of another form or of another artifact is left aside, and learning begins anew. Never decides which
//! baseline counts.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::disk::write_whole;
use super::learner::{self, Learner};
use super::sealed::{SealError, seal, unseal};
use super::store::VersionKey;
use crate::domain::stats::baseline::FILE_BYTES_MAX;

/// What a file of rows begins with. The number is the form's.
const MARK: &[u8] = b"PMROWS1\n";
/// The largest file of rows that is read: numbers take more bytes there than in memory, at most twice as many.
const ROWS_BYTES_MAX: usize = 2 * learner::BYTES_MAX;
/// How long a file waits for a version that is not served: as long as the days of its windows are kept.
const WAITING: Duration = Duration::from_secs(30 * DAY);
/// The most files of versions that are not served.
const FILES_MAX: usize = 1000;
const DAY: u64 = 24 * 60 * 60;

/// The directory.
#[derive(Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
    writes: bool,
    /// Files that were removed because nobody came for them.
    forgotten: u64,
}

#[derive(Serialize)]
struct Rows<'l> {
    digest: Option<[u8; 32]>,
    learner: &'l Learner,
}

#[derive(Deserialize)]
struct OwnedRows {
    digest: Option<[u8; 32]>,
    learner: Learner,
}

#[derive(Debug, thiserror::Error)]
enum RowsError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it is larger than rows can be")]
    Large,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("it is damaged: its parts do not fit each other")]
    Unsound,
}

impl Shelf {
    /// The one below the monitor's state.
    pub(super) fn new(state: &Path) -> Self {
        Self { dir: state.join("baselines"), writes: true, forgotten: 0 }
    }

    /// One that is only looked at: baselines are read there, and nothing else.
    pub(super) fn read_only(state: &Path) -> Self {
        Self { writes: false, ..Self::new(state) }
    }

    /// The file of the baseline of a version.
    pub(super) fn baseline(&self, key: &VersionKey) -> PathBuf {
        self.dir.join(format!("{}.json", stem(key)))
    }

    fn rows(&self, key: &VersionKey) -> PathBuf {
        self.dir.join(format!("{}.rows", stem(key)))
    }

    /// Keeps the baseline of a version.
    pub(super) fn keep_baseline(&self, key: &VersionKey, json: &[u8]) -> io::Result<()> {
        if self.writes { write_whole(&self.baseline(key), json) } else { Ok(()) }
    }

    /// For how many days nobody came for the baseline of a version; `None` for a day or less, as of what is in use.
    pub(super) fn waited(&self, key: &VersionKey, now: SystemTime) -> Option<u64> {
        let age = age(fs::metadata(self.baseline(key)).ok()?.modified().ok()?, now);
        Some(age.as_secs() / DAY).filter(|days| *days > 1)
    }

    /// What an artifact's version has learned from so far; nothing where nothing is kept.
    pub(super) fn take_up(&self, key: &VersionKey, digest: Option<[u8; 32]>) -> Learner {
        let path = self.rows(key);
        if !self.writes {
            return Learner::default();
        }
        match read_rows(&path) {
            Ok(Some(rows)) if rows.digest == digest => rows.learner,
            // Of another artifact of the same name, or none.
            Ok(_) => Learner::default(),
            Err(error) => {
                tracing::warn!(
                    version = %key,
                    path = %path.display(),
                    %error,
                    "rows that a baseline was being learned from are left aside; it is learned from the beginning"
                );
                Learner::default()
            }
        }
    }

    /// Keeps what a version has learned from so far.
    pub(super) fn keep_rows(
        &self,
        key: &VersionKey,
        digest: Option<[u8; 32]>,
        learner: &Learner,
    ) -> io::Result<()> {
        if !self.writes {
            return Ok(());
        }
        let bytes = seal(MARK, &Rows { digest, learner });
        write_whole(&self.rows(key), &bytes.ok_or_else(|| io::Error::other("they have no form"))?)
    }

    /// Forgets what a version has learned from: nothing is learned any more.
    pub(super) fn drop_rows(&self, key: &VersionKey) {
        if !self.writes {
            return;
        }
        let path = self.rows(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "rows that nobody learns from cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Marks the files of versions that are `served` as needed, and removes those of others that have waited for too
    /// long, or are too many, the oldest first.
    pub(super) fn clear(&mut self, served: &[VersionKey], now: SystemTime) {
        if !self.writes {
            return;
        }
        let served: BTreeSet<String> = served.iter().map(stem).collect();
        let mut waiting: Vec<(Duration, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok) {
            let Some(of) = entry.file_name().to_str().and_then(stem_of).map(str::to_owned) else {
                continue;
            };
            let modified = entry.metadata().and_then(|about| about.modified());
            let Ok(age) = modified.map(|modified| age(modified, now)) else { continue };
            if !served.contains(&of) {
                waiting.push((age, entry.path()));
            } else if age.as_secs() >= DAY
                && let Err(error) = touch(&entry.path(), now)
            {
                tracing::warn!(path = %entry.path().display(), %error, "a baseline in use cannot be marked as such");
            }
        }
        waiting.sort_unstable();
        for (at, (age, path)) in waiting.iter().enumerate() {
            if *age < WAITING && at < FILES_MAX {
                continue;
            }
            match fs::remove_file(path) {
                Ok(()) => {
                    self.forgotten += 1;
                    tracing::info!(path = %path.display(), days = age.as_secs() / DAY, "a baseline of a version that is not served any more is forgotten");
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an old baseline cannot be removed");
                }
            }
        }
    }

    /// How many files were removed because nobody came for them.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// What the names of a version's files begin with. Names of models and versions have no `@`.
fn stem(key: &VersionKey) -> String {
    format!("{}@{}", key.model, key.version)
}

/// The stem of the name of a file that is kept here, written to the end or not.
fn stem_of(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    let stem = name.strip_suffix(".json").or_else(|| name.strip_suffix(".rows"))?;
    stem.contains('@').then_some(stem)
}

/// How long ago that was; nothing for what lies ahead, as after a clock was set back.
fn age(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

fn touch(path: &Path, now: SystemTime) -> io::Result<()> {
    File::options().write(true).open(path)?.set_modified(now)
}

fn read_rows(path: &Path) -> Result<Option<OwnedRows>, RowsError> {
    let Some(bytes) = read_at_most(path, ROWS_BYTES_MAX)? else { return Ok(None) };
    if bytes.len() > ROWS_BYTES_MAX {
        return Err(RowsError::Large);
    }
    let rows: OwnedRows = unseal(MARK, &bytes)?;
    if rows.learner.is_sound() { Ok(Some(rows)) } else { Err(RowsError::Unsound) }
}

/// The content of a baseline's file, which may be one byte too long; `None` where there is none.
pub(super) fn read_baseline(path: &Path) -> io::Result<Option<Vec<u8>>> {
    read_at_most(path, FILE_BYTES_MAX)
}

/// Reads a file, of one that is too long one byte more than there may be.
fn read_at_most(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
