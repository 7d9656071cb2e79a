//! One request over plain HTTP, off the request path: to a backend that is asked, a catalogue, an API server.
//!
//! Owns the bounds in time and size, and that a body that was cut off is an error. Never retries: the next
//! round does.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::domain::spec::BackendAddress;

/// What may be asked.
#[derive(Debug, Clone)]
pub(super) struct Question<'a> {
    /// Who.
    pub(super) address: &'a BackendAddress,
    /// How.
    pub(super) method: Method,
    /// What, with its query.
    pub(super) path: &'a str,
    /// Further headers.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub(super) body: Bytes,
}

impl<'a> Question<'a> {
    /// `GET`, without more.
    pub(super) fn get(address: &'a BackendAddress, path: &'a str) -> Self {
        Self { address, method: Method::GET, path, headers: Vec::new(), body: Bytes::new() }
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no connection: {0}")]
    Connect(#[source] std::io::Error),
    #[error("the request cannot be made: {0}")]
    Request(#[source] http::Error),
    #[error("no sound answer: {0}")]
    Http(#[source] hyper::Error),
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
    #[error("the answer was cut off or is not sound")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {} s", .0.as_secs())]
    Time(Duration),
}

/// A connection that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Driven(AbortHandle);

impl Driven {
    /// Drives `connection` in a task of its own.
    pub(super) fn new(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(connection).abort_handle())
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks and reads the whole answer, within `time` and at most `bytes_max` bytes.
pub(super) async fn fetch(
    question: Question<'_>,
    time: Duration,
    bytes_max: usize,
) -> Result<Reply, FetchError> {
    let asked = async {
        let (response, _driven) = open(question).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLong(bytes_max),
            false => FetchError::Body(error),
        })?;
        Ok(Reply { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    };
    tokio::time::timeout(time, asked).await.map_err(|_elapsed| FetchError::Time(time))?
}

/// Asks and returns when the head of the answer is there. The connection lives as long as [`Driven`].
pub(super) async fn open(
    question: Question<'_>,
) -> Result<(Response<Incoming>, Driven), FetchError> {
    let address = question.address;
    let stream = match address.socket_addr() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((address.host.as_str(), address.port)).await,
    };
    let io = TokioIo::new(stream.map_err(FetchError::Connect)?);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(FetchError::Http)?;
    // Whoever asks learns of a broken connection by its answer.
    let driven = Driven::new(async { drop(connection.await) });
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .header(HOST, address.authority())
        .body(Full::new(question.body))
        .map_err(FetchError::Request)?;
    request.headers_mut().extend(question.headers);
    let response = sender.send_request(request).await.map_err(FetchError::Http)?;
    Ok((response, driven))
}
