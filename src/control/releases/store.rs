//! The artifacts that were fetched: `data_dir/models/MODEL/VERSION/DIGEST/`, one folder for each content.
//!
//! Owns these folders: how one comes to be (copied beside, held against the announced digests, synced up to the
//! root, renamed), that one is still what it was before it is used, and how one goes. Never deletes what lies anywhere
//! else: a source keeps its files, whatever is evicted here.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::{Key, content};
use crate::domain::discovery::Artifact;
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::proof::Fetched;
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::State;
use crate::inference::folder::{self, MODEL_FILE};

/// The folder below `data_dir`.
const FOLDER: &str = "models";
/// The ending of a folder that is being filled.
const UNFINISHED: &str = ".fetching";
/// How much is copied at a time.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Digits of the digest in a folder's name.
const DIGITS: usize = 32;

/// Why an artifact could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// A file could not be read or written.
    #[error("{path}: {cause}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A file is another than was announced.
    #[error("`{0}` is not what was announced: its sha256 is another")]
    Other(String),
    /// The source has changed while it was copied.
    #[error("the folder changed while it was copied")]
    Changed,
    /// Nobody waits for the copy any more.
    #[error("it is not wanted any more")]
    Stopped,
}

impl FetchError {
    /// Whether the content is not the one that was announced, though nobody is changing it.
    pub(super) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Other(_))
    }
}

/// Stops a copy when it is dropped: whoever wanted it is gone.
#[derive(Debug, Default)]
pub(super) struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// What the copy looks at.
    pub(super) fn watched(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The store of one gateway.
#[derive(Debug, Clone)]
pub(super) struct Store {
    root: PathBuf,
    /// So that no two attempts fill the same folder.
    attempts: Arc<AtomicU64>,
}

impl Store {
    /// The store below `data_dir`.
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { root: data_dir.join(FOLDER), attempts: Arc::default() }
    }

    /// The folder of a content.
    pub(super) fn folder(
        &self,
        model: &ModelName,
        version: &VersionName,
        digest: &Digest,
    ) -> PathBuf {
        let digits = digest.as_str().get(..DIGITS).unwrap_or(digest.as_str());
        self.root.join(model.as_str()).join(version.as_str()).join(digits)
    }

    /// The model file of a content.
    pub(super) fn model_file(
        &self,
        model: &ModelName,
        version: &VersionName,
        digest: &Digest,
    ) -> PathBuf {
        self.folder(model, version, digest).join(MODEL_FILE)
    }

    /// Whether a content is here.
    pub(super) fn has(&self, model: &ModelName, version: &VersionName, digest: &Digest) -> bool {
        self.model_file(model, version, digest).is_file()
    }

    /// Holds what lies here against its digest. Blocks for as long as reading all of it takes.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn verify(
        &self,
        model: &ModelName,
        version: &VersionName,
        digest: &Digest,
    ) -> Result<(), String> {
        let folder = self.folder(model, version, digest);
        let read = folder::marks(&folder).and_then(|marks| folder::digests(&folder, &marks));
        let path = folder.display();
        match read {
            Err(error) => Err(format!("{path} cannot be read: {error}")),
            Ok(digests) if content::digest_of(&digests) == *digest => Ok(()),
            Ok(_) => {
                Err(format!("{path} is not what was fetched: a file was changed, or is missing"))
            }
        }
    }

    /// Copies an artifact and holds it against what was announced; one that is here and whole stays, with the files
    /// about it as they are announced now. Ends early once `stopped` says so. Blocks.
    pub(super) fn fetch(
        &self,
        model: &ModelName,
        version: &VersionName,
        artifact: &Artifact,
        stopped: &AtomicBool,
    ) -> Result<Fetched, FetchError> {
        let began = Instant::now();
        let digest = content::digest_of(&artifact.digests);
        let target = self.folder(model, version, &digest);
        if self.has(model, version, &digest) && self.verify(model, version, &digest).is_ok() {
            self.refresh(artifact, &target, stopped)?;
            return Ok(Fetched::verified(artifact.bytes, 0));
        }
        let aside = self.aside(&target);
        let copied = copy(artifact, &aside, stopped);
        let bytes = copied.inspect_err(|_| drop(fs::remove_dir_all(&aside)))?;
        let placed = self.put_away(&target).and_then(|()| fs::rename(&aside, &target));
        if let Err(error) = placed {
            drop(fs::remove_dir_all(&aside));
            return Err(failed(&target)(error));
        }
        Self::sync_above(&target)?;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Fetched::verified(bytes, took_ms))
    }

    /// Takes over what is said about an artifact that is here: golden answers, a baseline, a signature.
    fn refresh(
        &self,
        artifact: &Artifact,
        target: &Path,
        stopped: &AtomicBool,
    ) -> Result<(), FetchError> {
        let about = artifact.digests.iter().filter(|(name, _)| content::is_about(name));
        for (name, announced) in about {
            let to = target.join(name);
            if content::digest_of_file(&to)
                .is_ok_and(|(known, _)| known == content::told(announced))
            {
                continue;
            }
            // Hidden names are no part of a content.
            let aside = target.join(format!(".{}", self.attempts.fetch_add(1, Ordering::Relaxed)));
            let copied = copy_file(&artifact.folder.join(name), &aside, stopped);
            let (_, digest) = copied.inspect_err(|_| drop(fs::remove_file(&aside)))?;
            if digest != *announced {
                drop(fs::remove_file(&aside));
                return Err(FetchError::Changed);
            }
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(failed(parent))?;
            }
            fs::rename(&aside, &to).map_err(failed(&to))?;
            sync_folder(to.parent().unwrap_or(target))?;
        }
        Ok(())
    }

    /// A name beside `folder` that no other attempt has.
    fn aside(&self, folder: &Path) -> PathBuf {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        folder.with_extension(format!("{attempt}{UNFINISHED}"))
    }

    /// Removes a folder under its own name, if it is there. Renamed first: a folder under its own name is whole, also
    /// when the process ends in between.
    fn put_away(&self, folder: &Path) -> io::Result<()> {
        let aside = self.aside(folder);
        match fs::rename(folder, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| fs::remove_dir_all(&aside)),
        }
    }

    /// Syncs the folders above a content, so that its name outlasts a power cut.
    fn sync_above(target: &Path) -> Result<(), FetchError> {
        // Those of the version, of the model, of all models, and `data_dir`.
        target.ancestors().skip(1).take(4).try_for_each(sync_folder)
    }

    /// Deletes a content. Blocks.
    pub(super) fn delete(
        &self,
        model: &ModelName,
        version: &VersionName,
        digest: &Digest,
    ) -> io::Result<()> {
        let folder = self.folder(model, version, digest);
        self.put_away(&folder)?;
        // The folders above go when they are empty.
        for above in folder.ancestors().skip(1).take(2) {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Sweeps, deletes what is written down as deleted, and tells which contents of the state are here. Blocks.
    pub(super) fn take_up(&self, state: &State) -> BTreeSet<(Key, Digest)> {
        if let Err(error) = self.sweep() {
            tracing::warn!(%error, "what was half fetched is not swept");
        }
        let versions = state.models().flat_map(|(model, entry)| {
            entry.versions().map(move |(version, known)| (model, version, known))
        });
        let mut here = BTreeSet::new();
        for (model, version, known) in versions {
            let digest = &known.release().digest;
            if !self.has(model, version, digest) {
                continue;
            }
            let is_deleted =
                matches!(known.stage(), Stage::Evicted(evicted) if evicted.is_deleted());
            if !is_deleted {
                here.insert(((model.clone(), version.clone()), digest.clone()));
            } else if let Err(error) = self.delete(model, version, digest) {
                tracing::warn!(%model, %version, %error, "what is written down as deleted is still here");
            }
        }
        here
    }

    /// Removes what was being fetched or deleted when the process ended. Blocks.
    fn sweep(&self) -> io::Result<usize> {
        let mut swept = 0;
        for model in folders(&self.root)? {
            for version in folders(&model)? {
                for content in folders(&version)? {
                    if !content.to_string_lossy().ends_with(UNFINISHED) {
                        continue;
                    }
                    // One that stays must not keep the others from going.
                    match fs::remove_dir_all(&content) {
                        Ok(()) => swept += 1,
                        Err(error) => {
                            let path = content.display();
                            tracing::warn!(%path, %error, "a half fetched artifact is not removed");
                        }
                    }
                }
                // A process that ended between the two has left it empty; one that is not stays.
                let _not_empty = fs::remove_dir(&version);
            }
            let _not_empty = fs::remove_dir(&model);
        }
        Ok(swept)
    }
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Copies every announced file into `aside`; how many bytes.
fn copy(artifact: &Artifact, aside: &Path, stopped: &AtomicBool) -> Result<u64, FetchError> {
    let source = &artifact.folder;
    let before = folder::marks(source).map_err(failed(source))?;
    fs::create_dir_all(aside).map_err(failed(aside))?;
    let mut total = 0;
    let mut created = BTreeSet::from([aside.to_path_buf()]);
    for (name, announced) in &artifact.digests {
        let (from, to) = (source.join(name), aside.join(name));
        if let Some(parent) = to.parent().filter(|parent| *parent != aside) {
            fs::create_dir_all(parent).map_err(failed(parent))?;
            let within = parent.ancestors().take_while(|above| *above != aside);
            created.extend(within.map(Path::to_path_buf));
        }
        let (bytes, digest) = copy_file(&from, &to, stopped)?;
        if digest != *announced {
            let after = folder::marks(source).map_err(failed(source))?;
            let changed = before != after;
            return Err(if changed {
                FetchError::Changed
            } else {
                FetchError::Other(name.clone())
            });
        }
        total += bytes;
    }
    created.iter().try_for_each(|folder| sync_folder(folder))?;
    Ok(total)
}

fn copy_file(from: &Path, to: &Path, stopped: &AtomicBool) -> Result<(u64, [u8; 32]), FetchError> {
    let mut source = File::open(from).map_err(failed(from))?;
    let mut target = File::create(to).map_err(failed(to))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = source.read(&mut buffer).map_err(failed(from))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        if stopped.load(Ordering::Relaxed) {
            return Err(FetchError::Stopped);
        }
        hasher.update(piece);
        target.write_all(piece).map_err(failed(to))?;
        bytes += piece.len() as u64;
    }
    target.sync_all().map_err(failed(to))?;
    Ok((bytes, hasher.finalize().into()))
}

fn sync_folder(path: &Path) -> Result<(), FetchError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> FetchError + use<> {
    let path = path.to_path_buf();
    move |cause| FetchError::Io { path: path.clone(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO: AtomicBool = AtomicBool::new(false);

    fn names() -> (ModelName, VersionName) {
        (ModelName::new("m"), VersionName::new("v1"))
    }

    /// A folder with a model file and a card, as discovery announces it.
    fn announced(dir: &Path) -> Artifact {
        let folder = dir.join("source");
        fs::create_dir_all(folder.join("data")).unwrap();
        fs::write(folder.join(MODEL_FILE), "model").unwrap();
        fs::write(folder.join("data/weights"), "weights").unwrap();
        let digests = folder::digests(&folder, &folder::marks(&folder).unwrap()).unwrap();
        Artifact { folder, digests, bytes: 12, ..Artifact::default() }
    }

    #[test]
    fn what_is_fetched_is_whole_and_what_is_deleted_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (model, version) = names();
        let (store, artifact) = (Store::new(dir.path()), announced(dir.path()));
        let digest = content::digest_of(&artifact.digests);
        assert!(!store.has(&model, &version, &digest));
        assert_eq!(store.fetch(&model, &version, &artifact, &GO).unwrap().bytes(), 12);
        assert!(store.has(&model, &version, &digest));
        let folder = store.folder(&model, &version, &digest);
        assert_eq!(fs::read(folder.join("data/weights")).unwrap(), b"weights");
        store.delete(&model, &version, &digest).unwrap();
        store.delete(&model, &version, &digest).unwrap();
        assert!(!store.has(&model, &version, &digest));
        assert!(!dir.path().join("models/m").exists(), "empty folders go with it");
        assert!(artifact.folder.join(MODEL_FILE).exists(), "the source keeps its own");
    }

    #[test]
    fn a_file_that_is_another_than_announced_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (model, version) = names();
        let (store, mut artifact) = (Store::new(dir.path()), announced(dir.path()));
        artifact.digests.insert(MODEL_FILE.to_owned(), [7; 32]);
        let error = store.fetch(&model, &version, &artifact, &GO).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        fs::remove_file(artifact.folder.join("data/weights")).unwrap();
        let error = store.fetch(&model, &version, &artifact, &GO).unwrap_err();
        assert!(!error.is_corrupt(), "it may come back: {error}");
        assert_eq!(store.sweep().unwrap(), 0);
    }

    #[test]
    fn what_was_changed_is_found_and_fetched_again_and_what_is_about_it_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (model, version) = names();
        let (store, mut artifact) = (Store::new(dir.path()), announced(dir.path()));
        let digest = content::digest_of(&artifact.digests);
        store.fetch(&model, &version, &artifact, &GO).unwrap();
        store.verify(&model, &version, &digest).unwrap();
        let folder = store.folder(&model, &version, &digest);
        fs::write(folder.join("data/weights"), "other").unwrap();
        let why = store.verify(&model, &version, &digest).unwrap_err();
        assert!(why.contains("is not what was fetched"), "{why}");
        fs::remove_dir_all(folder.join("data")).unwrap();
        assert!(store.verify(&model, &version, &digest).is_err(), "a file is missing");
        fs::write(artifact.folder.join("golden.jsonl"), "mended").unwrap();
        let marks = folder::marks(&artifact.folder).unwrap();
        artifact.digests = folder::digests(&artifact.folder, &marks).unwrap();
        store.fetch(&model, &version, &artifact, &GO).unwrap();
        store.verify(&model, &version, &digest).unwrap();
        fs::write(artifact.folder.join("golden.jsonl"), "again").unwrap();
        let marks = folder::marks(&artifact.folder).unwrap();
        artifact.digests = folder::digests(&artifact.folder, &marks).unwrap();
        store.fetch(&model, &version, &artifact, &GO).unwrap();
        assert_eq!(fs::read(folder.join("golden.jsonl")).unwrap(), b"again");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing is left over");
    }

    #[test]
    fn a_copy_that_nobody_waits_for_ends_and_does_not_touch_that_of_the_next_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let (model, version) = names();
        let (store, artifact) = (Store::new(dir.path()), announced(dir.path()));
        let digest = content::digest_of(&artifact.digests);
        let target = store.folder(&model, &version, &digest);
        assert_ne!(store.aside(&target), store.aside(&target));
        let stopper = Stopper::default();
        let stopped = stopper.watched();
        drop(stopper);
        let error = store.fetch(&model, &version, &artifact, &stopped).unwrap_err();
        assert!(matches!(error, FetchError::Stopped), "{error}");
        assert!(!store.has(&model, &version, &digest));
        assert_eq!(store.sweep().unwrap(), 0, "nothing is left over");
        store.fetch(&model, &version, &artifact, &GO).unwrap();
    }

    #[test]
    fn what_was_left_half_done_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let half = dir.path().join("models/m/v1/abcd.fetching");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join(MODEL_FILE), "mod").unwrap();
        let store = Store::new(dir.path());
        let whole = dir.path().join("models/m/v2/abcd");
        fs::create_dir_all(&whole).unwrap();
        assert_eq!(store.sweep().unwrap(), 1);
        assert!(!dir.path().join("models/m/v1").exists() && whole.exists());
    }
}
