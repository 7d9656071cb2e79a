//! The end of a call, as a client reads it.
//!
//! Owns where status and message of a call stand, and the one message of a call that has one. Never reads a
//! socket.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::frame::{FrameError, FrameReader};
use super::header::decode_message;
use crate::protocol::status::GrpcCode;

/// Carries the code.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Carries the message.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status in trailers, or in the head of an answer without a message; without one the HTTP status
/// decides.
pub fn status_of(headers: &HeaderMap, http: u16) -> GrpcCode {
    match headers.get(&GRPC_STATUS) {
        Some(value) => GrpcCode::parse(value.as_bytes()),
        None => GrpcCode::of_http(http),
    }
}

/// The message in trailers.
pub fn message_of(headers: &HeaderMap) -> String {
    let message = headers.get(&GRPC_MESSAGE).map(|value| value.as_bytes()).unwrap_or_default();
    decode_message(message).into_owned()
}

/// An answer without a message that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnaryError {
    /// The call failed.
    #[error("the call ended with {code:?}: {message}")]
    Failed {
        /// Its status.
        code: GrpcCode,
        /// The server's words.
        message: String,
    },
    /// The body is no sequence of messages.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The call succeeded without one.
    #[error("it has no message")]
    Empty,
}

/// The message of a whole answer, from its HTTP status, head, trailers and body.
///
/// # Errors
/// When the call failed, or there is none.
pub fn unary_message(
    http: u16,
    head: &HeaderMap,
    trailers: &HeaderMap,
    body: &Bytes,
) -> Result<Bytes, UnaryError> {
    let ended = if trailers.is_empty() { head } else { trailers };
    let code = status_of(ended, http);
    if code != GrpcCode::Ok {
        return Err(UnaryError::Failed { code, message: message_of(ended) });
    }
    let mut reader = FrameReader::new(body.len());
    reader.push(body.clone());
    Ok(reader.next_frame()?.ok_or(UnaryError::Empty)?.payload)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ended(code: &'static str, message: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_STATUS, HeaderValue::from_static(code));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
        headers
    }

    #[test]
    fn the_message_is_read_or_it_is_said_why_there_is_none() {
        let none = HeaderMap::new();
        let body = Bytes::from_static(b"\0\0\0\0\x02hi");
        let read = |head: &HeaderMap, trailers: &HeaderMap, body: &Bytes| {
            unary_message(200, head, trailers, body)
        };
        assert_eq!(read(&none, &ended("0", ""), &body), Ok(Bytes::from_static(b"hi")));
        assert_eq!(read(&none, &ended("0", ""), &Bytes::new()), Err(UnaryError::Empty));
        let failed =
            UnaryError::Failed { code: GrpcCode::NotFound, message: "no such model".to_owned() };
        assert_eq!(read(&ended("5", "no%20such model"), &none, &Bytes::new()), Err(failed));
        let broken = Bytes::from_static(b"\x07\0\0\0\x02hi");
        assert_eq!(read(&none, &ended("0", ""), &broken), Err(FrameError::Flag(7).into()));
        let unknown = unary_message(503, &none, &none, &body);
        assert!(matches!(unknown, Err(UnaryError::Failed { code: GrpcCode::Unavailable, .. })));
    }
}
