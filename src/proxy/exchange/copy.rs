//! Copies of exchanges for a version that gets them.
//!
//! Owns what is kept of an exchange that is copied, and the exchange that a copy becomes: one with a record of
//! kind `shadow` that names the client's own, and that counts for nothing else. What is kept takes room as it comes,
//! and only what clients leave. A request of a model without such a version costs one comparison. Never sends anything:
//! [`crate::proxy::shadow`] does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};

use super::{Context, Exchange};
use crate::domain::record::{Outcome, Protocol};
use crate::domain::routing::{Decision, Reason, TargetIx};
use crate::domain::spec::Durability;
use crate::proxy::admit::{Admitted, BodyLength};
use crate::proxy::forward::REQUEST_ID;
use crate::proxy::problem::Problem;
use crate::proxy::shadow::{Champion, Copy, Place};
use crate::snapshot::{Dropped, Pass, Trial};

/// The most bytes of a body that does not tell its length beforehand.
const UNTOLD_BYTES_MAX: usize = 1024 * 1024;

/// What is kept of an exchange that is copied.
pub(super) struct Copying {
    trial: Arc<Trial>,
    pass: Pass,
    target: TargetIx,
    parts: Parts,
    authority: Option<HeaderValue>,
    chosen: Instant,
}

impl Exchange {
    /// Begins to keep what a copy needs, where this request is chosen to be copied.
    pub(in crate::proxy) fn begin_copy(&mut self, parts: &Parts, admitted: &Admitted) {
        let Some(decision) = self.decision else { return };
        let Some(model) = decision.model else { return };
        let Some(target) = self.snapshot.table.model(model).shadow else { return };
        if !decision.reason.is_of_the_split() || self.replayed {
            return;
        }
        let Some(trial) = &self.snapshot.model(model).trial else { return };
        let Some(shadow) = trial.as_shadow() else { return };
        let Some(pass) = shadow.gate.choose(self.now, self.entropy) else { return };
        let (told, limit) = match admitted.body {
            BodyLength::Known(length) => (length, usize::try_from(length).unwrap_or(usize::MAX)),
            BodyLength::Unknown => (0, UNTOLD_BYTES_MAX),
        };
        let budget = &self.context.worker.gateway.held_bodies;
        // Nothing is taken before the client has sent it.
        if !budget.has_spare(told) {
            shadow.gate.drop_one(Dropped::Memory);
            return;
        }
        self.request.capture.copy_too(limit, budget);
        let mut parts = copy_of(parts);
        if let Some(id) = self.request_id_header() {
            parts.headers.insert(REQUEST_ID, id);
        }
        self.copying = Some(Box::new(Copying {
            trial: Arc::clone(trial),
            pass,
            target,
            parts,
            authority: admitted.authority.clone(),
            chosen: self.now,
        }));
    }

    /// The answer begins, of which the copy is to be compared with.
    pub(super) fn copy_response(&mut self, headers: &HeaderMap) {
        if self.copying.is_none() {
            return;
        }
        let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let budget = &self.context.worker.gateway.held_bodies;
        if budget.has_spare(told.unwrap_or(0)) {
            let limit = told.map(|told| usize::try_from(told).unwrap_or(usize::MAX));
            self.response.capture.copy_too(limit.unwrap_or(UNTOLD_BYTES_MAX), budget);
        } else {
            self.give_copy_up(Dropped::Memory);
        }
    }

    fn give_copy_up(&mut self, why: Dropped) {
        let copying = self.copying.take();
        if let Some(shadow) = copying.as_ref().and_then(|copying| copying.trial.as_shadow()) {
            shadow.gate.drop_one(why);
        }
    }

    /// Hands the copy over, once the client has its answer. What the champion could not answer says nothing
    /// about another version.
    pub(super) fn finish_copy(&mut self) {
        if self.copying.is_none() {
            return;
        }
        let kept = match &self.upload {
            Some(upload) => upload.state().capture.take_copy(),
            None => None,
        };
        let request = kept.or_else(|| self.request.capture.take_copy());
        let answer = self.response.capture.take_copy();
        let answered = self.outcome == Outcome::Ok && (200..300).contains(&self.status);
        if !answered || self.told_apart {
            self.copying = None;
            return;
        }
        let (Some((request, of_request)), Some((answer, of_answer))) = (request, answer) else {
            return self.give_copy_up(Dropped::Memory);
        };
        let (Some(copying), Some(decision)) = (self.copying.take(), self.decision) else { return };
        let Copying { trial, pass, target, parts, authority, chosen } = *copying;
        let us = self.latency.t_infer.or(self.latency.t_ttfb);
        let copy = Copy {
            trial: Arc::clone(&trial),
            snapshot: Arc::clone(&self.snapshot),
            decision: Decision { target, reason: Reason::Shadow, ..decision },
            primary: self.id,
            entropy: self.entropy,
            client: self.client,
            parts,
            authority,
            request,
            champion: Champion {
                target: decision.target,
                content: self.response.content_of(answer),
                took: us.map(|us| Duration::from_micros(us.into())),
            },
            chosen,
            ready: self.now,
            replayed: false,
            place: Arc::new(Place { _pass: Some(pass), _request: of_request, _answer: of_answer }),
        };
        if let Err(_full) = self.context.worker.gateway.copies.try_send(Box::new(copy))
            && let Some(shadow) = trial.as_shadow()
        {
            shadow.gate.drop_one(Dropped::Busy);
        }
    }

    /// The exchange of a copy.
    pub(in crate::proxy) fn of_copy(context: Context, copy: &Copy, time: Duration) -> Self {
        let mut exchange = Self::received(context, &copy.parts);
        exchange.parent = Some(copy.primary);
        exchange.entropy = copy.entropy;
        exchange.client = copy.client;
        exchange.snapshot = Arc::clone(&copy.snapshot);
        exchange.policy =
            exchange.snapshot.policies.index_of(copy.decision.route, copy.decision.model);
        exchange.note_request(&copy.parts.headers);
        exchange.decision = Some(copy.decision);
        // Nobody was promised anything about its record.
        if exchange.durability != Durability::Off {
            exchange.durability = Durability::Async;
        }
        exchange.deadline = Instant::now() + time;
        copy.request.iter().for_each(|piece| exchange.see_request(piece));
        exchange
    }

    /// Records a copy. `trailers` end its answer, where it has some.
    pub(in crate::proxy) fn end_copy(
        &mut self,
        answer: &Result<Response<Bytes>, Problem>,
        trailers: &HeaderMap,
    ) {
        match answer {
            Ok(response) => {
                self.note_response(response.headers(), response.status().as_u16());
                self.see_response(response.body());
                if !trailers.is_empty() {
                    self.note_trailers(trailers);
                }
            }
            Err(problem) => {
                self.status = problem.cause.status().as_u16();
                self.problem = Some(problem.clone());
            }
        }
        // Nobody waits for it.
        let _promised = self.finish();
    }

    /// How long the version itself took, where that is known.
    pub(in crate::proxy) fn time_of_version(&self) -> Option<Duration> {
        let us = self.latency.t_infer.or(self.latency.t_ttfb)?;
        Some(Duration::from_micros(us.into()))
    }

    /// What the client speaks.
    pub(in crate::proxy) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether it has ended, and not well.
    pub(in crate::proxy) fn has_failed(&self) -> bool {
        self.outcome != Outcome::Ok
    }

    /// Whether it is the exchange of a copy: no client's.
    pub(in crate::proxy) fn is_copy(&self) -> bool {
        self.parent.is_some()
    }
}

/// The same head again.
pub(in crate::proxy) fn copy_of(parts: &Parts) -> Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = parts.method.clone();
    copy.uri = parts.uri.clone();
    copy.version = parts.version;
    copy.headers = parts.headers.clone();
    copy
}
