//! The sources of discovery: where versions and prediction servers are looked for.
//!
//! Owns the meaning of these settings and their defaults. Never looks anywhere.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::BackendAddress;
use crate::domain::ids::{ModelName, VersionName};

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoverySpec {
    /// Where it looks.
    pub place: DiscoveryPlace,
    /// The model of what it finds, where that is not said there.
    pub model: Option<ModelName>,
    /// The version of what it finds, where that is not said there.
    pub version: Option<VersionName>,
    /// Whether the servers that it finds are asked which models and versions they have.
    pub ask: bool,
    /// How often it looks.
    pub interval: Duration,
    /// For how long it must lack more than half of what was there before it is believed.
    pub shrink_after: Duration,
}

/// Where a source looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryPlace {
    /// Folders `MODEL/VERSION/model.onnx`.
    Directory(DirectorySpec),
    /// A file that lists servers.
    File(PathBuf),
    /// The addresses of a name.
    Dns(DnsSpec),
    /// The services of a name.
    Srv(DnsSpec),
    /// Servers that register themselves.
    Lease(LeaseSpec),
    /// A URL that lists servers.
    Catalogue(CatalogueSpec),
    /// The EndpointSlices of a Kubernetes cluster.
    Kubernetes(KubernetesSpec),
    /// Environment variables, read when the configuration was: the name of each service, and where it is.
    Environment(Vec<(ModelName, BackendAddress)>),
}

impl DiscoveryPlace {
    /// The key that names it in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::File(_) => "file",
            Self::Dns(_) => "dns",
            Self::Srv(_) => "srv",
            Self::Lease(_) => "lease",
            Self::Catalogue(_) => "catalogue",
            Self::Kubernetes(_) => "kubernetes",
            Self::Environment(_) => "environment",
        }
    }
}

/// A directory of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySpec {
    /// The directory.
    pub path: PathBuf,
    /// Whether a folder is complete only when it has a `READY`.
    pub ready: bool,
    /// How long a folder without `READY` must stay as it is before it is taken to be complete.
    pub settle: Duration,
    /// The ed25519 public key that must have signed the digest of each artifact.
    pub signature: Option<[u8; 32]>,
}

/// A name to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSpec {
    /// The name.
    pub name: String,
    /// The port of its addresses; 0 for services, which say theirs.
    pub port: u16,
    /// Who is asked; `None` for the system's name servers.
    pub server: Option<SocketAddr>,
}

/// Registrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSpec {
    /// How long one is good for unless it is renewed.
    pub lease: Duration,
    /// The most of them.
    pub registrations: usize,
}

/// A catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueSpec {
    /// The server.
    pub address: BackendAddress,
    /// The path with its query.
    pub path: String,
}

/// The EndpointSlices of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesSpec {
    /// The API server, or a proxy that stands before it.
    pub api: BackendAddress,
    /// The namespace.
    pub namespace: String,
    /// The labels.
    pub selector: String,
    /// The name of the port; `None` for the first one.
    pub port: Option<String>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
}
