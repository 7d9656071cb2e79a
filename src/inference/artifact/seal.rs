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

/// Checks what `spec` asks of the version with this digest.
pub(in crate::inference) fn check(
    spec: &OnnxSpec,
    model: [u8; 32],
    digest: [u8; 32],
) -> Result<(), ArtifactError> {
    let path = spec.path.as_path();
    check_ready(path, spec.ready, model)?;
    if let Some(wanted) = spec.digest.filter(|wanted| *wanted != digest) {
        let (path, found, wanted) = (path.to_owned(), hex(&digest), hex(&wanted));
        return Err(ArtifactError::Digest { path, found, wanted });
    }
    match &spec.signature {
        None => Ok(()),
        Some(key) => check_signature(path, key, digest),
    }
}

/// Looks at `READY` beside the model file. It may be empty; where it has lines as `sha256sum` writes
/// them, the one about the model file must be true.
fn check_ready(path: &Path, required: bool, model: [u8; 32]) -> Result<(), ArtifactError> {
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
    let own = path.file_name().unwrap_or_default();
    for (digest, name) in ready_lines(&text) {
        if own == name && !digest.eq_ignore_ascii_case(&hex(&model)) {
            return Err(wrong(format!("its digest is {}", hex(&model))));
        }
    }
    Ok(())
}

/// The digests and names in a `READY`.
pub(super) fn ready_lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let (digest, name) = line.split_once(' ')?;
        // `sha256sum` writes a blank or a star before the name.
        Some((digest, name.strip_prefix([' ', '*']).unwrap_or(name)))
    })
}

fn check_signature(path: &Path, key: &[u8; 32], digest: [u8; 32]) -> Result<(), ArtifactError> {
    let mut signature = path.as_os_str().to_owned();
    signature.push(".sig");
    let signature = PathBuf::from(signature);
    let refuse = |reason: String| ArtifactError::Signature {
        path: path.to_owned(),
        signature: signature.clone(),
        reason,
    };
    let bytes = read_small(&signature)
        .map_err(|error| refuse(format!("its signature cannot be read: {error}")))?;
    // 64 bytes as they are, or as base64.
    let decoded = if bytes.len() == 64 {
        Some(bytes)
    } else {
        BASE64.decode(bytes.trim_ascii()).ok().filter(|decoded| decoded.len() == 64)
    };
    let decoded = decoded.ok_or_else(|| {
        refuse("its signature is neither 64 bytes nor base64 of 64 bytes".to_owned())
    })?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&digest, &decoded)
        .map_err(|_unspecified| refuse("its signature is for something else".to_owned()))
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
