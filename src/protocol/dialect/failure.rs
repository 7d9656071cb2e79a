//! Errors, as each dialect writes them.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use smallvec::smallvec;

use super::{Dialect, Pieces};
use crate::protocol::json::{Reader, Token};
use crate::protocol::{open_inference, sagemaker, torchserve};

/// What a backend said instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backend answered {status}: {message}")]
pub struct BackendFailure {
    /// Its status.
    pub status: StatusCode,
    /// Its own words, shortened; the status's reason where it had none.
    pub message: String,
}

/// The most characters of a backend's words that are kept.
const MESSAGE_CHARS_MAX: usize = 1024;

/// An error in the dialect's shape and with the status that its clients expect. TensorFlow Serving,
/// TorchServe and SageMaker have no word for a bad gateway: it is unavailable.
pub fn encode_failure(dialect: Dialect, status: StatusCode, message: &str) -> Response<Pieces> {
    let has_bad_gateway = matches!(
        dialect,
        Dialect::OpenInference | Dialect::OpenInferenceGrpc | Dialect::KserveV1 | Dialect::Raw
    );
    let status = if status == StatusCode::BAD_GATEWAY && !has_bad_gateway {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        status
    };
    let body = match dialect {
        Dialect::Torchserve => torchserve::encode_error(status.as_u16(), message),
        Dialect::Sagemaker => sagemaker::encode_error(status.as_u16(), message),
        Dialect::OpenInference
        | Dialect::OpenInferenceGrpc
        | Dialect::KserveV1
        | Dialect::TensorflowServing
        | Dialect::Raw => open_inference::encode_error(message),
    };
    let mut response = Response::new(smallvec![Bytes::from(body)]);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Reads what a backend said instead of an answer, in the words of any dialect: the text under
/// `error`, `message` or `detail` of an object, or of the object under `error`; a text; else the
/// body's beginning.
pub fn decode_failure(status: StatusCode, body: &[u8]) -> BackendFailure {
    let message = words(body).filter(|words| !words.trim().is_empty()).or_else(|| {
        let text = std::str::from_utf8(body).ok()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    });
    let reason = || status.canonical_reason().unwrap_or("no reason was given").to_owned();
    let message: String = message.unwrap_or_else(reason).chars().take(MESSAGE_CHARS_MAX).collect();
    BackendFailure { status, message }
}

fn words(body: &[u8]) -> Option<String> {
    let mut reader = Reader::new(body);
    match reader.peek().ok()? {
        Token::String => reader.string().ok().map(String::from),
        Token::Object => words_of(&mut reader),
        Token::Null | Token::Boolean | Token::Number | Token::Array => None,
    }
}

/// The words of an object; the recursion is as deep as the reader allows nesting.
fn words_of(reader: &mut Reader<'_>) -> Option<String> {
    let mut found: Option<(u8, String)> = None;
    let read = reader.object(|reader, key| {
        let rank = match key {
            "error" => 3,
            "message" => 2,
            "detail" => 1,
            _ => return reader.skip(),
        };
        let start = reader.clone();
        let words = match reader.peek()? {
            Token::String => Some(reader.string()?.into_owned()),
            Token::Object => {
                let mut inner = start;
                reader.skip()?;
                words_of(&mut inner)
            }
            Token::Null | Token::Boolean | Token::Number | Token::Array => {
                let here = reader.offset();
                reader.skip()?;
                let text = String::from_utf8_lossy(reader.read_since(here)).into_owned();
                (rank == 1).then_some(text)
            }
        };
        if let Some(words) = words
            && found.as_ref().is_none_or(|(own, _)| *own < rank)
        {
            found = Some((rank, words));
        }
        Ok(())
    });
    read.ok()?;
    found.map(|(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_every_server_are_found() {
        let cases = [
            (
                r#"{"error":"Request for unknown model: 'nope' is not found"}"#,
                "Request for unknown model: 'nope' is not found",
            ),
            (
                r#"{"code":404,"type":"ModelNotFoundException","message":"Model not found: m"}"#,
                "Model not found: m",
            ),
            (r#"{"error_code":"BAD_REQUEST","message":"bad"}"#, "bad"),
            (r#"{"detail":"Invalid input data"}"#, "Invalid input data"),
            (r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#, r#"[{"loc":["body"],"msg":"x"}]"#),
            (r#"{"error":{"code":5,"message":"inner"}}"#, "inner"),
            (r#""plain""#, "plain"),
            ("Internal Server Error", "Internal Server Error"),
            ("", "Internal Server Error"),
            ("\u{1}", "\u{1}"),
            (r#"{"error":null}"#, r#"{"error":null}"#),
            (r#"{"error":""}"#, r#"{"error":""}"#),
            (r#"" ""#, r#"" ""#),
        ];
        for (body, words) in cases {
            let failure = decode_failure(StatusCode::INTERNAL_SERVER_ERROR, body.as_bytes());
            assert_eq!(failure.message, words.trim(), "{body}");
        }
        let long = "x".repeat(10_000);
        assert_eq!(decode_failure(StatusCode::OK, long.as_bytes()).message.len(), 1024);
        let failure = decode_failure(StatusCode::OK, &[0xff]);
        assert_eq!(failure.message, "OK");
    }

    #[test]
    fn errors_have_the_shape_and_the_status_of_their_dialect() {
        let answer = |dialect| {
            let response = encode_failure(dialect, StatusCode::BAD_GATEWAY, "no \"luck\"");
            let body = String::from_utf8(response.body().concat()).unwrap();
            (response.status().as_u16(), body)
        };
        let error = r#"{"error":"no \"luck\""}"#.to_owned();
        assert_eq!(answer(Dialect::OpenInference), (502, error.clone()));
        assert_eq!(answer(Dialect::KserveV1), (502, error.clone()));
        assert_eq!(answer(Dialect::TensorflowServing), (503, error));
        assert_eq!(
            answer(Dialect::Torchserve).1,
            r#"{"code":503,"type":"ServiceUnavailableException","message":"no \"luck\""}"#
        );
        assert_eq!(
            answer(Dialect::Sagemaker).1,
            r#"{"error_code":"TEMPORARILY_UNAVAILABLE","message":"no \"luck\""}"#
        );
        for dialect in Dialect::ALL {
            let response = encode_failure(dialect, StatusCode::NOT_FOUND, "m is unknown");
            let failure = decode_failure(response.status(), &response.body().concat());
            let known =
                BackendFailure { status: StatusCode::NOT_FOUND, message: "m is unknown".into() };
            assert_eq!(failure, known, "{dialect}");
        }
    }
}
