//! A directory of models: `MODEL/VERSION/model.onnx`.
//!
//! Owns finding the folders and when each is complete: by a `READY` that agrees with the files, or, where
//! none is asked for, by staying as it is for a while. The system's word about changes is only a hint; every
//! round lists the whole directory, which may lie on a network. Never loads a model.
//!
//! ```text
//! new folder ─▶ no model.onnx: waits ─▶ READY? ── agrees ───────────────▶ complete
//!                                        │  └─ disagrees: waits              ▲
//!                                        └─ none: waits if asked for, or ─ settled
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::source::{Look, Source};
use crate::config::provenance_beside;
use crate::domain::discovery::{
    Answer, Artifact, Facts, Keeper, LISTED_MAX, Listing, Provenance, Release, Thing,
};
use crate::domain::ids::{ModelName, VersionName, is_valid_name};
use crate::domain::spec::DirectorySpec;
use crate::inference::folder::{self, Digests, MODEL_FILE, Marks, Ready};

/// Endings of folders that somebody is still writing.
const UNFINISHED: [&str; 4] = [".tmp", ".part", ".partial", ".next"];
/// After this time the digests of a folder are read again though nothing seems to have changed.
const READ_AGAIN: Duration = Duration::from_secs(3600);

/// The directory and what is remembered of its folders between two rounds.
#[derive(Debug)]
pub(super) struct Directory {
    spec: DirectorySpec,
    folders: BTreeMap<Release, Known>,
}

/// What is remembered of one folder.
#[derive(Debug, Clone)]
struct Known {
    marks: Marks,
    /// Since when it has these marks.
    since: Instant,
    /// Its digests with these marks, and when they were read.
    digests: Option<(Digests, Instant)>,
    /// What its card says of how it came about, read with them.
    provenance: Provenance,
    /// Its digests in an earlier run of the gateway.
    earlier: Digests,
}

impl Known {
    fn new(earlier: Digests) -> Self {
        Self {
            marks: Marks::new(),
            since: Instant::now(),
            digests: None,
            provenance: Provenance::default(),
            earlier,
        }
    }
}

impl Directory {
    /// Looks where `spec` says; what `keeper` has kept from an earlier run need not settle again.
    pub(super) fn new(spec: DirectorySpec, keeper: &Keeper) -> Self {
        let earlier =
            keeper.things().iter().filter_map(|(thing, kept)| match (thing, &kept.facts) {
                (Thing::Artifact(model, version), Facts::Artifact(artifact)) => {
                    let known = Known::new(artifact.digests.clone());
                    Some(((model.clone(), version.clone()), known))
                }
                _ => None,
            });
        Self { spec, folders: earlier.collect() }
    }
}

impl Source for Directory {
    async fn look(&mut self) -> Look {
        let mut round = Round {
            spec: self.spec.clone(),
            folders: std::mem::take(&mut self.folders),
            seen: BTreeSet::new(),
            listing: Listing::default(),
            trouble: None,
            settles_in: None,
        };
        let looked = tokio::task::spawn_blocking(move || {
            let read = round.models();
            (round, read)
        });
        let (mut round, read) = match looked.await {
            Ok(looked) => looked,
            Err(gone) => return Answer::Failed(gone.to_string()).into(),
        };
        let complete = read.is_ok() && round.trouble.is_none();
        if complete {
            let seen = &round.seen;
            round.folders.retain(|release, _| seen.contains(release));
        }
        self.folders = round.folders;
        let answer = match (read, round.trouble) {
            (Err(error), _) => {
                let path = self.spec.path.display();
                Answer::Failed(format!("{path} cannot be listed: {error}"))
            }
            (Ok(()), Some(trouble)) => Answer::Part(round.listing, trouble),
            (Ok(()), None) => Answer::Whole(round.listing),
        };
        Look { answer, good_for: round.settles_in }
    }

    fn folders(&self) -> Vec<PathBuf> {
        let models = self.folders.keys().map(|(model, _)| self.spec.path.join(model.as_str()));
        let models: BTreeSet<PathBuf> = models.collect();
        let versions = self
            .folders
            .keys()
            .map(|(model, version)| self.spec.path.join(model.as_str()).join(version.as_str()));
        [self.spec.path.clone()].into_iter().chain(models).chain(versions).collect()
    }
}

/// One listing of the whole directory.
struct Round {
    spec: DirectorySpec,
    folders: BTreeMap<Release, Known>,
    seen: BTreeSet<Release>,
    listing: Listing,
    /// The first thing that could not be read.
    trouble: Option<String>,
    /// When a folder that is still settling should be looked at again.
    settles_in: Option<Duration>,
}

impl Round {
    fn models(&mut self) -> io::Result<()> {
        let path = self.spec.path.clone();
        for (model, folder) in folders(&path)? {
            match folders(&folder) {
                Ok(versions) => {
                    for (version, folder) in versions {
                        let release = (ModelName::new(model.as_str()), VersionName::new(version));
                        self.version(release, folder);
                    }
                }
                Err(error) => self.note(&folder, &error),
            }
        }
        Ok(())
    }

    fn note(&mut self, path: &Path, error: &io::Error) {
        self.trouble.get_or_insert_with(|| format!("{} cannot be read: {error}", path.display()));
    }

    fn version(&mut self, release: Release, path: PathBuf) {
        if self.seen.len() >= LISTED_MAX {
            self.trouble.get_or_insert_with(|| format!("more than {LISTED_MAX} versions"));
            return;
        }
        let mut known = self.folders.remove(&release).unwrap_or_else(|| Known::new(Digests::new()));
        match self.inspect(&path, &mut known) {
            Ok(waits_for) => {
                let (digests, provenance) = match (&waits_for, &known.digests) {
                    (None, Some((digests, _))) => (digests.clone(), known.provenance.clone()),
                    _ => (Digests::new(), Provenance::default()),
                };
                let artifact = Artifact {
                    folder: path,
                    digests,
                    provenance,
                    bytes: known.marks.values().map(folder::Mark::bytes).sum(),
                    waits_for,
                };
                let (model, version) = release.clone();
                self.listing.artifact(model, version, artifact);
            }
            // A folder may vanish, or a file change, while it is read: the next round knows.
            Err(error) => self.note(&path, &error),
        }
        self.seen.insert(release.clone());
        self.folders.insert(release, known);
    }

    /// Looks at one folder; what it waits for.
    fn inspect(&mut self, path: &Path, known: &mut Known) -> io::Result<Option<String>> {
        let marks = folder::marks(path)?;
        if marks != known.marks {
            known.marks = marks;
            known.since = Instant::now();
            known.digests = None;
        }
        if !known.marks.contains_key(MODEL_FILE) {
            return Ok(Some(format!("there is no {MODEL_FILE}")));
        }
        let has_ready =
            matches!(folder::ready(path, &Digests::new())?, Ready::Agrees | Ready::Disagrees(_));
        if !has_ready && self.spec.ready {
            return Ok(Some("there is no READY".to_owned()));
        }
        let settled = known.since.elapsed() >= self.spec.settle;
        if !has_ready && !settled && known.earlier.is_empty() {
            self.settles(known);
            return Ok(Some("it is not settled yet".to_owned()));
        }
        if known.digests.as_ref().is_none_or(|(_, read)| read.elapsed() >= READ_AGAIN) {
            known.digests = Some((folder::digests(path, &known.marks)?, Instant::now()));
            known.provenance = provenance_beside(&path.join(MODEL_FILE));
        }
        let Some((digests, _)) = &known.digests else { return Ok(None) };
        if has_ready {
            return Ok(match folder::ready(path, digests)? {
                Ready::Agrees => None,
                Ready::Disagrees(why) => Some(why),
                Ready::Absent => Some("READY went away".to_owned()),
            });
        }
        if settled || *digests == known.earlier {
            return Ok(None);
        }
        self.settles(known);
        Ok(Some("it is not settled yet".to_owned()))
    }

    fn settles(&mut self, known: &Known) {
        let left = self.spec.settle.saturating_sub(known.since.elapsed());
        self.settles_in = Some(self.settles_in.map_or(left, |before| before.min(left)));
    }
}

/// The folders below `path` whose names can be names here.
fn folders(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let unfinished = UNFINISHED.iter().any(|ending| name.ends_with(ending));
        if !is_valid_name(&name) || unfinished {
            continue;
        }
        match fs::metadata(entry.path()) {
            Ok(facts) if facts.is_dir() => found.push((name, entry.path())),
            Ok(_) => {}
            // A link to nowhere, or what was removed meanwhile, is no folder.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::discovery::Policy;

    struct Bench {
        dir: tempfile::TempDir,
        directory: Directory,
    }

    impl Bench {
        fn new(ready: bool, settle: Duration) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let spec =
                DirectorySpec { path: dir.path().join("models"), ready, settle, signature: None };
            let keeper = Keeper::new(Policy { shrink_after_ms: 0, confirm_ms: 0 });
            Self { directory: Directory::new(spec, &keeper), dir }
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.dir.path().join("models").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        async fn look(&mut self) -> Answer {
            self.directory.look().await.answer
        }

        /// What each folder waits for.
        async fn waits(&mut self) -> Vec<(String, Option<String>)> {
            let Answer::Whole(listing) = self.look().await else { panic!("no whole answer") };
            let mut keeper = Keeper::new(Policy { shrink_after_ms: 0, confirm_ms: 0 });
            keeper.observe(0, Answer::Whole(listing));
            let one = |(thing, kept): (&Thing, &crate::domain::discovery::Kept)| match &kept.facts {
                Facts::Artifact(artifact) => {
                    assert_eq!(artifact.digests.is_empty(), artifact.waits_for.is_some());
                    (thing.to_string(), artifact.waits_for.clone())
                }
                Facts::Backend(_) => panic!("a directory lists no servers"),
            };
            keeper.things().iter().map(one).collect()
        }
    }

    fn waiting(name: &str, for_what: &str) -> Vec<(String, Option<String>)> {
        vec![(name.to_owned(), Some(for_what.to_owned()))]
    }

    fn complete(name: &str) -> Vec<(String, Option<String>)> {
        vec![(name.to_owned(), None)]
    }

    #[tokio::test]
    async fn a_folder_waits_for_its_model_and_for_ready() {
        let mut bench = Bench::new(true, Duration::ZERO);
        assert!(matches!(bench.look().await, Answer::Failed(_)), "there is no directory");
        bench.write("iris/v1/model.toml", "");
        assert_eq!(bench.waits().await, waiting("iris/v1", "there is no model.onnx"));
        bench.write("iris/v1/model.onnx", "ab");
        assert_eq!(bench.waits().await, waiting("iris/v1", "there is no READY"));
        // `printf abc | sha256sum`
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        bench.write("iris/v1/READY", &format!("{digest}  model.onnx\n"));
        assert_eq!(
            bench.waits().await,
            waiting("iris/v1", "`model.onnx` is not yet what READY says")
        );
        bench.write("iris/v1/model.onnx", "abc");
        assert_eq!(bench.waits().await, complete("iris/v1"));
    }

    #[tokio::test]
    async fn without_ready_a_folder_must_stay_as_it_is() {
        let mut bench = Bench::new(false, Duration::from_secs(3600));
        bench.write("iris/v1/model.onnx", "abc");
        assert_eq!(bench.waits().await, waiting("iris/v1", "it is not settled yet"));
        let Look { good_for, .. } = bench.directory.look().await;
        assert!(good_for.is_some_and(|wait| wait <= Duration::from_secs(3600)));
        bench.directory.spec.settle = Duration::ZERO;
        assert_eq!(bench.waits().await, complete("iris/v1"));
    }

    #[tokio::test]
    async fn what_was_complete_in_an_earlier_run_need_not_settle_again() {
        let mut bench = Bench::new(false, Duration::ZERO);
        bench.write("iris/v1/model.onnx", "abc");
        let mut keeper = Keeper::new(Policy { shrink_after_ms: 0, confirm_ms: 0 });
        keeper.observe(0, bench.look().await);
        let spec =
            DirectorySpec { settle: Duration::from_secs(3600), ..bench.directory.spec.clone() };
        bench.directory = Directory::new(spec.clone(), &keeper);
        assert_eq!(bench.waits().await, complete("iris/v1"));
        bench.write("iris/v1/model.onnx", "abcd");
        bench.directory = Directory::new(spec, &keeper);
        assert_eq!(bench.waits().await, waiting("iris/v1", "it is not settled yet"));
    }

    #[tokio::test]
    async fn a_complete_folder_says_how_it_came_about_and_a_card_with_mistakes_says_nothing() {
        let mut bench = Bench::new(false, Duration::ZERO);
        bench.write("iris/v1/model.onnx", "abc");
        let card = "publisher = \"nightly\"\ntrained_at = \"1970-01-01T00:00:07Z\"\n";
        bench.write("iris/v1/model.toml", card);
        let said = async |bench: &mut Bench| {
            let Answer::Whole(listing) = bench.look().await else { panic!("no whole answer") };
            let mut keeper = Keeper::new(Policy { shrink_after_ms: 0, confirm_ms: 0 });
            keeper.observe(0, Answer::Whole(listing));
            match &keeper.things().values().next().unwrap().facts {
                Facts::Artifact(artifact) => artifact.provenance.clone(),
                Facts::Backend(_) => panic!("a directory lists no servers"),
            }
        };
        let publisher = Some("nightly".to_owned());
        assert_eq!(said(&mut bench).await, Provenance { publisher, trained_ms: Some(7000) });
        bench.write("iris/v1/model.toml", "publisher = 7\n");
        assert!(said(&mut bench).await.is_unknown(), "loading it tells of the mistake");
    }

    #[tokio::test]
    async fn what_is_no_version_is_not_listed() {
        let mut bench = Bench::new(false, Duration::ZERO);
        bench.write("iris/v1/model.onnx", "abc");
        bench.write("iris/v2.tmp/model.onnx", "abc");
        bench.write("iris/.v3/model.onnx", "abc");
        bench.write("iris/a b/model.onnx", "abc");
        bench.write("README", "text");
        assert_eq!(bench.waits().await, complete("iris/v1"));
    }
}
