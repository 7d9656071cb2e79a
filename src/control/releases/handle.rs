//! What others hold of the life cycle: the way of orders in, and the view out.
//!
//! Owns the question and the answer, and that a kill switch waits for no other order. Never changes anything itself: the
//! loop carries orders out, one after the other, and answers when what follows from them is published.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::ledger::LedgerError;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::lifecycle::explain::{Explanation, explain, explain_all};
use crate::domain::lifecycle::observed::Observed;
use crate::domain::lifecycle::order::{Command, Order, OrderError};
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
    /// It is written down, and requests do not follow it yet: the gateway tries again.
    #[error("it is written down and not published yet, so that requests do not follow it: {0}")]
    NotPublished(String),
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
    /// Why it is not written down yet, though requests follow it: a restart would undo it.
    pub unwritten: Option<String>,
}

/// An order on its way.
#[derive(Debug)]
pub(in crate::control) struct Ask {
    pub(in crate::control) order: Order,
    pub(in crate::control) answer: oneshot::Sender<Result<CarriedOut, NotCarriedOut>>,
}

impl Ask {
    /// Whether nobody waits for the answer any more.
    pub(in crate::control) fn is_given_up(&self) -> bool {
        self.answer.is_closed() && !cuts_off(&self.order)
    }
}

/// Whether an order cuts traffic off: it waits for nothing, and is carried out though its giver has gone.
pub(in crate::control) fn cuts_off(order: &Order) -> bool {
    matches!(order.command, Command::Kill(_, true))
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
    /// Times that a source has named a model for which there is no room.
    pub left_out: u64,
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

    /// The same for several versions of a model: at once, as each alone costs as much as its model has versions.
    pub fn explain_all<'v>(
        &self,
        model: &ModelName,
        versions: impl IntoIterator<Item = &'v VersionName>,
    ) -> Vec<(&'v VersionName, Explanation)> {
        explain_all(&self.state, &self.observed, &self.policies, self.now, model, versions)
    }
}

/// The way to the life cycle.
#[derive(Debug, Clone)]
pub struct ReleasesHandle {
    kills: mpsc::Sender<Ask>,
    asks: mpsc::Sender<Ask>,
    view: watch::Receiver<Arc<View>>,
}

/// The other end.
#[derive(Debug)]
pub(super) struct Desk {
    kills: mpsc::Receiver<Ask>,
    asks: mpsc::Receiver<Ask>,
    pub(super) view: watch::Sender<Arc<View>>,
}

impl Desk {
    /// The next order, kill switches first; `None` once nobody can give any.
    pub(super) async fn next(&mut self) -> Option<Ask> {
        tokio::select! {
            biased;
            Some(kill) = self.kills.recv() => Some(kill),
            ask = self.asks.recv() => ask,
        }
    }

    /// An order that waits, kill switches first.
    pub(super) fn waiting(&mut self) -> Option<Ask> {
        self.kills.try_recv().or_else(|_| self.asks.try_recv()).ok()
    }
}

/// A handle and its other end.
pub(super) fn channel(first: View) -> (Desk, ReleasesHandle) {
    let (kill, kills) = mpsc::channel(WAITING_MAX);
    let (sender, asks) = mpsc::channel(WAITING_MAX);
    let (view, reader) = watch::channel(Arc::new(first));
    (Desk { kills, asks, view }, ReleasesHandle { kills: kill, asks: sender, view: reader })
}

impl ReleasesHandle {
    /// Has `order` carried out; returns once it is written down and published.
    ///
    /// # Errors
    ///
    /// [`NotCarriedOut`] says what stands against it.
    pub async fn order(&self, order: Order) -> Result<CarriedOut, NotCarriedOut> {
        let (answer, answered) = oneshot::channel();
        let desk = if cuts_off(&order) { &self.kills } else { &self.asks };
        desk.try_send(Ask { order, answer }).map_err(|error| match error {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::event::Scope;

    fn order(on: bool) -> Order {
        let command = Command::Kill(Scope::Gateway, on);
        Order { who: "ann".into(), why: "a test".into(), expected: None, command }
    }

    #[tokio::test]
    async fn a_kill_switch_overtakes_orders_and_has_room_of_its_own() {
        let (mut desk, handle) = channel(View::default());
        let give = |on| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.order(order(on)).await })
        };
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| give(false)).collect();
        while desk.asks.len() < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert!(matches!(handle.order(order(false)).await, Err(NotCarriedOut::Busy)));
        let kill = give(true);
        let first = loop {
            match desk.kills.is_empty() {
                true => tokio::task::yield_now().await,
                false => break desk.next().await.unwrap(),
            }
        };
        assert!(cuts_off(&first.order));
        for given in waiting {
            given.abort();
            drop(given.await);
        }
        let ask = desk.waiting().unwrap();
        assert!(ask.is_given_up(), "nobody waits for it");
        kill.abort();
        drop(kill.await);
        assert!(!first.is_given_up(), "a kill switch is put on though its giver has gone");
    }
}
