//! A second try, at the champion, where the version on trial gave no answer; and at the version on trial, where the
//! champion cannot be reached.
//!
//! Owns which failures of the two their client does not see, and what is told of them: the failure counts for
//! whose it is, once, and has a row of its own; the exchange goes on as the other's. A body that is held can be
//! asked twice; of one that streams, nothing may have been sent. There is one second try, and no more requests reach the
//! champion by it than it would answer without a trial. The version on trial is asked in its turn only where no connection
//! to the champion could be made, so that it gets more than its share only of what nobody else would answer, and what it
//! answers then is no evidence of its trial. A request that is not on trial costs one comparison. Never
//! tries again once a byte of an answer is on its way, nor asks whom the snapshot of that moment would not let be asked.
//!
//! ```text
//! candidate ─┬─ answer, also one that says what is wrong ─────────────────────────▶ client
//!            └─ its fault, no byte of an answer, in time ─▶ row `retry` ─▶ champion ─▶ client
//! champion ──┬─ answer, or any other failure ─────────────────────────────────────▶ client
//!            └─ no connection, in time ─────────────────▶ row `retry` ─▶ candidate ─▶ client
//! ```

use std::time::Instant;

use http::HeaderMap;
use http::request::Parts;
use hyper::body::Incoming;

use super::{Answer, Exchange, copy_of, direct, micros};
use crate::domain::record::Latency;
use crate::domain::routing::{self, Decision, Reason, TargetIx};
use crate::protocol::dialect::{Call, same_wire};
use crate::proxy::admit::{Admitted, BodyLength};
use crate::proxy::body::{RequestBody, WHOLE_BYTES_MAX};
use crate::proxy::forward::TRACEPARENT;
use crate::proxy::problem::{Cause, Problem};
use crate::proxy::remote::read_whole;
use crate::proxy::whole;
use crate::snapshot::RuntimeKind;

/// Gets the answer to a request over REST for a prediction that may be asked of another version. What is left in
/// `unread` was not asked for.
pub(super) async fn answer(
    exchange: &mut Exchange,
    decision: Decision,
    call: Option<Call<'_>>,
    mut parts: Parts,
    admitted: &Admitted,
    unread: &mut Option<Incoming>,
) -> Result<Answer, Problem> {
    let first = copy_of(&parts);
    if !is_held(exchange, &decision, call.as_ref(), admitted) {
        let began = exchange.note_time();
        let target = decision.target;
        let tried = direct::dispatch(exchange, target, call.clone(), first, admitted, unread).await;
        let Err(problem) = tried else { return tried };
        let Some(body) = exchange.take_unsent() else { return Err(problem) };
        *unread = Some(body);
        return match exchange.fall_back(began, &problem, &mut parts.headers) {
            Some(second) => {
                direct::dispatch(exchange, second.target, call, parts, admitted, unread).await
            }
            None => Err(problem),
        };
    }
    let Some(body) = unread.take() else {
        return Err(Problem::new(Cause::Gone, "the body is gone"));
    };
    let pieces = read_whole(exchange, body).await?;
    let began = exchange.note_time();
    let again = (call.clone(), pieces.clone());
    let tried = whole::answer(exchange, decision.target, call, first, admitted, pieces).await;
    let Err(problem) = tried else { return tried };
    let Some(second) = exchange.fall_back(began, &problem, &mut parts.headers) else {
        return Err(problem);
    };
    let (call, pieces) = again;
    whole::answer(exchange, second.target, call, parts, admitted, pieces).await
}

/// Whether the body is read before anybody is asked: where the version is asked with all of it anyway.
fn is_held(
    exchange: &Exchange,
    decision: &Decision,
    call: Option<&Call<'_>>,
    admitted: &Admitted,
) -> bool {
    let is_short = |body| matches!(body, BodyLength::Known(length) if length <= WHOLE_BYTES_MAX);
    match &exchange.snapshot.target(decision.target).kind {
        RuntimeKind::Local(_) => true,
        RuntimeKind::Remote(_) if is_short(admitted.body) => true,
        RuntimeKind::Remote(runtime) => match (call, whole::spoken(runtime, call)) {
            (Some(call), Ok(Some(spoken))) => !same_wire(call, spoken),
            (_, Ok(_) | Err(_)) => false,
        },
    }
}

/// Whether the champion may be asked: the failure is the candidate's, and there may be time left.
const fn may_be_tried_again(cause: Cause) -> bool {
    cause.blames_version() && !matches!(cause, Cause::RequestTimeout)
}

/// Whether the candidate may be asked: nobody was reached, so that nothing was done.
const fn reached_nobody(cause: Cause) -> bool {
    matches!(cause, Cause::Connect | Cause::ConnectTimeout)
}

impl Exchange {
    /// Whether a request that was decided for so may be asked of another version.
    pub(in crate::proxy) fn may_fall_back(&self, decision: &Decision) -> bool {
        match decision.reason {
            Reason::Candidate => true,
            // A model of this process needs no connection.
            Reason::Control | Reason::Rest => {
                let is_remote =
                    matches!(self.snapshot.target(decision.target).kind, RuntimeKind::Remote(_));
                is_remote && self.stand_in(decision).is_some()
            }
            _ => false,
        }
    }

    /// Who answers for a champion that cannot be reached.
    fn stand_in(&self, decision: &Decision) -> Option<TargetIx> {
        routing::stand_in_of(&self.snapshot.table, decision.model?)
    }

    /// Who is asked after whoever was decided for has failed like this. The first try may have taken long: who was cut
    /// off or taken away meanwhile, or is held where it was, is not asked.
    fn second(&self, decision: &Decision, cause: Cause) -> Option<TargetIx> {
        let (then, model) = (&self.snapshot.table, decision.model?);
        let other = match decision.reason {
            Reason::Candidate if may_be_tried_again(cause) => {
                routing::champion_of(then, model, self.entropy)
            }
            Reason::Control | Reason::Rest if reached_nobody(cause) => self.stand_in(decision),
            _ => None,
        }?;
        let now = self.context.worker.snapshot();
        routing::may_still_answer(&now.table, then, model, other).then_some(other)
    }

    /// Turns to another version after the one that was asked since `began` has failed. `None` where the failure
    /// stays the answer. `headers` are the client's, for the second try.
    pub(in crate::proxy) fn fall_back(
        &mut self,
        began: Instant,
        problem: &Problem,
        headers: &mut HeaderMap,
    ) -> Option<Decision> {
        let decision = self.decision?;
        let other = self.second(&decision, problem.cause)?;
        if self.note_time() >= self.deadline {
            return None;
        }
        self.context.worker.gateway.counters.retries_fallback.increment(1);
        self.note_retry(began, problem);
        self.tell_failure(problem);
        let second = Decision { target: other, reason: Reason::Fallback, ..decision };
        self.decision = Some(second);
        let worker = &self.context.worker;
        self.snapshot.target(other).metrics.enter(worker.index);
        // What the first try has left is none of the second.
        self.latency = Latency { t_route: self.latency.t_route, ..Latency::default() };
        (self.backend, self.values) = (None, None);
        (self.codec_times, self.batch_size) = ((None, None), None);
        self.hold_only(usize::try_from(self.request.capture.bytes()).unwrap_or(usize::MAX));
        self.wait_until(self.deadline);
        if let Some(trace) = self.trace.and_then(|trace| trace.header())
            && !headers.contains_key(&TRACEPARENT)
        {
            headers.insert(TRACEPARENT, trace);
        }
        Some(second)
    }

    /// Counts a failure that no client sees for the version whose it is, as if it had been the end of the exchange.
    fn tell_failure(&mut self, problem: &Problem) {
        let total = self.now.duration_since(self.began);
        let earlier = self.latency.t_total;
        self.latency.t_total = micros(total);
        self.problem = Some(problem.clone());
        if let Some(target) = self.target() {
            let worker = self.context.worker.index;
            target.metrics.leave(worker);
            target.metrics.ended(worker, problem.cause.outcome());
            target.metrics.duration.record(worker, total);
            target.metrics.tell(worker, &self.ended(total));
        }
        self.count_for_trial(total);
        self.problem = None;
        self.latency.t_total = earlier;
    }

    /// Keeps a body of which nothing was sent, so that another version can be asked with it.
    pub(in crate::proxy) fn keep_unsent(&mut self, body: RequestBody) {
        if let RequestBody::Stream { first, incoming, .. } = body
            && self.decision.is_some_and(|decision| self.may_fall_back(&decision))
            && first.is_empty()
        {
            self.unsent = Some(Box::new(incoming));
        }
    }

    /// Takes it, as if nobody had been asked.
    fn take_unsent(&mut self) -> Option<Incoming> {
        let unsent = self.unsent.take()?;
        if let Some(upload) = self.upload.take() {
            std::mem::swap(&mut self.request.capture, &mut upload.state().capture);
        }
        Some(*unsent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_versions_own_failures_are_tried_again_and_only_while_there_is_time() {
        for &cause in Cause::ALL {
            let expected = match cause {
                Cause::RequestTimeout => false,
                cause => cause.blames_version(),
            };
            assert_eq!(may_be_tried_again(cause), expected, "{}", cause.reason());
        }
        let of_client = [Cause::BadInput, Cause::BodyTimeout, Cause::Gone, Cause::BodyTooLarge];
        let of_gateway = [Cause::LogFull, Cause::Overloaded, Cause::Shutdown, Cause::Killed];
        for cause in of_client.into_iter().chain(of_gateway) {
            assert!(!may_be_tried_again(cause), "{}", cause.reason());
        }
        for cause in [Cause::Connect, Cause::Reset, Cause::ConnectTimeout, Cause::ModelPanic] {
            assert!(may_be_tried_again(cause), "{}", cause.reason());
        }
    }

    #[test]
    fn a_champion_that_may_have_done_something_is_not_asked_for_elsewhere() {
        let nobody: Vec<_> = Cause::ALL.iter().filter(|cause| reached_nobody(**cause)).collect();
        assert_eq!(nobody, [&Cause::Connect, &Cause::ConnectTimeout]);
    }
}
