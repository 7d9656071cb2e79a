//! The one table from what went wrong to what the client is told.
//!
//! Owns every status that the gateway makes itself, its reason word and the outcome in the record.
//! Never decides whether something went wrong.

use std::fmt;

use http::StatusCode;

use crate::domain::record::Outcome;
use crate::domain::routing::NoRoute;
use crate::protocol::dialect::Operation;
use crate::protocol::status::GrpcCode;

/// The header that carries the reason word.
pub(super) const ERROR_HEADER: &str = "x-pointsman-error";

/// The longest detail; all that a caller needs is much shorter.
const DETAIL_BYTES_MAX: usize = 4096;

/// Something the gateway answers itself: a row of the table and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) cause: Cause,
    /// What is wrong, for the caller and the record; never a body or a secret, though where the cause
    /// [may quote](Cause::may_quote) a single value may stand in it.
    pub(super) detail: String,
    /// The methods for the `Allow` header of a 405.
    pub(super) allow: Option<&'static str>,
    /// The body could not be read at all.
    pub(super) unreadable: bool,
}

impl Problem {
    /// Of a long `detail` the beginning is kept: it goes into the answer, the record and the log.
    pub(super) fn new(cause: Cause, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > DETAIL_BYTES_MAX {
            let whole = detail.char_indices().map(|(start, _)| start);
            let end = whole.take_while(|start| *start <= DETAIL_BYTES_MAX).last();
            detail.truncate(end.unwrap_or_default());
            detail.push('…');
        }
        Self { cause, detail, allow: None, unreadable: false }
    }

    /// A body that is not what its protocol says.
    pub(super) fn unreadable(detail: impl Into<String>) -> Self {
        Self { unreadable: true, ..Self::new(Cause::BadInput, detail) }
    }

    /// The status that Triton answers, for clients that were written to it.
    pub(super) fn triton_status(&self, operation: Option<Operation>) -> StatusCode {
        let is_unknown = matches!(self.cause, Cause::UnknownModel | Cause::UnknownVersion);
        match (operation, self.cause) {
            (Some(Operation::ModelReady), Cause::NoReadyVersion) => return StatusCode::BAD_REQUEST,
            (Some(Operation::ModelReady), _) if is_unknown => return StatusCode::BAD_REQUEST,
            (Some(Operation::Load), _) if is_unknown => return StatusCode::INTERNAL_SERVER_ERROR,
            _ => {}
        }
        match self.cause {
            Cause::BadInput if self.unreadable => StatusCode::INTERNAL_SERVER_ERROR,
            Cause::Encoding => StatusCode::NOT_IMPLEMENTED,
            Cause::NotReady => StatusCode::BAD_REQUEST,
            cause => cause.status(),
        }
    }

    /// A method that the path does not have; `allow` is what it has.
    pub(super) fn method(detail: impl Into<String>, allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(Cause::Method, detail) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause.reason(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<NoRoute> for Problem {
    fn from(no_route: NoRoute) -> Self {
        let cause = match no_route {
            NoRoute::NoRoute => Cause::NoRoute,
            NoRoute::UnknownModel => Cause::UnknownModel,
            NoRoute::UnknownVersion(_) => Cause::UnknownVersion,
            NoRoute::NoReadyVersion(_) => Cause::NoReadyVersion,
            NoRoute::EmptyPool => Cause::EmptyPool,
            NoRoute::TwoVersions(_) => Cause::TwoVersions,
            NoRoute::Killed(..) => Cause::Killed,
        };
        Self::new(cause, no_route.to_string())
    }
}

impl Cause {
    /// Whether the detail of a problem may quote values of the request's body.
    pub(super) const fn may_quote(self) -> bool {
        matches!(self, Self::BadInput | Self::Model | Self::ModelPanic)
    }

    /// Whether it speaks against the version that was to answer. What the client, the log or the gateway
    /// as a whole is to blame for does not.
    pub(super) const fn blames_version(self) -> bool {
        matches!(
            self,
            Self::Model
                | Self::ModelPanic
                | Self::NoForm
                | Self::NoReadyVersion
                | Self::UnknownDialect
                | Self::Connect
                | Self::Reset
                | Self::Garbage
                | Self::Translation
                | Self::QueueFull
                | Self::QueueTimeout
                | Self::ConnectTimeout
                | Self::FirstByteTimeout
                | Self::IdleTimeout
                | Self::RequestTimeout
        )
    }
}

/// Declares the causes with their status, reason word, outcome and gRPC status, one row each.
macro_rules! table {
    ($($(#[$doc:meta])* $cause:ident => $status:ident $reason:literal $outcome:ident $code:ident,)+) => {
        /// What went wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Cause { $($(#[$doc])* $cause,)+ }

        impl Cause {
            pub(super) const ALL: &'static [Self] = &[$(Self::$cause,)+];

            /// The status of the answer.
            pub(super) const fn status(self) -> StatusCode {
                match self { $(Self::$cause => StatusCode::$status,)+ }
            }

            /// The word in `x-pointsman-error`, in `error_code` and in metrics.
            pub(super) const fn reason(self) -> &'static str {
                match self { $(Self::$cause => $reason,)+ }
            }

            /// The status towards a client that speaks gRPC.
            pub(super) const fn grpc(self) -> GrpcCode {
                match self { $(Self::$cause => GrpcCode::$code,)+ }
            }

            /// Whom the record blames.
            pub(super) const fn outcome(self) -> Outcome {
                match self { $(Self::$cause => Outcome::$outcome,)+ }
            }
        }
    };
}

table! {
    /// The head or the framing of the request is not sound.
    Malformed => BAD_REQUEST "malformed_request" Rejected InvalidArgument,
    /// The body is not what the protocol or the model asks for.
    BadInput => BAD_REQUEST "bad_input" Rejected InvalidArgument,
    /// The request asks for two versions.
    TwoVersions => BAD_REQUEST "two_versions" Rejected InvalidArgument,
    /// No rule takes the request.
    NoRoute => NOT_FOUND "no_route" Rejected Unimplemented,
    /// The model does not exist.
    UnknownModel => NOT_FOUND "unknown_model" Rejected NotFound,
    /// The version does not exist.
    UnknownVersion => NOT_FOUND "unknown_version" Rejected NotFound,
    /// The client broke off in the middle of its body.
    Gone => BAD_REQUEST "client_gone" ClientCancel Cancelled,
    /// The model cannot read this `Content-Encoding`.
    Encoding => UNSUPPORTED_MEDIA_TYPE "unsupported_encoding" Rejected Unimplemented,
    /// An `Expect` other than `100-continue`.
    Expectation => EXPECTATION_FAILED "expectation_failed" Rejected InvalidArgument,
    /// The protocol has this, and it is not served here.
    Unsupported => NOT_IMPLEMENTED "unsupported" Rejected Unimplemented,
    /// The path exists, the method does not.
    Method => METHOD_NOT_ALLOWED "method_not_allowed" Rejected Unimplemented,
    /// The head did not arrive in time.
    HeaderTimeout => REQUEST_TIMEOUT "header_timeout" Timeout DeadlineExceeded,
    /// The body stopped arriving.
    BodyTimeout => REQUEST_TIMEOUT "body_timeout" Timeout DeadlineExceeded,
    /// The body is longer than the limit.
    BodyTooLarge => PAYLOAD_TOO_LARGE "body_too_large" Rejected ResourceExhausted,
    /// The request target is longer than the limit.
    TargetTooLong => URI_TOO_LONG "target_too_long" Rejected InvalidArgument,
    /// The head is longer than the limit.
    HeadTooLarge => REQUEST_HEADER_FIELDS_TOO_LARGE "head_too_large" Rejected ResourceExhausted,
    /// The model failed on this input.
    Model => INTERNAL_SERVER_ERROR "model_error" ModelError Internal,
    /// The model panicked.
    ModelPanic => INTERNAL_SERVER_ERROR "model_panic" ModelError Internal,
    /// A connection to the backend could not be made.
    Connect => BAD_GATEWAY "upstream_connect" UpstreamError Unavailable,
    /// The backend broke off.
    Reset => BAD_GATEWAY "upstream_reset" UpstreamError Unavailable,
    /// The backend's answer is not HTTP.
    Garbage => BAD_GATEWAY "upstream_protocol" UpstreamError Internal,
    /// The backend's answer cannot be put into the client's protocol.
    Translation => BAD_GATEWAY "translation" UpstreamError Internal,
    /// It is not known what the backends of the version speak.
    UnknownDialect => SERVICE_UNAVAILABLE "unknown_dialect" Shed Unavailable,
    /// The gateway is not ready.
    NotReady => SERVICE_UNAVAILABLE "not_ready" Shed Unavailable,
    /// The body has a content type that the dialect does not have.
    Media => UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" Rejected InvalidArgument,
    /// The client takes the answer in no form or coding that there is.
    NotAcceptable => NOT_ACCEPTABLE "not_acceptable" Rejected InvalidArgument,
    /// The client's dialect has no form for the answer.
    NoForm => INTERNAL_SERVER_ERROR "no_form" ModelError Internal,
    /// The gateway's own code panicked on a body.
    Panicked => INTERNAL_SERVER_ERROR "internal_error" ModelError Internal,
    /// The state of the model does not allow it.
    Refused => CONFLICT "refused" Rejected FailedPrecondition,
    /// Clients may not load or unload models here.
    Forbidden => FORBIDDEN "forbidden" Rejected PermissionDenied,
    /// No version of the model can be used.
    NoReadyVersion => SERVICE_UNAVAILABLE "no_ready_version" Shed Unavailable,
    /// A kill switch cuts the version, the model or all models off.
    Killed => SERVICE_UNAVAILABLE "killed" Shed Unavailable,
    /// No member of the pool has been discovered.
    EmptyPool => SERVICE_UNAVAILABLE "empty_pool" Shed Unavailable,
    /// Bodies that are held whole take as much memory as they may.
    Overloaded => SERVICE_UNAVAILABLE "overloaded" Shed ResourceExhausted,
    /// The queue of the model is full.
    QueueFull => SERVICE_UNAVAILABLE "queue_full" Shed Unavailable,
    /// The time in the queue ran out.
    QueueTimeout => SERVICE_UNAVAILABLE "queue_timeout" Shed Unavailable,
    /// The prediction log has no room, and an exchange must not go unrecorded.
    LogFull => SERVICE_UNAVAILABLE "log_full" Shed Unavailable,
    /// The record of an answer is not safe, and the answer must not be given without it.
    RecordLost => SERVICE_UNAVAILABLE "record_lost" Shed Unavailable,
    /// The gateway ended before the answer was complete.
    Shutdown => SERVICE_UNAVAILABLE "shutdown" Shed Unavailable,
    /// Feedback cannot be kept.
    FeedbackUnavailable => SERVICE_UNAVAILABLE "feedback_unavailable" Shed Unavailable,
    /// There are as many client connections as allowed.
    Connections => SERVICE_UNAVAILABLE "connection_limit" Shed Unavailable,
    /// The backend did not accept the connection in time.
    ConnectTimeout => GATEWAY_TIMEOUT "upstream_connect_timeout" Timeout Unavailable,
    /// The backend did not begin to answer in time.
    FirstByteTimeout => GATEWAY_TIMEOUT "upstream_timeout" Timeout DeadlineExceeded,
    /// The backend stopped in the middle of its answer.
    IdleTimeout => GATEWAY_TIMEOUT "upstream_idle_timeout" Timeout DeadlineExceeded,
    /// The whole request took too long.
    RequestTimeout => GATEWAY_TIMEOUT "request_timeout" Timeout DeadlineExceeded,
}

/// The body of an answer that the gateway makes: `{"error": "…"}`, as the Open Inference Protocol
/// has it.
pub(super) fn body(problem: &Problem) -> String {
    serde_json::json!({ "error": problem.detail }).to_string()
}

/// A whole answer for a connection that has no HTTP machinery left; the connection closes after it.
pub(super) fn raw_response(problem: &Problem) -> Vec<u8> {
    let status = problem.cause.status();
    let body = body(problem);
    format!(
        "HTTP/1.1 {} {}\r\n{ERROR_HEADER}: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        problem.cause.reason(),
        body.len(),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_own_reason_and_an_outcome_that_fits_its_status() {
        let mut reasons = std::collections::BTreeSet::new();
        for &cause in Cause::ALL {
            assert!(reasons.insert(cause.reason()), "{} stands twice", cause.reason());
            let expected: &[Outcome] = match cause.status().as_u16() {
                408 | 504 => &[Outcome::Timeout],
                400..=499 => &[Outcome::Rejected, Outcome::ClientCancel],
                500 => &[Outcome::ModelError],
                501 => &[Outcome::Rejected],
                502 => &[Outcome::UpstreamError],
                503 => &[Outcome::Shed],
                other => panic!("{other} is no status of the table"),
            };
            assert!(expected.contains(&cause.outcome()), "{}", cause.reason());
        }
    }

    #[test]
    fn of_a_long_detail_the_beginning_is_kept() {
        for (text, kept) in [("a", DETAIL_BYTES_MAX), ("ä", DETAIL_BYTES_MAX), ("€", 4095)] {
            let problem = Problem::new(Cause::BadInput, text.repeat(DETAIL_BYTES_MAX + 1));
            assert_eq!(problem.detail.strip_suffix('…').map(str::len), Some(kept));
        }
        let whole = "a".repeat(DETAIL_BYTES_MAX);
        assert_eq!(Problem::new(Cause::BadInput, whole.clone()).detail, whole);
    }

    #[test]
    fn the_detail_is_escaped() {
        let problem = Problem::new(Cause::BadInput, "a \"quoted\"\nline");
        assert_eq!(body(&problem), r#"{"error":"a \"quoted\"\nline"}"#);
    }
}
