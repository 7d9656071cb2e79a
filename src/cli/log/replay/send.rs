//! Sends one request and takes its answer whole.
//!
//! Owns the HTTP/1.1 client side of a replay: connections, time limits and what can go wrong. Never
//! decides when to send or what an answer means.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HOST};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::recorded::Recorded;
use super::target::Target;

/// The longest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most headers of an answer.
const HEADERS_MAX: usize = 128;

/// A connection that can carry another request.
pub(super) struct Link(SendRequest<Full<Bytes>>);

impl Link {
    async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect((target.host(), target.port())).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = Builder::new()
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // It ends with its last request or with the connection; the request says what went wrong.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(Self(sender))
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status.
    pub(super) status: u16,
    /// `content-encoding`, empty for none.
    pub(super) encoding: String,
    /// The body.
    pub(super) body: Bytes,
    /// The id of its record, where a gateway answered.
    pub(super) record_id: Option<String>,
    /// The version that answered, where a gateway did.
    pub(super) version: Option<String>,
    /// From the request being sent to the last byte of the answer; the connection stood already.
    pub(super) took: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// Nobody listens there, or the name is unknown.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection ended before any byte of an answer.
    #[error("the connection was closed before an answer came")]
    Closed(#[source] hyper::Error),
    /// The answer broke off, or is not HTTP.
    #[error("the answer broke off, or is not HTTP")]
    Broken(#[source] hyper::Error),
    /// The answer is longer than this program takes.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The time limit passed.
    #[error("no whole answer within the time limit")]
    Timeout,
}

impl SendError {
    /// The word in reports.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Closed(_) | Self::Broken(_) => "broken",
            Self::TooLong => "too_long",
            Self::Timeout => "timeout",
        }
    }
}

/// Sends `recorded` over `link`, or over a new connection, and waits for the whole answer for at most
/// `limit`. Gives back a connection that can be used again.
pub(super) async fn send(
    link: Option<Link>,
    target: &Target,
    recorded: &Recorded,
    limit: Duration,
) -> (Result<Reply, SendError>, Option<Link>) {
    match tokio::time::timeout(limit, exchange(link, target, recorded)).await {
        Ok(Ok((reply, link))) => (Ok(reply), Some(link)),
        Ok(Err(error)) => (Err(error), None),
        Err(_elapsed) => (Err(SendError::Timeout), None),
    }
}

async fn exchange(
    link: Option<Link>,
    target: &Target,
    recorded: &Recorded,
) -> Result<(Reply, Link), SendError> {
    if let Some(mut link) = link.filter(|link| !link.0.is_closed()) {
        match ask(&mut link, target, recorded).await {
            // The server may have closed a connection that lay idle just now: as every client does,
            // the request is sent once more over a new one.
            Err(SendError::Closed(_)) => {}
            result => return result.map(|reply| (reply, link)),
        }
    }
    let mut link = Link::open(target).await.map_err(SendError::Connect)?;
    ask(&mut link, target, recorded).await.map(|reply| (reply, link))
}

async fn ask(link: &mut Link, target: &Target, recorded: &Recorded) -> Result<Reply, SendError> {
    link.0.ready().await.map_err(SendError::Closed)?;
    let began = Instant::now();
    let response = link.0.send_request(request(target, recorded)).await;
    let (head, body) = response.map_err(no_head)?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(unreadable)?;
    Ok(Reply {
        status: head.status.as_u16(),
        encoding: text(&head.headers, CONTENT_ENCODING.as_str()).unwrap_or_default(),
        body: body.to_bytes(),
        record_id: text(&head.headers, "x-prediction-id"),
        version: text(&head.headers, "x-pointsman-version"),
        took: began.elapsed(),
    })
}

fn request(target: &Target, recorded: &Recorded) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(recorded.body.clone()));
    *request.method_mut() = recorded.method.clone();
    *request.uri_mut() = recorded.uri.clone();
    *request.headers_mut() = recorded.headers.clone();
    request.headers_mut().insert(HOST, target.host_header());
    request
}

fn no_head(error: hyper::Error) -> SendError {
    if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
        return SendError::Closed(error);
    }
    SendError::Broken(error)
}

fn unreadable(error: Box<dyn std::error::Error + Send + Sync>) -> SendError {
    if error.is::<LengthLimitError>() {
        return SendError::TooLong;
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => SendError::Broken(*error),
        // `Limited` passes on what the body says, which is always hyper's.
        Err(_) => SendError::TooLong,
    }
}

fn text(headers: &HeaderMap<HeaderValue>, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
