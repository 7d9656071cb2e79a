//! Versions that run in this process: which file, what must hold for it, and how it is run.
//!
//! Owns the meaning of these settings and their defaults. Never reads a file.

use std::path::PathBuf;
use std::time::Duration;

/// An ONNX file that runs in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxSpec {
    /// The model file.
    pub path: PathBuf,
    /// The sha256 that the artifact must have.
    pub digest: Option<[u8; 32]>,
    /// The ed25519 public key that must have signed the artifact's digest.
    pub signature: Option<[u8; 32]>,
    /// Whether there must be a `READY` beside the file.
    pub ready: bool,
    /// How requests are put together, if they are.
    pub batch: Option<BatchSpec>,
}

impl OnnxSpec {
    /// The file at `path`, with nothing else asked of it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), digest: None, signature: None, ready: false, batch: None }
    }
}

/// How requests of one version are put together and run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpec {
    /// The most rows of one run.
    pub max_size: usize,
    /// How long a request waits for others. With 0 it waits for nothing but a free thread.
    pub max_delay: Duration,
}

impl Default for BatchSpec {
    fn default() -> Self {
        Self { max_size: 32, max_delay: Duration::ZERO }
    }
}

/// How in-process versions of a model run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// A version that was measured below this runs on the worker that received the request.
    pub inline_below: Duration,
    /// Requests of one version that may wait for an executor thread.
    pub queue: usize,
    /// How long a request may wait before it is refused.
    pub queue_time: Duration,
    /// Executor threads that may run one version at once; `None` for all.
    pub concurrency: Option<usize>,
}

impl Default for Execution {
    fn default() -> Self {
        Self {
            inline_below: Duration::from_micros(200),
            queue: 256,
            queue_time: Duration::from_secs(5),
            concurrency: None,
        }
    }
}

/// What loading and running models in this process may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceSpec {
    /// Executor threads; `None` for one for each core that this process may use.
    pub threads: Option<usize>,
    /// Bytes of one model, with the data that it keeps in further files.
    pub model_bytes: u64,
    /// What all loaded models may take together, in bytes as they are estimated; `None` for no limit.
    pub memory: Option<u64>,
    /// What the tensors inside of one run may take, in bytes as they are estimated.
    pub run_memory: u64,
    /// Whether a model is first looked at in a process of its own.
    pub isolate: bool,
    /// What that process may allocate, in bytes.
    pub load_memory: u64,
    /// How long that process may run.
    pub load_time: Duration,
}

impl Default for InferenceSpec {
    fn default() -> Self {
        Self {
            threads: None,
            model_bytes: 1 << 30,
            memory: None,
            run_memory: 1 << 30,
            isolate: true,
            load_memory: 2 << 30,
            load_time: Duration::from_secs(60),
        }
    }
}
