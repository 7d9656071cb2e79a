//! What a client is promised about the record of its exchange.
//!
//! Owns what follows from the durability: waiting for room before an exchange under `os` or `sync`
//! begins, waiting for its record before the last byte of its answer, and the refusal where the
//! promise cannot be kept. Never waits under `async` or `off`.
//!
//! ```text
//! room? ──no, refuses──▶ 503 log_full          record safe ───────────────▶ answer
//!   └─ yes, or serves anyway ─▶ … ─▶ offer ─┬─ lost or late, refuses ──────▶ 503 record_lost, or cut
//!                                           └─ lost or late, serves anyway ▶ answer, counted
//! ```

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::{Exchange, MODEL, PREDICTION_ID, Recording, VERSION};
use crate::domain::dialect::Dialect;
use crate::domain::record::Outcome;
use crate::domain::spec::{Durability, StrictStatus};
use crate::prediction_log::{Offer, Ticket};
use crate::protocol::dialect::encode_failure;
use crate::protocol::status::GrpcCode;
use crate::proxy::asked::joined;
use crate::proxy::body::ReplyBody;
use crate::proxy::coding::ACCEPTED;
use crate::proxy::forward::REQUEST_ID;
use crate::proxy::grpc;
use crate::proxy::problem::{Cause, ERROR_HEADER, Problem};

/// Says what the record of the answer survives.
const DURABILITY: HeaderName = HeaderName::from_static("x-pointsman-durability");

/// What became of the record, as far as the answer is concerned.
pub(in crate::proxy) enum Promise {
    /// There is nothing to wait for.
    Kept,
    /// The record will not be in the log.
    Broken,
    /// It waits for the writer.
    Pending(Ticket),
}

impl Exchange {
    /// Waits until the log has room for what is promised.
    ///
    /// # Errors
    /// `log_full` where it has none in time and the exchange must not go unrecorded.
    pub(in crate::proxy) async fn await_room(&mut self) -> Result<(), Problem> {
        let gateway = Arc::clone(&self.context.worker.gateway);
        if !self.is_recorded() || !self.durability.waits() || gateway.recorder.has_room() {
            return Ok(());
        }
        let recorder = &gateway.recorder;
        let room = async {
            while !recorder.has_room() {
                recorder.room().await;
                // It may have been taken by another already.
                tokio::task::yield_now().await;
            }
        };
        let until = self.deadline.min(self.note_time() + gateway.log_block);
        let found = self.context.clock.within(until, room).await;
        self.wait_until(self.deadline);
        if found.is_ok() || !self.policy().refuses {
            // What finds no room at the end either is counted by the log.
            return Ok(());
        }
        // The refusal has a record, too, if one still fits; nobody waits for it.
        self.durability = Durability::Async;
        Err(Problem::new(Cause::LogFull, "the prediction log has no room for a record"))
    }

    /// Ends the exchange: counts it and offers its record. A pending record must be waited for before
    /// the last byte of the response leaves.
    pub(in crate::proxy) fn finish(&mut self) -> Promise {
        let status = self.grpc_status.map_or(self.status, GrpcCode::http_status);
        self.outcome = match &self.problem {
            Some(problem) => problem.cause.outcome(),
            None if status >= 500 => Outcome::UpstreamError,
            None if status >= 400 => Outcome::Rejected,
            None => Outcome::Ok,
        };
        match self.record() {
            Some(Offer::Queued(ticket)) if self.durability.waits() => Promise::Pending(ticket),
            Some(Offer::Dropped(_)) => Promise::Broken,
            Some(Offer::Queued(_) | Offer::Off) | None => Promise::Kept,
        }
    }

    /// Waits for a record; whether it is safe.
    pub(in crate::proxy) fn written(
        &self,
        ticket: Ticket,
    ) -> impl Future<Output = bool> + Send + 'static {
        let recorder = Arc::clone(&self.context.worker.gateway.recorder);
        async move { recorder.written(ticket).await.is_ok() }
    }

    /// Sends a whole answer, after its record where the durability says so.
    pub(super) async fn reply(
        mut self: Box<Self>,
        response: Response<Bytes>,
        mut trailers: Option<HeaderMap>,
    ) -> Response<ReplyBody> {
        let (mut head, mut body) = response.into_parts();
        self.note_response(&head.headers, head.status.as_u16());
        self.see_response(&body);
        let kept = match self.finish() {
            Promise::Kept => true,
            Promise::Broken => {
                self.durability = Durability::Off;
                false
            }
            Promise::Pending(ticket) => {
                let written = self.written(ticket);
                let waited = self.context.clock.within(self.deadline, written).await;
                self.durability = match waited {
                    Ok(true) => self.durability,
                    Ok(false) => Durability::Off,
                    // It may still be written, after the answer.
                    Err(_late) => Durability::Async,
                };
                waited == Ok(true)
            }
        };
        // A refusal for want of room says already what this would say.
        let full = self.problem.as_ref().is_some_and(|problem| problem.cause == Cause::LogFull);
        if !kept && !full && self.note_unrecorded() {
            let detail = "the answer is held back, because its record is not safe";
            let problem = Problem::new(Cause::RecordLost, detail);
            (head, body) = self.problem_response(&problem).into_parts();
            trailers = None;
        }
        self.stamp(&mut head.headers);
        self.leave();
        let data = (!body.is_empty()).then_some(body);
        Response::from_parts(head, ReplyBody::Whole { data, trailers: trailers.map(Box::new) })
    }

    /// Answers with a row of the status table.
    pub(super) async fn refuse(mut self: Box<Self>, problem: Problem) -> Response<ReplyBody> {
        let gateway = &self.context.worker.gateway;
        gateway.counters.error(problem.cause).increment(1);
        let response = self.problem_response(&problem);
        if problem.cause == Cause::Malformed || self.method == Method::CONNECT {
            // Where the next request begins is not certain.
            self.closes = true;
        }
        self.problem = Some(problem);
        self.reply(response, None).await
    }

    /// Ends an exchange whose messages have left already.
    pub(in crate::proxy) fn finish_with(&mut self, problem: Option<Problem>) -> Promise {
        if let Some(problem) = &problem {
            self.context.worker.gateway.counters.error(problem.cause).increment(1);
        }
        self.problem = problem;
        self.finish()
    }

    /// A row of the status table in the client's words.
    fn problem_response(&self, problem: &Problem) -> Response<Bytes> {
        if self.is_grpc {
            return grpc::refusal(problem);
        }
        let triton = self.dialect == Dialect::OpenInference
            && self.context.worker.gateway.protocols.strict_status == StrictStatus::Triton;
        let status =
            if triton { problem.triton_status(self.operation) } else { problem.cause.status() };
        let mut response = joined(encode_failure(self.dialect, status, &problem.detail));
        let headers = response.headers_mut();
        headers.insert(ERROR_HEADER, HeaderValue::from_static(problem.cause.reason()));
        if let Some(allow) = problem.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if problem.cause == Cause::Encoding {
            headers.insert(ACCEPT_ENCODING, ACCEPTED);
        }
        response
    }

    /// What a backend said instead of an answer, in the client's words.
    pub(in crate::proxy) fn failure_response(
        &self,
        status: StatusCode,
        message: &str,
    ) -> Response<Bytes> {
        if self.is_grpc {
            return grpc::failure(grpc::code_for(status), message);
        }
        joined(encode_failure(self.dialect, status, message))
    }

    /// Notes that an answer has no safe record. Whether it must not be given.
    pub(in crate::proxy) fn note_unrecorded(&self) -> bool {
        let refuses = self.policy().refuses;
        if refuses {
            self.context.worker.gateway.counters.error(Cause::RecordLost).increment(1);
        }
        refuses
    }

    /// Adds the headers by which a client can refer to its prediction, and what it is promised.
    pub(super) fn stamp(&self, headers: &mut HeaderMap) {
        if let (Some(request_id), Some(id)) = (self.request_id_header(), &self.id_header) {
            headers.insert(REQUEST_ID, request_id);
            headers.insert(PREDICTION_ID, id.clone());
        }
        let ends = self.closes || self.context.worker.gateway.readiness.is_ending();
        if ends && !self.is_http2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some((model, version)) = self.target().and_then(|target| target.headers.as_ref()) {
            headers.insert(MODEL, model.clone());
            headers.insert(VERSION, version.clone());
        }
        if !self.is_about_itself {
            headers.insert(DURABILITY, HeaderValue::from_static(self.durability.as_str()));
        }
    }

    /// The gateway is asked about itself or a model, not for a prediction.
    pub(in crate::proxy) fn owes_no_record(&mut self) {
        self.recording = Recording::NotOwed;
        self.is_about_itself = true;
    }
}
