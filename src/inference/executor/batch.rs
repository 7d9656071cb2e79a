//! Running a batch and taking its answers apart.
//!
//! Owns the isolation of its members: what fails together is run again one by one, and only the
//! culprit's caller reads of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Counters;
use super::lane::Tally;
use super::pending::Reply;
use crate::inference::local_model::{InferError, LocalModel, Prepared};
use crate::protocol::tensor::Tensor;

/// What a model answered to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// The wanted outputs, in the order of the request.
    pub outputs: Vec<Tensor>,
    /// How long the model ran, for all that ran together.
    pub took: Duration,
}

/// A request in a batch.
pub(super) struct Member {
    pub(super) prepared: Prepared,
    pub(super) reply: Reply<Result<Ran, InferError>>,
}

/// Runs `members` together and hands each its own rows.
pub(super) fn run(
    model: &Arc<LocalModel>,
    members: Vec<Member>,
    tally: &Tally,
    counters: &Counters,
) {
    let began = Instant::now();
    let (prepared, replies): (Vec<_>, Vec<_>) =
        members.into_iter().map(|member| (member.prepared, member.reply)).unzip();
    if prepared.len() > 1 {
        match model.run_together(&prepared) {
            Ok(answers) => {
                let took = began.elapsed();
                for (outputs, reply) in answers.into_iter().zip(replies) {
                    reply.finish(Ok(Ran { outputs, took }), began, counters);
                }
                return;
            }
            Err(error) => {
                tally.taken_apart.fetch_add(1, Relaxed);
                tracing::debug!(%error, requests = replies.len(), "a batch is run one by one");
            }
        }
    }
    for (prepared, reply) in prepared.into_iter().zip(replies) {
        let began_own = Instant::now();
        let result = model.run(&prepared);
        let ran = result.map(|outputs| Ran { outputs, took: began_own.elapsed() });
        reply.finish(ran, began, counters);
    }
}
