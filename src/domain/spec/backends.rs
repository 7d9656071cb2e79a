//! Versions and pools that are served over the network: who serves them, and in which words.
//!
//! Owns the meaning of these settings and their defaults. Never connects anywhere.

use std::time::Duration;

use super::{BackendAddress, Extractors, Secret};
use crate::domain::dialect::Dialect;
use crate::domain::ids::SourceName;

/// Prediction servers for one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendsSpec {
    /// The servers; none where they are discovered.
    pub addresses: Vec<BackendAddress>,
    /// The source of discovery whose servers are asked.
    pub discovered: Option<SourceName>,
    /// What they speak.
    pub dialect: SpokenDialect,
    /// Whether they are spoken to over HTTP/2. gRPC always is.
    pub http2: bool,
    /// The model's name there; `None` for the same.
    pub remote_model: Option<String>,
    /// The version's name there; `None` where they are not told a version.
    pub remote_version: Option<String>,
    /// What must be known of a service of the raw dialect.
    pub raw: Option<RawSpec>,
    /// The form in which a SageMaker container takes what is translated for it.
    pub container: ContainerForm,
}

/// The form in which a SageMaker container takes its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerForm {
    /// Rows in one document of JSON.
    #[default]
    Json,
    /// A line of CSV for each row.
    Csv,
    /// A line of JSON for each row.
    JsonLines,
    /// The Open Inference Protocol with binary tensors, as Triton's container does.
    OpenInference,
}

/// A service that speaks no dialect of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawSpec {
    /// The path of its predictions; `None` for `/`.
    pub path: Option<String>,
    /// Where its bodies have what.
    pub extractors: Extractors,
}

impl BackendsSpec {
    /// Servers at `addresses`, with nothing else said about them.
    pub fn new(addresses: Vec<BackendAddress>) -> Self {
        Self { addresses, ..Self::default() }
    }
}

/// What backends speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpokenDialect {
    /// Whatever their clients speak: nothing is looked into.
    #[default]
    OfTheClient,
    /// They are asked.
    Asked,
    /// This.
    Declared(Dialect),
}

impl SpokenDialect {
    /// The dialect, where it is declared.
    pub fn declared(self) -> Option<Dialect> {
        match self {
            Self::Declared(dialect) => Some(dialect),
            Self::OfTheClient | Self::Asked => None,
        }
    }
}

/// How prediction protocols are spoken towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolSpec {
    /// Which statuses mistakes of a client have.
    pub strict_status: StrictStatus,
    /// Whether clients may load and unload versions that run in this process.
    pub repository: bool,
    /// What they must bring to do so; `None` lets everybody who reaches the data listener.
    pub repository_token: Option<Secret>,
    /// How often backends are asked what they speak and serve.
    pub ask_interval: Duration,
}

impl Default for ProtocolSpec {
    fn default() -> Self {
        Self {
            strict_status: StrictStatus::default(),
            repository: false,
            repository_token: None,
            ask_interval: Duration::from_secs(30),
        }
    }
}

/// Which statuses mistakes of a client have in the Open Inference Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StrictStatus {
    /// What HTTP says about them.
    #[default]
    Sane,
    /// What Triton answers, 500 for a body that cannot be read among them.
    Triton,
}
