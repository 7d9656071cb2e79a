//! The model file: reading it within bounds, what must hold for it, and why it cannot be used.
//!
//! Owns every message about a bad artifact, the data that a model keeps in further files
//! ([`external`]), the digest and the signature over all of it ([`seal`]), and when a folder is complete
//! ([`folder`]). Never looks at the graph.

pub(super) mod external;
pub mod folder;
mod ready;
pub(super) mod seal;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Bounds on what is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// The size of a model file in bytes, with the data that it keeps in further files.
    pub file_bytes: u64,
    /// What the tensors inside of one run may take, in bytes.
    pub run_bytes: u64,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self { file_bytes: 1 << 30, run_bytes: 1 << 30 }
    }
}

/// A model file that cannot be served. Each message says which file, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ArtifactError {
    /// There is no such file.
    #[error("model file {} does not exist; check the path in the configuration", .path.display())]
    Missing { path: PathBuf },
    /// A directory, a device or a pipe.
    #[error("{} is not a regular file; name the model file itself", .path.display())]
    NotAFile { path: PathBuf },
    /// No permission, or a failing disk.
    #[error("model file {} cannot be read; check its permissions", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// `ready` is asked for and there is no `READY` beside the model file.
    #[error(
        "model file {} is not released: there is no `READY` beside it; make one when the folder is \
         complete, or leave `ready` out",
        .path.display()
    )]
    NotReady { path: PathBuf },
    /// `READY` names another digest, or cannot be understood.
    #[error("model file {} is not what `READY` beside it says ({reason}); copy the folder again", .path.display())]
    Ready { path: PathBuf, reason: String },
    /// Not the artifact that the configuration names.
    #[error(
        "model file {} has the digest sha256:{found}, but the configuration asks for sha256:{wanted}",
        .path.display()
    )]
    Digest { path: PathBuf, found: String, wanted: String },
    /// No signature, or one that does not fit.
    #[error(
        "model file {} is not signed by the key of the configuration ({reason}); sign its digest and put \
         the signature into {}",
        .path.display(),
        .signature.display()
    )]
    Signature { path: PathBuf, signature: PathBuf, reason: String },
    /// Data outside of the model file that cannot be had.
    #[error(
        "model file {} keeps the data of '{tensor}' in '{location}', which is refused ({reason})",
        .path.display()
    )]
    External { path: PathBuf, tensor: String, location: String, reason: String },
    /// `model.toml` says something that the model does not bear out.
    #[error("model file {} does not fit the `model.toml` beside it ({reason})", .path.display())]
    Card { path: PathBuf, reason: String },
    /// The process that looked at the model first refused it.
    #[error("{words}")]
    Refused { words: String },
    /// The process that was to look at the model first ended without a verdict.
    #[error(
        "model file {} cannot be loaded within bounds ({reason}); if it is to be trusted, raise \
         `load_memory` or `load_time` of [inference]",
        .path.display()
    )]
    Vetting { path: PathBuf, reason: String },
    /// The file became another while it was looked at.
    #[error("model file {} changed while it was loaded; try again", .path.display())]
    Changed { path: PathBuf },
    /// Zero bytes.
    #[error("model file {} is empty; copy or export it again", .path.display())]
    Empty { path: PathBuf },
    /// Larger than [`LoadLimits::file_bytes`].
    #[error("model file {} has {bytes} bytes, more than the limit of {limit}", .path.display())]
    TooLarge { path: PathBuf, bytes: u64, limit: u64 },
    /// Not a whole ONNX protobuf message.
    #[error(
        "model file {} is truncated or not an ONNX model ({reason}); copy or export it again",
        .path.display()
    )]
    NotOnnx { path: PathBuf, reason: String },
    /// A protobuf message that breaks the rules of the ONNX specification.
    #[error(
        "model file {} is not a valid ONNX model ({reason}); check it with onnx.checker and export it \
         again",
        .path.display()
    )]
    Malformed { path: PathBuf, reason: String },
    /// A node that nothing here can run.
    #[error(
        "model file {} needs the operator {operator} (node '{node}'), which is not supported in \
         process; export the model without it or serve it from a backend",
        .path.display()
    )]
    UnsupportedOperator { path: PathBuf, operator: String, node: String },
    /// An input that no request can carry.
    #[error(
        "model file {} takes {found} as input '{input}', which is not supported in process; inputs are \
         tensors of booleans, integers, FP32, FP64 or texts",
        .path.display()
    )]
    UnsupportedInput { path: PathBuf, input: String, found: String },
    /// An output that no response can carry.
    #[error(
        "model file {} returns {found} as output '{output}', which is not supported in process; \
         outputs are tensors of booleans, integers, FP32, FP64 or texts",
        .path.display()
    )]
    UnsupportedOutput { path: PathBuf, output: String, found: String },
    /// An input whose number of dimensions is not declared.
    #[error(
        "model file {} does not say how many dimensions input '{input}' has; export it with a shape \
         (unknown sizes may be symbolic)",
        .path.display()
    )]
    UnknownRank { path: PathBuf, input: String },
    /// tract could not compile the graph.
    #[error("model file {} cannot be compiled ({reason}); serve it from a backend", .path.display())]
    Compile { path: PathBuf, reason: String },
    /// `batch` is asked for, and requests cannot run together.
    #[error(
        "model file {} cannot run requests together ({reason}); leave `batch` out",
        .path.display()
    )]
    Batch { path: PathBuf, reason: String },
    /// The graph compiles but fails on a trial input: its sample, or zeros and ones.
    #[error(
        "model file {} fails on a trial input with batch size 1 ({reason}); give it a `sample` row in \
         model.toml, or serve it from a backend",
        .path.display()
    )]
    Trial { path: PathBuf, reason: String },
}

impl ArtifactError {
    /// Whether the content of the artifact is to blame. A disk that fails, or a machine that has no room, says
    /// nothing about it.
    pub const fn blames_content(&self) -> bool {
        !matches!(
            self,
            Self::Missing { .. }
                | Self::NotAFile { .. }
                | Self::Read { .. }
                | Self::Vetting { .. }
                | Self::Changed { .. }
        )
    }
}

/// The bytes of a model file.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) bytes: Vec<u8>,
    /// Their sha256.
    pub(super) digest: [u8; 32],
}

/// Reads a model file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Artifact, ArtifactError> {
    let path = path.to_owned();
    // Asked before the file is opened, because opening a pipe would wait for its writer.
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ArtifactError::Missing { path });
        }
        Err(source) => return Err(ArtifactError::Read { path, source }),
    };
    if !metadata.is_file() {
        return Err(ArtifactError::NotAFile { path });
    }
    if metadata.len() > limit {
        return Err(ArtifactError::TooLarge { path, bytes: metadata.len(), limit });
    }
    // As many as there are, so that nothing is held twice.
    let mut bytes = Vec::new();
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX).saturating_add(1);
    if let Err(error) = bytes.try_reserve_exact(expected) {
        return Err(ArtifactError::Read { path, source: io::Error::other(error) });
    }
    // The file may grow while it is read: never take more than one byte beyond the limit.
    let read = File::open(&path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Err(source) => Err(ArtifactError::Read { path, source }),
        Ok(0) => Err(ArtifactError::Empty { path }),
        Ok(read) if read as u64 > limit => {
            Err(ArtifactError::TooLarge { path, bytes: read as u64, limit })
        }
        Ok(_) => {
            let digest = Sha256::digest(&bytes).into();
            Ok(Artifact { bytes, digest })
        }
    }
}
