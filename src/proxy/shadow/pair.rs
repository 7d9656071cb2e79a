//! Whether two answers to one request say the same.
//!
//! Owns what is handed to the monitor's readers for it, and what an answer means that cannot be read. Never
//! counts.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::Copy;
use crate::domain::ids::Entropy;
use crate::domain::record::Protocol;
use crate::domain::spec::Tolerance;
use crate::domain::trial::pairs::{Likeness, PairOutcome};
use crate::monitor::pairs::{Compared, compare};
use crate::monitor::{About, Content};
use crate::proxy::exchange::Exchange;
use crate::proxy::problem::{Cause, Problem};

/// What a version that failed has shown.
pub(super) fn failed(problem: &Problem) -> PairOutcome {
    match problem.cause {
        // A model that panics, or whose output has no form, gave no valid output.
        Cause::ModelPanic | Cause::NoForm | Cause::Garbage => PairOutcome::Invalid,
        _ => PairOutcome::Failed,
    }
}

/// Two answers.
pub(super) struct Twins {
    protocol: Protocol,
    path: Box<str>,
    request: Content,
    ours: Content,
    theirs: Content,
    about: Arc<About>,
    entropy: Entropy,
}

impl Twins {
    pub(super) fn new(exchange: &Exchange, copy: &Copy, response: &Response<Bytes>) -> Self {
        let headers = &copy.parts.headers;
        let champion = copy.snapshot.target(copy.champion.target);
        Self {
            protocol: exchange.protocol(),
            path: copy.parts.uri.path().into(),
            request: Content::of(headers, copy.request.iter().cloned()),
            ours: copy.champion.content.clone(),
            theirs: Content::of(response.headers(), [response.body().clone()]),
            about: champion.about(),
            entropy: copy.entropy,
        }
    }

    /// Compares them; `None` where the champion's answer tells nothing that can be compared.
    pub(super) fn compare(&self, tolerance: Tolerance) -> Option<Likeness> {
        let twins = Compared {
            protocol: self.protocol,
            path: &self.path,
            request: &self.request,
            ours: &self.ours,
            theirs: &self.theirs,
        };
        compare(&twins, &self.about, self.entropy, tolerance)
    }
}
