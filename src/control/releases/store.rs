//! The artifacts that were fetched: `data_dir/models/MODEL/VERSION/DIGEST/`, one folder for each content.
//!
//! Owns these folders: how one comes to be (copied beside, held against the announced digests, synced,
//! renamed), and how one goes. A folder that is there is whole. Never deletes what lies anywhere else: a
//! source keeps its files, whatever is evicted here.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::content;
use crate::domain::discovery::Artifact;
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::proof::Fetched;
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
}

impl FetchError {
    /// Whether the content is not the one that was announced, though nobody is changing it.
    pub(super) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Other(_))
    }
}

/// The store of one gateway.
#[derive(Debug, Clone)]
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    /// The store below `data_dir`.
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { root: data_dir.join(FOLDER) }
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

    /// Copies an artifact and holds it against what was announced. Blocks.
    pub(super) fn fetch(
        &self,
        model: &ModelName,
        version: &VersionName,
        artifact: &Artifact,
    ) -> Result<Fetched, FetchError> {
        let began = Instant::now();
        let target = self.folder(model, version, &content::digest_of(&artifact.digests));
        if target.join(MODEL_FILE).is_file() {
            return Ok(Fetched::verified(artifact.bytes, 0));
        }
        let aside = target.with_extension(UNFINISHED.trim_start_matches('.'));
        // What an earlier attempt has left is of no use.
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&aside)(error));
            }
            _ => {}
        }
        let copied = copy(artifact, &aside);
        let bytes = copied.inspect_err(|_| drop(fs::remove_dir_all(&aside)))?;
        fs::rename(&aside, &target).map_err(failed(&target))?;
        if let Some(parent) = target.parent() {
            sync_folder(parent)?;
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Fetched::verified(bytes, took_ms))
    }

    /// Deletes a content. Blocks.
    pub(super) fn delete(
        &self,
        model: &ModelName,
        version: &VersionName,
        digest: &Digest,
    ) -> io::Result<()> {
        let folder = self.folder(model, version, digest);
        // Renamed first: a folder under its own name is whole, also when the process ends in between.
        let aside = folder.with_extension(UNFINISHED.trim_start_matches('.'));
        match fs::rename(&folder, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        fs::remove_dir_all(&aside)?;
        // The folders above go when they are empty.
        for above in folder.ancestors().skip(1).take(2) {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Removes what was being fetched or deleted when the process ended. Blocks.
    pub(super) fn sweep(&self) -> io::Result<usize> {
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
            }
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
fn copy(artifact: &Artifact, aside: &Path) -> Result<u64, FetchError> {
    let source = &artifact.folder;
    let before = folder::marks(source).map_err(failed(source))?;
    fs::create_dir_all(aside).map_err(failed(aside))?;
    let mut total = 0;
    for (name, announced) in &artifact.digests {
        let (from, to) = (source.join(name), aside.join(name));
        if let Some(parent) = to.parent().filter(|parent| *parent != aside) {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        let (bytes, digest) = copy_file(&from, &to)?;
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
    sync_folder(aside)?;
    Ok(total)
}

fn copy_file(from: &Path, to: &Path) -> Result<(u64, [u8; 32]), FetchError> {
    let mut source = File::open(from).map_err(failed(from))?;
    let mut target = File::create(to).map_err(failed(to))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = source.read(&mut buffer).map_err(failed(from))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
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
        Artifact { folder, digests, bytes: 12, waits_for: None }
    }

    #[test]
    fn what_is_fetched_is_whole_and_what_is_deleted_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (model, version) = names();
        let (store, artifact) = (Store::new(dir.path()), announced(dir.path()));
        let digest = content::digest_of(&artifact.digests);
        assert!(!store.has(&model, &version, &digest));
        assert_eq!(store.fetch(&model, &version, &artifact).unwrap().bytes(), 12);
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
        let error = store.fetch(&model, &version, &artifact).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        fs::remove_file(artifact.folder.join("data/weights")).unwrap();
        let error = store.fetch(&model, &version, &artifact).unwrap_err();
        assert!(!error.is_corrupt(), "it may come back: {error}");
        assert_eq!(store.sweep().unwrap(), 0);
    }

    #[test]
    fn what_was_left_half_done_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let half = dir.path().join("models/m/v1/abcd.fetching");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join(MODEL_FILE), "mod").unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.sweep().unwrap(), 1);
        assert!(!half.exists());
    }
}
