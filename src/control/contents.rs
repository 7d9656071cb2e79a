//! Which content each version of the configuration has answered from, over restarts.
//!
//! Owns the digests in `state/contents.json`, and the event when a version is loaded from another content than before:
//! records, statistics and baselines go by its name, and would be of both. Versions under the life cycle have their
//! content in the journal. Never refuses a load, and never fails one: a file that cannot be written is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::events::{Events, Weight};
use super::steady::Steady;
use super::store;
use crate::domain::routing::TargetKind;

/// The file below `state/`.
const FILE: &str = "contents.json";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Versions that are remembered; beyond, those that are not loaded are forgotten.
const VERSIONS_MAX: usize = 16_384;
const FORMAT: u32 = 1;
/// What such events are called.
const KIND: &str = "model.changed";

/// The contents of versions.
#[derive(Debug)]
pub(super) struct Contents {
    path: PathBuf,
    events: Arc<Events>,
    clock: Steady,
    /// Read when the first version is loaded. Only loads take it, one at a time.
    known: Mutex<Option<BTreeMap<String, String>>>,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Whole {
    format: u32,
    /// The sha256 by `MODEL/VERSION`.
    versions: BTreeMap<String, String>,
}

impl Contents {
    pub(super) fn new(data_dir: &Path, events: Arc<Events>) -> Self {
        let path = data_dir.join(store::STATE_DIR).join(FILE);
        Self { path, events, clock: Steady::start(), known: Mutex::default() }
    }

    /// Notes what versions are loaded from, and tells of those that were another content before.
    pub(super) async fn note(self: &Arc<Self>, loaded: Vec<(TargetKind, [u8; 32])>) {
        let contents = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || contents.note_now(&loaded)).await;
        if let Err(error) = noted {
            tracing::error!(%error, "what versions are loaded from is not noted");
        }
    }

    fn note_now(&self, loaded: &[(TargetKind, [u8; 32])]) {
        let mut known = self.known.lock();
        let known = known.get_or_insert_with(|| self.read());
        let mut is_new = false;
        for (version, digest) in loaded {
            let (version, digest) = (version.to_string(), hex(digest));
            let before = known.insert(version.clone(), digest.clone());
            is_new |= before.as_ref() != Some(&digest);
            if let Some(before) = before.filter(|before| *before != digest) {
                let words = format!(
                    "{version} is loaded from another content than before: sha256:{digest}, before sha256:{before}; \
                     records, statistics and baselines of this name are of both: give each release a version of its own"
                );
                self.tell(&version, &words);
            }
        }
        if known.len() > VERSIONS_MAX {
            known.retain(|version, _| loaded.iter().any(|(kind, _)| kind.to_string() == *version));
        }
        if is_new && let Err(error) = self.write(known) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "what versions are loaded from is not remembered over a restart");
        }
    }

    /// Tells of a version whose file has changed.
    pub(super) fn tell(&self, version: &str, words: &str) {
        self.events.tell(self.clock.now_ms(), KIND, Weight::Alarm, version, words);
    }

    /// Reads the file. One that cannot be understood is put aside and told.
    fn read(&self) -> BTreeMap<String, String> {
        let why = match store::read(&self.path, FILE_BYTES_MAX) {
            Ok(None) => return BTreeMap::new(),
            Ok(Some(bytes)) => match serde_json::from_slice::<Whole>(&bytes) {
                Ok(whole) if whole.format == FORMAT => return whole.versions,
                Ok(whole) => format!("it has the format {}", whole.format),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let aside = match store::put_aside(&self.path) {
            Ok(aside) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it cannot be put aside: {error}"),
        };
        let path = self.path.display();
        let words = format!(
            "what versions were loaded from before is not known, so that a change is not told: {path} ({why}); {aside}"
        );
        self.tell("models", &words);
        BTreeMap::new()
    }

    fn write(&self, known: &BTreeMap<String, String>) -> std::io::Result<()> {
        let whole = Whole { format: FORMAT, versions: known.clone() };
        store::replace(&self.path, &serde_json::to_vec(&whole)?)
    }
}

/// A digest as `sha256sum` prints it.
pub(super) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ModelName, VersionName};

    fn version(name: &str) -> TargetKind {
        TargetKind::Version(ModelName::new("iris"), VersionName::new(name))
    }

    fn told(events: &Events) -> Vec<(String, String)> {
        let of_kind = events.after(None, 99).into_iter().filter(|event| event.kind == KIND);
        of_kind.map(|event| (event.about, event.words)).collect()
    }

    #[tokio::test]
    async fn another_content_is_told_once_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let events = Arc::new(Events::open(dir.path()));
        let contents = Arc::new(Contents::new(dir.path(), Arc::clone(&events)));
        contents.note(vec![(version("v1"), [1; 32]), (version("v2"), [2; 32])]).await;
        contents.note(vec![(version("v1"), [1; 32])]).await;
        assert_eq!(told(&events), []);
        let again = Arc::new(Contents::new(dir.path(), Arc::clone(&events)));
        again.note(vec![(version("v1"), [1; 32]), (version("v2"), [3; 32])]).await;
        again.note(vec![(version("v2"), [3; 32])]).await;
        let told = told(&events);
        assert_eq!(told.len(), 1);
        let (about, words) = &told[0];
        assert_eq!(about, "iris/v2");
        assert!(
            words.contains(&format!(
                "sha256:{}, before sha256:{}",
                "03".repeat(32),
                "02".repeat(32)
            )),
            "{words}"
        );
    }

    #[tokio::test]
    async fn a_damaged_file_is_put_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(store::STATE_DIR).join(FILE);
        store::replace(&path, b"{").unwrap();
        let events = Arc::new(Events::open(dir.path()));
        let contents = Arc::new(Contents::new(dir.path(), Arc::clone(&events)));
        contents.note(vec![(version("v1"), [1; 32])]).await;
        let told = told(&events);
        assert!(told.len() == 1 && told[0].1.contains("contents.json.damaged"), "{told:?}");
        assert_eq!(contents.read(), [("iris/v1".to_owned(), "01".repeat(32))].into());
    }
}
