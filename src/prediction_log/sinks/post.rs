//! Posting over HTTP/1.1: to one URL, on a connection that is kept open.
//!
//! Owns the connection, and what an answer means. Never follows a redirect, never keeps or logs what an
//! answer holds, and never tries again by itself: that is for whoever has the patience.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Failure;
use super::state::FailureReason;
use crate::domain::spec::Secret;

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION")));
/// The most bytes of an answer that are read, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why nothing can be posted to a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// It is none that is understood.
    #[error("it is no `http://` URL")]
    Url,
    /// The authorization cannot be sent.
    #[error("the authorization has characters that a header cannot carry")]
    Authorization,
}

/// One URL that is posted to.
#[derive(Debug)]
pub struct HttpPost {
    /// `HOST:PORT` to connect to.
    address: String,
    uri: Uri,
    headers: HeaderMap,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl HttpPost {
    /// Prepares to post bodies of one type; connects to nothing.
    ///
    /// # Errors
    /// [`PostError`] says what cannot be sent.
    pub fn new(
        url: &str,
        content_type: HeaderValue,
        authorization: Option<&Secret>,
    ) -> Result<Self, PostError> {
        let whole: Uri = url.parse().map_err(|_invalid| PostError::Url)?;
        let authority = whole.authority().ok_or(PostError::Url)?;
        if whole.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(PostError::Url);
        }
        let host = HeaderValue::try_from(authority.as_str()).map_err(|_invalid| PostError::Url)?;
        let target = whole.path_and_query().map_or("/", |target| target.as_str());
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host);
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(USER_AGENT, AGENT);
        if let Some(secret) = authorization {
            let value = HeaderValue::try_from(secret.expose());
            let mut value = value.map_err(|_invalid| PostError::Authorization)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self {
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            uri: target.parse().map_err(|_invalid| PostError::Url)?,
            headers,
            kept: None,
        })
    }

    /// Posts a body, and waits for the answer; any 2xx is the acknowledgement.
    ///
    /// # Errors
    /// [`Failure`] says whether it may pass.
    pub async fn post(&mut self, body: Bytes) -> Result<(), Failure> {
        let response = self.send(body).await?;
        let (head, body) = response.into_parts();
        // The answer's body means nothing, but the connection is only free after it. A long or broken
        // one costs the connection.
        if Limited::new(body, ANSWER_BYTES_MAX).collect().await.is_err() {
            self.kept = None;
        }
        judge(head.status, &head.headers)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let failed = |what: &str, error: &dyn std::error::Error| {
            let detail = format!("{what} {}: {error}", self.address);
            Failure::passing(FailureReason::Connect, detail)
        };
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|error| failed("cannot connect to", &error))?;
        // A body is written at once; waiting for more would only delay its end.
        stream.set_nodelay(true).map_err(|error| failed("cannot set up", &error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed("cannot speak to", &error))?;
        // Ends with the sender; its error is the request's, too.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// The kept connection, if it is still good.
    async fn kept(&mut self) -> Option<SendRequest<Full<Bytes>>> {
        // The connection was not looked at since the last body: it may have been closed meanwhile.
        tokio::task::yield_now().await;
        let mut sender = self.kept.take()?;
        sender.ready().await.ok()?;
        Some(sender)
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// Sends a body on the kept connection or on a new one. A kept one that turns out dead is replaced
    /// at once, which may deliver it twice, as every retry may.
    async fn send(&mut self, body: Bytes) -> Result<Response<Incoming>, Failure> {
        if let Some(mut sender) = self.kept().await
            && let Ok(response) = sender.send_request(self.request(body.clone())).await
        {
            self.kept = Some(sender);
            return Ok(response);
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(self.request(body)).await.map_err(|error| {
            let detail = format!("no answer from {}: {error}", self.address);
            Failure::passing(FailureReason::Connect, detail)
        })?;
        self.kept = Some(sender);
        Ok(response)
    }
}

/// What an answer means. Statuses that speak of the content are final; those that speak of the address,
/// the credentials or the state of the receiver are not, for they hold for every record alike and
/// someone will mend them.
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let (reason, is_final) = match status.as_u16() {
        408 | 425 | 429 | 503 => (FailureReason::Busy, false),
        300..=399 | 401..=405 | 407 | 410 | 421 => (FailureReason::Denied, false),
        400..=499 => (FailureReason::Refused, true),
        _ => (FailureReason::Failed, false),
    };
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Err(Failure {
        reason,
        detail: format!("status {}", status.as_u16()),
        is_final,
        retry_after: retry_after.and_then(pause),
    })
}

/// `Retry-After` as a time from now: seconds or a date, RFC 9110 section 10.2.3.
fn pause(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let then = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = then.duration_since(jiff::Timestamp::now());
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_they_speak_of() {
        let judged =
            |status: u16| judge(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new());
        for taken in [200, 202, 204] {
            assert_eq!(judged(taken), Ok(()), "{taken}");
        }
        for passing in [301, 401, 403, 404, 405, 407, 408, 410, 421, 425, 429, 500, 502, 503, 504] {
            assert!(!judged(passing).expect_err("a failure").is_final, "{passing}");
        }
        for refused in [400, 406, 409, 413, 415, 422, 431] {
            assert!(judged(refused).expect_err("a failure").is_final, "{refused}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(pause("120"), Some(Duration::from_secs(120)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = jiff::Timestamp::now() + Duration::from_secs(100);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new();
        let date = date.timestamp_to_rfc9110_string(&soon).expect("a date");
        let wait = pause(&date).expect(&date);
        assert!((98..=100).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(pause("soon"), None);
    }

    #[test]
    fn urls_that_cannot_be_sent_to_are_refused() {
        let json = HeaderValue::from_static("application/json");
        for bad in ["", "localhost:80", "https://a/", "ftp://a/", "/path", "http://u:p@a/"] {
            let refused = HttpPost::new(bad, json.clone(), None);
            assert_eq!(refused.expect_err(bad), PostError::Url);
        }
        let post = HttpPost::new("http://[::1]/a?b=c", json.clone(), None).expect("a URL");
        assert_eq!((post.address.as_str(), post.uri.to_string().as_str()), ("[::1]:80", "/a?b=c"));
        let secret = Secret::new("a\nb");
        let refused = HttpPost::new("http://a/", json, Some(&secret));
        assert_eq!(refused.expect_err("a line break"), PostError::Authorization);
    }
}
