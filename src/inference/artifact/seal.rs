//! What must hold for an artifact before it is served: its digest, its signature, its `READY`.
//!
//! Owns the digest of a version: the sha256 of its model file; where the model keeps data in further
//! files, the sha256 of the lines that `sha256sum` prints for the model file and for them, these in the
//! order of their names. A signature is ed25519 over the 32 bytes of that digest.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use super::ArtifactError;
use super::external::Further;
use crate::domain::spec::OnnxSpec;

/// The name of the file that says that a folder is complete.
pub(super) const READY: &str = "READY";
/// The most bytes of `READY` and of a signature.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// The digest of a version whose model file has the sha256 `model`.
pub(in crate::inference) fn version_digest(
    path: &Path,
    model: [u8; 32],
    further: &Further,
) -> [u8; 32] {
    if further.is_empty() {
        return model;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut lines = format!("{}  {name}\n", hex(&model));
    for (name, digest) in further {
        // Writing into a `String` cannot fail.
        writeln!(lines, "{}  {name}", hex(digest)).unwrap_or_default();
    }
    Sha256::digest(lines).into()
}

/// Checks what `spec` asks of the version with this digest, whose model file has the sha256 `model`.
pub(in crate::inference) fn check(
    spec: &OnnxSpec,
    model: [u8; 32],
    further: &Further,
    digest: [u8; 32],
) -> Result<(), ArtifactError> {
    let path = spec.path.as_path();
    check_ready(path, spec.ready, model, further)?;
    if let Some(wanted) = spec.digest.filter(|wanted| *wanted != digest) {
        let (path, found, wanted) = (path.to_owned(), hex(&digest), hex(&wanted));
        return Err(ArtifactError::Digest { path, found, wanted });
    }
    match &spec.signature {
        None => Ok(()),
        Some(key) => check_signature(path, key, digest),
    }
}

/// Looks at `READY` beside the model file. It may be empty or say something to people; where it has
/// digests as `sha256sum` writes them, one must be that of the model file, and all about files of the
/// version must be true.
fn check_ready(
    path: &Path,
    required: bool,
    model: [u8; 32],
    further: &Further,
) -> Result<(), ArtifactError> {
    let wrong = |reason: String| ArtifactError::Ready { path: path.to_owned(), reason };
    let text = match read_small(&path.with_file_name(READY)) {
        Ok(bytes) => {
            String::from_utf8(bytes).map_err(|_bytes| wrong("it is not text".to_owned()))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ArtifactError::NotReady { path: path.to_owned() });
        }
        Err(error) => return Err(wrong(format!("it cannot be read: {error}"))),
    };
    let path = std::path::absolute(path).unwrap_or_else(|_no_folder| path.to_owned());
    agree(&text, &path, model, further).map_err(wrong)
}

/// Whether the lines of `READY` beside the model file at `path` are true. They may name a file from the
/// folder of `READY` or from any folder above it.
fn agree(text: &str, path: &Path, model: [u8; 32], further: &Further) -> Result<(), String> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let (mut any, mut about_model) = (false, false);
    for (digest, name) in text.lines().filter_map(digest_line) {
        let name = name.strip_prefix("./").unwrap_or(name);
        let beside = |file: &Path| folder.join(file).ends_with(name);
        let actual = if path.ends_with(name) {
            about_model = true;
            Some(&model)
        } else {
            further.iter().find(|(file, _)| beside(Path::new(file))).map(|(_, digest)| digest)
        };
        any |= digest.len() == 2 * model.len();
        if let Some(actual) = actual.map(|actual| hex(actual))
            && !digest.eq_ignore_ascii_case(&actual)
        {
            return Err(format!("the digest of {name} is {actual}"));
        }
    }
    if any && !about_model {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return Err(format!("it has digests, but none of {name}"));
    }
    Ok(())
}

/// The digest and the name in a line as `sha256sum` writes it, with or without `--tag`.
pub(super) fn digest_line(line: &str) -> Option<(&str, &str)> {
    if let Some(tagged) = line.strip_prefix("SHA256 (") {
        return tagged.rsplit_once(") = ").map(|(name, digest)| (digest, name));
    }
    let (digest, name) = line.split_once(' ')?;
    // A blank or a star stands before the name.
    Some((digest, name.strip_prefix([' ', '*']).unwrap_or(name)))
}

fn check_signature(path: &Path, key: &[u8; 32], digest: [u8; 32]) -> Result<(), ArtifactError> {
    is_signed(path, key, digest).map_err(|reason| ArtifactError::Signature {
        path: path.to_owned(),
        signature: signature_of(path),
        reason,
    })
}

/// Whether the file beside the model file at `path` is a signature of `digest` by this ed25519 key. Reads a small
/// file.
///
/// # Errors
/// Why not.
pub fn is_signed(path: &Path, key: &[u8; 32], digest: [u8; 32]) -> Result<(), String> {
    let bytes = read_small(&signature_of(path))
        .map_err(|error| format!("its signature cannot be read: {error}"))?;
    let decoded = signature_in(bytes)
        .ok_or_else(|| "its signature is neither 64 bytes nor base64 of 64 bytes".to_owned())?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&digest, &decoded)
        .map_err(|_unspecified| "its signature is for something else".to_owned())
}

/// The file that has the signature of a model file.
fn signature_of(path: &Path) -> PathBuf {
    let mut signature = path.as_os_str().to_owned();
    signature.push(".sig");
    PathBuf::from(signature)
}

/// The 64 bytes of a signature file, which has them as they are or as base64.
fn signature_in(bytes: Vec<u8>) -> Option<Vec<u8>> {
    if bytes.len() == 64 {
        return Some(bytes);
    }
    BASE64.decode(bytes.trim_ascii()).ok().filter(|decoded| decoded.len() == 64)
}

/// Reads arbitrary bytes as `READY` and as a signature: for the fuzzer.
pub(in crate::inference) fn fuzz(bytes: &[u8]) {
    let further = Further::from([("parts/weights.bin".to_owned(), [1; 32])]);
    let path = Path::new("/models/iris/v1/model.onnx");
    if let Ok(text) = std::str::from_utf8(bytes) {
        let agrees = agree(text, path, [0; 32], &further);
        assert!(agrees.is_ok() || !text.is_empty(), "an empty READY says nothing wrong");
    }
    if let Some(signature) = signature_in(bytes.to_vec()) {
        let verified = UnparsedPublicKey::new(&ED25519, [7; 32]).verify(&[0; 32], &signature);
        assert!(verified.is_err(), "nobody has the key");
    }
}

/// Reads a file of at most [`SMALL_BYTES_MAX`] bytes.
pub(super) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before the file is opened, because opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(SMALL_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SMALL_BYTES_MAX {
        return Err(io::Error::other("it is too long"));
    }
    Ok(bytes)
}

/// Lower-case hexadecimal.
pub(in crate::inference) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a `String` cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests;
