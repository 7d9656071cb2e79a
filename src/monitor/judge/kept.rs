//! The evidence about drift on disk, so that a restart forgets none of it.
//!
//! Owns one file below `state/monitor`: written, synced, renamed, with a checksum. Windows are kept for a day; what all
//! windows before have brought together is here, with the baseline that it was held against. What is damaged is left
//! aside with a warning, and so is what rests on another baseline, margin or length of windows: then the windows that
//! are kept are heard from the first one on. Never judges.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::domain::ids::{ModelName, VersionName};
use crate::domain::stats::drift::docket::SavedDocket;
use crate::domain::stats::window::{Minute, WindowLength};
use crate::monitor::disk::write_whole;
use crate::monitor::sealed::{SealError, seal, unseal};
use crate::monitor::store::VersionKey;

/// What a file begins with. The number is the form's.
const MAGIC: &[u8] = b"PMDRIFT2\n";
/// The name of the file.
const FILE: &str = "drift.bin";
/// How long evidence waits for a version that is not there.
const WAITING_MINUTES: u32 = 40 * 24 * 60;

/// What evidence rests on beside the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) length: u32,
    pub(super) margin: f64,
}

impl Terms {
    pub(super) const fn new(length: WindowLength, margin: f64) -> Self {
        Self { length: length.minutes(), margin }
    }
}

/// What is kept about one version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) model: ModelName,
    pub(super) version: VersionName,
    /// That of the baseline.
    pub(super) fingerprint: u128,
    pub(super) docket: SavedDocket,
}

#[derive(Serialize, Deserialize)]
struct File {
    terms: Terms,
    versions: Vec<Saved>,
}

/// The file, and what of it still waits for its version.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    waiting: BTreeMap<VersionKey, Saved>,
}

#[derive(Debug, thiserror::Error)]
enum KeptError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Kept {
    /// Below the directory of the monitor's state.
    pub(super) fn new(state: &Path) -> Self {
        Self { path: state.join(FILE), waiting: BTreeMap::new() }
    }

    /// Reads what the last process has kept by the same terms.
    pub(super) fn read(&mut self, terms: Terms) {
        let file = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            read => {
                read.map_err(KeptError::from).and_then(|bytes| Ok(unseal::<File>(MAGIC, &bytes)?))
            }
        };
        match file {
            Ok(file) if file.terms == terms => {
                let key = |one: &Saved| VersionKey {
                    model: one.model.clone(),
                    version: one.version.clone(),
                };
                self.waiting = file.versions.into_iter().map(|one| (key(&one), one)).collect();
            }
            Ok(_other) => tracing::info!(
                "`monitor.drift` has another margin or window: evidence about drift begins with the windows that are kept"
            ),
            Err(error) => tracing::warn!(
                path = %self.path.display(),
                %error,
                "evidence about drift cannot be taken up: it begins with the windows that are kept"
            ),
        }
    }

    /// What was kept about a version against the baseline of this fingerprint. Against another it is of no use, and
    /// is forgotten.
    pub(super) fn take(&mut self, key: &VersionKey, fingerprint: u128) -> Option<SavedDocket> {
        let saved = self.waiting.remove(key)?;
        (saved.fingerprint == fingerprint).then_some(saved.docket)
    }

    /// Forgets what waits and has heard up to a minute that has not been: the clock was ahead.
    pub(super) fn retain(&mut self, has_been: impl Fn(Minute) -> bool) {
        self.waiting.retain(|_, saved| has_been(saved.docket.next()));
    }

    /// Writes `versions`, and what still waits.
    pub(super) fn write(&mut self, terms: Terms, open: Minute, mut versions: Vec<Saved>) {
        self.waiting.retain(|_, saved| saved.docket.next().plus(WAITING_MINUTES) > open);
        versions.extend(self.waiting.values().cloned());
        let bytes = seal(MAGIC, &File { terms, versions });
        let written = bytes.map_or(Ok(()), |bytes| write_whole(&self.path, &bytes));
        if let Err(error) = written {
            tracing::error!(path = %self.path.display(), %error, "evidence about drift cannot be kept: a restart forgets what is older than its windows");
        }
    }
}
