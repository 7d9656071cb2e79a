//! The state of the join on disk, so that a restart reads on where the last one stopped.
//!
//! Owns one file below `state/monitor`: written, synced, renamed, with a checksum. It is a cache of the log and never
//! more: what is damaged, was written by another version of the program or under other settings, or knows more than
//! the log does, is left aside, and everything is read from the log again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::series::{Floors, VersionQuality};
use super::state::Fate;
use super::store::Store;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::spec::LabelsSpec;
use crate::domain::stats::window::Minute;
use crate::monitor::disk::write_whole;

/// What a file begins with. The number is the form's: a test fails when the form changes and the number does not.
const MAGIC: &[u8] = b"PMLABELS3\n";
/// The name of the file.
const FILE: &str = "labels.bin";

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved<'s> {
    /// Every row up to this number is in it.
    pub(super) position: u64,
    pub(super) now_us: u64,
    pub(super) floors: Floors,
    /// Statements that found no prediction; predictions and windows dropped before their time.
    pub(super) lost: [u64; 3],
    /// Predictions before this minute were dropped before their time.
    pub(super) dropped_to: Minute,
    pub(super) models: Vec<SavedModel<'s>>,
    pub(super) store: Cow<'s, Store>,
}

/// What is kept of a model.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedModel<'s> {
    pub(super) names: Cow<'s, [VersionName]>,
    pub(super) versions: Cow<'s, [VersionQuality]>,
    pub(super) slices: Cow<'s, [String]>,
    pub(super) fates: Cow<'s, BTreeMap<Fate, u64>>,
}

/// Why there is nothing to go on from.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it is damaged")]
    Damaged,
    #[error("it was written by another version of the program")]
    Form,
    #[error("it was written under other settings")]
    Settings,
    #[error("it knows row {knows}, and the log ends with {ends}")]
    Ahead { knows: u64, ends: u64 },
}

/// The place of the file, and what must not have changed for it to be good.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    settings: u64,
}

impl Checkpoint {
    /// Below the directory of the monitor's state.
    pub(super) fn new<'m>(
        state: &Path,
        models: impl Iterator<Item = (&'m ModelName, &'m LabelsSpec)>,
        window_us: u64,
    ) -> Self {
        let mut text = format!("{} {window_us}", env!("CARGO_PKG_VERSION"));
        for (name, labels) in models {
            text.push_str(&format!(" {name} {labels:?}"));
        }
        Self { path: state.join(FILE), settings: XxHash3_64::oneshot(text.as_bytes()) }
    }

    /// Reads what was kept; `None` where nothing was. The log ends with row `ends`.
    pub(super) fn read(&self, ends: u64) -> Result<Option<Saved<'static>>, CheckpointError> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let saved = self.decode(&bytes)?;
        let knows = saved.position;
        if knows > ends { Err(CheckpointError::Ahead { knows, ends }) } else { Ok(Some(saved)) }
    }

    /// Keeps the bytes of [`Self::encode`].
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        write_whole(&self.path, bytes)
    }

    /// Forgets what was kept: it would be old by the time somebody asks again.
    pub(super) fn remove(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "a checkpoint of labels cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }

    pub(super) fn encode(&self, saved: &Saved<'_>) -> Option<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.settings.to_le_bytes());
        let mut bytes = postcard::to_extend(saved, bytes).ok()?;
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        Some(bytes)
    }

    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Saved<'static>, CheckpointError> {
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(CheckpointError::Damaged)?;
        let rest = body.strip_prefix(MAGIC).ok_or(CheckpointError::Form)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(CheckpointError::Damaged);
        }
        let (settings, rest) = rest.split_first_chunk::<8>().ok_or(CheckpointError::Damaged)?;
        if u64::from_le_bytes(*settings) != self.settings {
            return Err(CheckpointError::Settings);
        }
        postcard::from_bytes(rest).map_err(|_bad| CheckpointError::Damaged)
    }
}
