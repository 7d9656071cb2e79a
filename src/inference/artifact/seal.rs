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
use super::ready::{self, Files, Untrue};
use crate::domain::spec::OnnxSpec;

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

/// Looks at `READY` beside the model file.
fn check_ready(
    path: &Path,
    required: bool,
    model: [u8; 32],
    further: &Further,
) -> Result<(), ArtifactError> {
    let wrong = |reason: String| ArtifactError::Ready { path: path.to_owned(), reason };
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    match ready::read(folder).map_err(|error| wrong(format!("it cannot be read: {error}")))? {
        None if required => Err(ArtifactError::NotReady { path: path.to_owned() }),
        None => Ok(()),
        Some(bytes) => {
            let path = std::path::absolute(path).unwrap_or_else(|_no_folder| path.to_owned());
            agree(&bytes, &path, model, further).map_err(|untrue| match untrue {
                Untrue::Another { file, digest } => {
                    wrong(format!("the digest of {file} is {digest}"))
                }
                untrue => wrong(untrue.to_string()),
            })
        }
    }
}

/// Whether `READY` beside the model file at `path` is true of the files of the version. Of others nothing is known here.
fn agree(bytes: &[u8], path: &Path, model: [u8; 32], further: &Further) -> Result<(), Untrue> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let further = further.iter().map(|(name, digest)| (&**name, digest));
    let files = Files {
        folder: path.parent().unwrap_or_else(|| Path::new("")),
        model: &name,
        digests: std::iter::once((&*name, &model)).chain(further).collect(),
        all: false,
    };
    files.agree(bytes)
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
    let agrees = agree(bytes, path, [0; 32], &further);
    assert!(agrees.is_ok() || !bytes.is_empty(), "an empty READY says nothing wrong");
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
