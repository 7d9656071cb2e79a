//! What others hold of the life cycle: the way of orders in, and the view out.
//!
//! Owns the question and the answer. Never changes anything itself: the loop carries orders out, one after the
//! other, and answers when what follows from them is published.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::ledger::LedgerError;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::lifecycle::explain::{Explanation, explain};
use crate::domain::lifecycle::observed::Observed;
use crate::domain::lifecycle::order::{Order, OrderError};
use crate::domain::lifecycle::plan::Policies;
use crate::domain::lifecycle::state::State;
use crate::domain::lifecycle::time::Now;

/// Orders that may wait.
const WAITING_MAX: usize = 64;

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotCarriedOut {
    /// Something stands against it.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// It cannot be written down, and so it does not count.
    #[error("the order cannot be written down")]
    Journal(#[source] LedgerError),
    /// Too many wait already.
    #[error("{WAITING_MAX} orders wait already; try again")]
    Busy,
    /// The gateway starts or ends.
    #[error("the gateway takes no orders: it starts or ends")]
    Closed,
}

/// An order that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedOut {
    /// The number of its event.
    pub number: u64,
    /// What happened, in one sentence.
    pub words: String,
    /// The generation of the model after it; `None` for orders about all models.
    pub generation: Option<u64>,
}

/// An order on its way.
#[derive(Debug)]
pub(in crate::control) struct Ask {
    pub(in crate::control) order: Order,
    pub(in crate::control) answer: oneshot::Sender<Result<CarriedOut, NotCarriedOut>>,
}

/// Everything that is known at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What is written.
    pub state: Arc<State>,
    /// What is seen.
    pub observed: Arc<Observed>,
    /// What models follow.
    pub policies: Arc<Policies>,
    /// The moment.
    pub now: Now,
    /// Events that could not be written.
    pub failures: u64,
    /// Versions that changed their stage since the start, by their model and the way they went.
    pub moves: Arc<Moves>,
}

/// How often versions went which way.
pub type Moves = BTreeMap<(ModelName, &'static str), u64>;

impl View {
    /// Why a version is where it is, and what it waits for.
    pub fn explain(&self, model: &ModelName, version: &VersionName) -> Option<Explanation> {
        explain(&self.state, &self.observed, &self.policies, self.now, model, version)
    }
}

/// The way to the life cycle.
#[derive(Debug, Clone)]
pub struct ReleasesHandle {
    asks: mpsc::Sender<Ask>,
    view: watch::Receiver<Arc<View>>,
}

/// The other end.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) view: watch::Sender<Arc<View>>,
}

/// A handle and its other end.
pub(super) fn channel(first: View) -> (Desk, ReleasesHandle) {
    let (sender, asks) = mpsc::channel(WAITING_MAX);
    let (view, reader) = watch::channel(Arc::new(first));
    (Desk { asks, view }, ReleasesHandle { asks: sender, view: reader })
}

impl ReleasesHandle {
    /// Has `order` carried out; returns once it is written down and published.
    ///
    /// # Errors
    ///
    /// [`NotCarriedOut`] says what stands against it.
    pub async fn order(&self, order: Order) -> Result<CarriedOut, NotCarriedOut> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask { order, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotCarriedOut::Busy,
            mpsc::error::TrySendError::Closed(_) => NotCarriedOut::Closed,
        })?;
        answered.await.unwrap_or(Err(NotCarriedOut::Closed))
    }

    /// What was known at the end of the last round.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }
}
