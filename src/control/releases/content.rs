//! What a version is, by its content.
//!
//! Owns the digest of a release: of the files that make its answers, and not of those that are about them
//! (golden answers, the baseline, signatures), so that these can be mended without another release. For a
//! folder with a model file and nothing else it is that file's sha256. A version at backends is known by
//! its name alone: two servers of one version are taken to be alike, which admission puts to the test.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::inference::folder::{Digests, MODEL_FILE};

/// Files beside a model that say something about it and do not change its answers.
const ABOUT: [&str; 3] = ["baseline.json", "golden.jsonl", "READY"];
/// Endings of such files.
const ABOUT_ENDINGS: [&str; 3] = [".sig", ".md", ".txt"];
/// How much is read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Whether a file says something about a model and does not change its answers.
pub(super) fn is_about(name: &str) -> bool {
    ABOUT.contains(&name) || ABOUT_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A sha256 as it is told.
pub(super) fn told(sha256: &[u8; 32]) -> Digest {
    Digest::new(hex(sha256))
}

/// The digest of a folder whose files have these.
pub(super) fn digest_of(digests: &Digests) -> Digest {
    let model = digests.get(MODEL_FILE);
    let further: Vec<_> =
        digests.iter().filter(|(name, _)| *name != MODEL_FILE && !is_about(name)).collect();
    if let (Some(model), []) = (model, further.as_slice()) {
        return Digest::new(hex(model));
    }
    // The lines that `sha256sum` prints for the model file, and for the others in the order of their names.
    let mut lines = String::new();
    let first = model.map(|digest| (MODEL_FILE, digest));
    let rest = further.into_iter().map(|(name, digest)| (name.as_str(), digest));
    for (name, digest) in first.into_iter().chain(rest) {
        // Writing into a `String` cannot fail.
        writeln!(lines, "{}  {name}", hex(digest)).unwrap_or_default();
    }
    Digest::new(hex(&Sha256::digest(lines).into()))
}

/// The digest of a version at backends.
pub(super) fn digest_of_backends(model: &ModelName, version: &VersionName) -> Digest {
    Digest::new(hex(&Sha256::digest(format!("backends of {model}/{version}")).into()))
}

/// The sha256 of a file, and its bytes. Blocks.
pub(super) fn digest_of_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        hasher.update(piece);
        bytes += piece.len() as u64;
    }
    Ok((Digest::new(hex(&hasher.finalize().into())), bytes))
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Digest {
        digest_of(&names.iter().map(|name| ((*name).to_owned(), [7; 32])).collect())
    }

    #[test]
    fn a_lone_model_file_gives_its_own_digest_and_notes_about_it_do_not_count() {
        let alone = of(&[MODEL_FILE]);
        assert_eq!(alone, Digest::new("07".repeat(32)));
        assert_eq!(of(&[MODEL_FILE, "baseline.json", "golden.jsonl", "model.onnx.sig"]), alone);
        assert_ne!(of(&[MODEL_FILE, "model.toml"]), alone, "a card changes answers");
        assert_ne!(of(&[MODEL_FILE, "a"]), of(&[MODEL_FILE, "b"]));
    }

    #[test]
    fn a_file_has_the_digest_that_a_folder_of_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MODEL_FILE);
        std::fs::write(&path, "abc").unwrap();
        let (digest, bytes) = digest_of_file(&path).unwrap();
        assert!(digest.as_str().starts_with("ba7816bf") && bytes == 3);
    }
}
