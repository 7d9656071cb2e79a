//! Which model files this very program has let pass before.
//!
//! Owns a small file for each digest below `data_dir`, so that a restart does not look at the same file
//! twice. A verdict counts for the program and the limits that it was given by and under, and for the inputs that
//! `model.toml` describes, of which one row is tried. Never counts for a model that keeps data in further files.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{OWN_PROGRAM, Verdict, VetLimits};
use crate::domain::spec::ModelCard;
use crate::inference::artifact::LoadLimits;
use crate::inference::artifact::seal::hex;

/// The folder below `data_dir`.
const FOLDER: &str = "state/vetted";
/// The most verdicts that are kept; the oldest are removed.
const KEPT_MAX: usize = 256;
/// The most bytes of one.
const BYTES_MAX: u64 = 1024 * 1024;

/// Verdicts of earlier runs.
#[derive(Debug)]
pub struct Remembered {
    folder: PathBuf,
    circumstances: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    circumstances: String,
    verdict: Verdict,
}

impl Remembered {
    /// Verdicts below `data_dir`, given by this program under these limits.
    pub fn new(data_dir: &Path, load: LoadLimits, limits: &VetLimits) -> Self {
        let program = fs::metadata(OWN_PROGRAM).map_or_else(
            // No two runs are then the same.
            |_unknown| format!("process {}", std::process::id()),
            |file| format!("{} bytes, {}.{:09}", file.len(), file.mtime(), file.mtime_nsec()),
        );
        let circumstances = format!(
            "{} ({program}); file {}, run {}, memory {}, time {:?}",
            env!("CARGO_PKG_VERSION"),
            load.file_bytes,
            load.run_bytes,
            limits.memory,
            limits.time,
        );
        Self { folder: data_dir.join(FOLDER), circumstances }
    }

    /// The verdict about the model file with this sha256 beside this card, if there is one that still counts.
    pub fn find(&self, file: [u8; 32], card: Option<&ModelCard>) -> Option<Verdict> {
        let path = self.path(file);
        if fs::metadata(&path).ok()?.len() > BYTES_MAX {
            return None;
        }
        let entry: Entry = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let counts = entry.circumstances == self.circumstances(card)
            && !entry.verdict.further
            && entry.verdict.digest == hex(&file);
        counts.then_some(entry.verdict)
    }

    /// Keeps a verdict. That it cannot be kept costs time at the next start and nothing else.
    pub fn keep(&self, file: [u8; 32], card: Option<&ModelCard>, verdict: &Verdict) {
        if verdict.further {
            return;
        }
        let entry = Entry { circumstances: self.circumstances(card), verdict: verdict.clone() };
        if let Err(error) = self.write(&self.path(file), &entry) {
            tracing::debug!(%error, "a verdict about a model is not kept");
        }
    }

    /// Those of a look at a model with this card.
    fn circumstances(&self, card: Option<&ModelCard>) -> String {
        let inputs = card.map(|card| &card.inputs).filter(|inputs| !inputs.is_empty());
        let described = inputs.map(|inputs| hex(&Sha256::digest(format!("{inputs:?}"))));
        format!("{}; inputs {}", self.circumstances, described.as_deref().unwrap_or("as they are"))
    }

    fn write(&self, path: &Path, entry: &Entry) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        self.make_room()?;
        let next = path.with_extension("next");
        fs::write(&next, serde_json::to_vec(entry)?)?;
        fs::rename(next, path)
    }

    fn make_room(&self) -> io::Result<()> {
        let mut kept: Vec<_> = fs::read_dir(&self.folder)?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.metadata().ok()?.mtime(), entry.path()))
            })
            .collect();
        kept.sort();
        let surplus = (kept.len() + 1).saturating_sub(KEPT_MAX);
        kept.into_iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn path(&self, file: [u8; 32]) -> PathBuf {
        self.folder.join(format!("{}.json", hex(&file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::InputCard;

    fn verdict(file: [u8; 32], further: bool) -> Verdict {
        Verdict {
            digest: hex(&file),
            inputs: vec![],
            outputs: vec![],
            cost_us: Some(1),
            memory_peak: 2,
            descriptors: 3,
            further,
        }
    }

    #[test]
    fn a_verdict_counts_for_the_same_file_program_and_limits_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let (load, limits) = (LoadLimits::default(), VetLimits::default());
        let kept = Remembered::new(dir.path(), load, &limits);
        let file = [7; 32];
        assert_eq!(kept.find(file, None), None);
        kept.keep(file, None, &verdict(file, false));
        assert_eq!(kept.find(file, None), Some(verdict(file, false)));
        assert_eq!(kept.find([8; 32], None), None);
        let stricter = VetLimits { memory: 1, ..limits };
        assert_eq!(Remembered::new(dir.path(), load, &stricter).find(file, None), None);
        let smaller = LoadLimits { run_bytes: 1, ..load };
        assert_eq!(Remembered::new(dir.path(), smaller, &limits).find(file, None), None);
        let path = kept.path(file);
        fs::write(&path, "{").expect("written");
        assert_eq!(kept.find(file, None), None);
        kept.keep([9; 32], None, &verdict([9; 32], true));
        assert_eq!(kept.find([9; 32], None), None, "further files may have changed");
    }

    #[test]
    fn another_sample_is_looked_at_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let kept = Remembered::new(dir.path(), LoadLimits::default(), &VetLimits::default());
        let card = |number: f64| {
            let mut card = ModelCard { interface: Some(1), ..ModelCard::default() };
            let input = InputCard { sample: vec![number], ..InputCard::default() };
            card.inputs.insert("x".to_owned(), input);
            card
        };
        let file = [7; 32];
        kept.keep(file, Some(&card(5.0)), &verdict(file, false));
        assert_eq!(kept.find(file, Some(&card(5.0))), Some(verdict(file, false)));
        assert_eq!(kept.find(file, Some(&card(6.0))), None);
        assert_eq!(kept.find(file, None), None);
        kept.keep(file, None, &verdict(file, false));
        // What is about the outputs is not tried.
        assert_eq!(kept.find(file, Some(&ModelCard::default())), Some(verdict(file, false)));
    }

    #[test]
    fn the_oldest_verdicts_make_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let kept = Remembered::new(dir.path(), LoadLimits::default(), &VetLimits::default());
        for number in 0..KEPT_MAX + 5 {
            let mut file = [0; 32];
            file[..8].copy_from_slice(&(number as u64).to_le_bytes());
            kept.keep(file, None, &verdict(file, false));
        }
        let count = fs::read_dir(dir.path().join(FOLDER)).expect("a folder").count();
        assert_eq!(count, KEPT_MAX);
    }
}
