//! The golden sets that models name for versions at servers: whether they can be used now.
//!
//! Owns when such a file is read, and what was found in it. A look at a version without its golden set asks only whether
//! it answers, so that a file that is damaged after the start is told. Never judges a version by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Releases;
use crate::control::admission::mistake_in_golden;
use crate::domain::ids::ModelName;
use crate::domain::lifecycle::policy::Policy;

/// How often it is looked whether a file has changed.
const EVERY: Duration = Duration::from_secs(10);

/// What tells one content of a file from another.
type Stamp = Option<(u64, SystemTime)>;

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    stamp: Stamp,
    /// Where it is wrong, if it is.
    verdict: Result<(), String>,
}

/// The files, as they were last read.
#[derive(Debug, Default)]
pub(super) struct GoldenFiles {
    found: BTreeMap<PathBuf, Found>,
    reading: Option<oneshot::Receiver<BTreeMap<PathBuf, Found>>>,
    last: Option<Instant>,
}

impl GoldenFiles {
    /// Begins to read those that have changed, if the last time is long ago.
    fn begin(&mut self, files: impl FnOnce() -> BTreeSet<PathBuf>) {
        let is_early = self.last.is_some_and(|last| last.elapsed() < EVERY);
        if self.reading.is_some() || is_early {
            return;
        }
        self.last = Some(Instant::now());
        let (files, mut before) = (files(), self.found.clone());
        if files.is_empty() && before.is_empty() {
            return;
        }
        let (told, reading) = oneshot::channel();
        self.reading = Some(reading);
        // Nobody listens any more once the life cycle has ended.
        tokio::task::spawn_blocking(move || {
            let read = files.into_iter().map(|file| {
                let found = read(&file, before.remove(&file));
                (file, found)
            });
            drop(told.send(read.collect()));
        });
    }

    /// Takes in what was read; whether any is new.
    fn take(&mut self) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        let found = match reading.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return false,
            Err(oneshot::error::TryRecvError::Closed) => None,
            Ok(found) => Some(found),
        };
        self.reading = None;
        let Some(found) = found.filter(|found| *found != self.found) else { return false };
        self.found = found;
        true
    }

    fn verdict(&self, file: &Path) -> Option<Result<(), String>> {
        self.found.get(file).map(|found| found.verdict.clone())
    }
}

/// Reads a file, unless it is as it was `before`. Blocks.
fn read(file: &Path, before: Option<Found>) -> Found {
    let about = fs::metadata(file).ok();
    let stamp = about.and_then(|about| Some((about.len(), about.modified().ok()?)));
    match before {
        Some(before) if stamp.is_some() && before.stamp == stamp => before,
        _ => {
            let verdict = mistake_in_golden(file).map_or(Ok(()), |(_, what)| Err(what));
            Found { stamp, verdict }
        }
    }
}

impl Releases {
    /// Follows the golden sets that models name, and notes of each model whether its own can be used.
    pub(super) fn read_golden_files(&mut self) {
        let policies = &self.policies;
        let of = |(name, policy): (&ModelName, &Policy)| {
            Some((name.clone(), policy.release.golden.clone()?))
        };
        self.golden.begin(|| policies.models.iter().filter_map(of).map(|(_, file)| file).collect());
        if !self.golden.take() {
            return;
        }
        let named: Vec<(ModelName, PathBuf)> = policies.models.iter().filter_map(of).collect();
        for (name, file) in named {
            let verdict = self.golden.verdict(&file);
            if self.observed.models.get(&name).is_none_or(|seen| seen.golden != verdict) {
                if let Some(Err(why)) = &verdict {
                    tracing::warn!(model = %name, why, "the golden set of a model cannot be used");
                }
                self.seen_mut(&name).golden = verdict;
                self.due.mark(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str =
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}],"labels":[0]}"#;

    /// Reads what has changed, some time later.
    async fn read_again(files: &mut GoldenFiles, path: &Path) -> bool {
        tokio::time::advance(EVERY).await;
        files.begin(|| BTreeSet::from([path.to_path_buf()]));
        let reading = files.reading.take().expect("it is read");
        let (told, again) = oneshot::channel();
        told.send(reading.await.expect("read")).expect("somebody listens");
        files.reading = Some(again);
        files.take()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_wrong_from_when_it_is_damaged_until_it_is_mended() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("truths.jsonl");
        let mut files = GoldenFiles::default();
        assert!(!files.take() && files.verdict(&path).is_none());
        fs::write(&path, CASE).expect("written");
        assert!(read_again(&mut files, &path).await);
        assert_eq!(files.verdict(&path), Some(Ok(())));
        files.begin(|| panic!("it is too early"));
        assert!(!read_again(&mut files, &path).await, "nothing is new");
        fs::write(&path, format!("{CASE}\n{{\"inputs\":")).expect("written");
        assert!(read_again(&mut files, &path).await);
        let why = files.verdict(&path).expect("read").expect_err("damaged");
        assert!(why.starts_with("line 2 of ") && why.contains("truths.jsonl"), "{why}");
        fs::remove_file(&path).expect("gone");
        assert!(read_again(&mut files, &path).await);
        assert!(files.verdict(&path).expect("read").is_err());
        fs::write(&path, CASE).expect("written");
        assert!(read_again(&mut files, &path).await);
        assert_eq!(files.verdict(&path), Some(Ok(())));
    }
}
