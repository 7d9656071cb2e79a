//! Orders to replay logged requests through the version that gets copies.
//!
//! Owns the way from whoever follows the life cycle to the thread that makes copies, which carries out one order at
//! a time. Never waits.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Trial;
use crate::domain::ids::ModelName;

/// Orders that may wait; more are refused and can be given again.
const WAITING_MAX: usize = 16;

/// One order.
#[derive(Debug)]
pub struct ReplayOrder {
    /// The model.
    pub model: ModelName,
    /// Where the pairs are counted; a trial on copies.
    pub trial: Arc<Trial>,
    /// The last requests that its champion answered, at most so many.
    pub rows: u64,
    /// Told how it ended.
    pub done: oneshot::Sender<Result<Replayed, String>>,
}

/// What a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Requests that were asked again.
    pub asked: u64,
    /// Rows without their whole bodies, and those that found no room or time.
    pub passed_over: u64,
}

/// Gives orders.
#[derive(Debug, Clone)]
pub struct Replays(mpsc::Sender<ReplayOrder>);

impl Replays {
    /// The two ends: orders are given here and carried out there.
    pub fn channel() -> (Self, mpsc::Receiver<ReplayOrder>) {
        let (orders, taken) = mpsc::channel(WAITING_MAX);
        (Self(orders), taken)
    }

    /// Orders a replay. The answer comes when all pairs are counted; `None` where too many orders wait.
    pub fn order(
        &self,
        model: ModelName,
        trial: Arc<Trial>,
        rows: u64,
    ) -> Option<oneshot::Receiver<Result<Replayed, String>>> {
        let (done, answer) = oneshot::channel();
        self.0.try_send(ReplayOrder { model, trial, rows, done }).ok()?;
        Some(answer)
    }
}
