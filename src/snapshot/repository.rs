//! Asking the controller to load and unload versions while the gateway runs.
//!
//! Owns the questions and the way of the answers; the controller answers them one at a time. Never
//! decides: a version that routing needs stays loaded whoever asks.

use tokio::sync::{mpsc, oneshot};

use super::{RuntimeKind, Snapshot};
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::routing::TargetKind;

/// Orders that may wait for the controller.
const WAITING_MAX: usize = 16;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Load a version, or every version of a model that runs in this process.
    Load(ModelName, Option<VersionName>),
    /// Unload a version, or every version of a model that routing does not need.
    Unload(ModelName, Option<VersionName>),
}

/// An order and the way of its answer.
#[derive(Debug)]
pub struct Command {
    /// What is asked for.
    pub order: Order,
    /// Where the answer goes; whoever asked may be gone.
    pub answer: oneshot::Sender<Result<(), RepositoryError>>,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// There is no such model.
    #[error("model `{0}` is not configured")]
    UnknownModel(ModelName),
    /// The model has no such version.
    #[error("model `{0}` has no version `{1}`")]
    UnknownVersion(ModelName, VersionName),
    /// The version is served by backends.
    #[error("`{0}` does not run in this process")]
    NotHere(TargetKind),
    /// All versions of the model are served by backends.
    #[error("model `{0}` does not run in this process")]
    NothingHere(ModelName),
    /// Requests go to the version.
    #[error("`{0}` is needed by {1}; take its traffic away first")]
    Needed(TargetKind, String),
    /// The version is loaded, and its file has changed since.
    #[error(
        "`{version}` is loaded from a file with sha256:{loaded}, and now there is one with sha256:{found}: a version is \
         one release. Give the new file a version of its own; or unload the version first"
    )]
    Changed {
        /// The version.
        version: TargetKind,
        /// What it is loaded from.
        loaded: String,
        /// What is there now.
        found: String,
    },
    /// The life cycle decides what is loaded.
    #[error(
        "the life cycle decides which versions of model `{0}` are loaded; give it an order: `pointsman versions`"
    )]
    Governed(ModelName),
    /// The model file cannot be served.
    #[error("{0}")]
    Load(String),
    /// Too many orders wait already.
    #[error("{WAITING_MAX} orders wait already; try again later")]
    Busy,
    /// The gateway starts or ends.
    #[error("the gateway takes no orders: it starts or ends")]
    Closed,
}

/// Takes orders to the controller.
#[derive(Debug, Clone)]
pub struct Repository(mpsc::Sender<Command>);

impl Repository {
    /// A way to the controller, and its end.
    pub fn channel() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), receiver)
    }

    /// Has `order` carried out; returns when a snapshot says so.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`] says why nothing was done.
    pub async fn order(&self, order: Order) -> Result<(), RepositoryError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Command { order, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RepositoryError::Busy,
            mpsc::error::TrySendError::Closed(_) => RepositoryError::Closed,
        })?;
        answered.await.unwrap_or(Err(RepositoryError::Closed))
    }
}

/// A version as the repository lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The model.
    pub model: ModelName,
    /// The version.
    pub version: VersionName,
    /// Whether requests can go to it.
    pub ready: bool,
    /// Whether it runs in this process.
    pub here: bool,
}

/// Every version of a snapshot, in the order of its table.
pub fn index(snapshot: &Snapshot) -> Vec<IndexEntry> {
    let targets = snapshot.table.targets().iter().zip(&snapshot.runtime);
    let versions = targets.filter_map(|(target, runtime)| match &target.kind {
        TargetKind::Version(model, version) => Some(IndexEntry {
            model: model.clone(),
            version: version.clone(),
            ready: target.ready,
            here: matches!(runtime.kind, RuntimeKind::Local(_)),
        }),
        TargetKind::Pool(_) => None,
    });
    versions.collect()
}
