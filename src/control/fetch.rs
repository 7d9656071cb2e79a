//! Requests over plain HTTP, off the request path: to a backend that is asked or checked, a catalogue, an API server.
//!
//! Owns one connection at a time with its bounds in time and size, and that a body that was cut off is an error. Never
//! retries by itself: the next round does.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
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
    pub(super) trailers: HeaderMap,
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
    #[error("the answer was cut off or is not sound: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is compressed, which was not asked for")]
    Coded,
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Time(Duration),
}

/// A connection that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    authority: String,
    sender: Sender,
    _driven: Driven,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Whatever moves a connection on, until this is dropped.
#[derive(Debug)]
struct Driven(AbortHandle);

impl Driven {
    fn new(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(connection).abort_handle())
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects.
    pub(super) async fn to(address: &BackendAddress, http2: bool) -> Result<Self, FetchError> {
        let stream = match address.socket_addr() {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((address.host.as_str(), address.port)).await,
        };
        let stream = stream.map_err(FetchError::Connect)?;
        // What cannot be set costs time and nothing else.
        drop(stream.set_nodelay(true));
        let (io, authority) = (TokioIo::new(stream), address.authority());
        // Whoever asks learns of a broken connection by its answer.
        if http2 {
            let shaken = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = shaken.map_err(FetchError::Http)?;
            let driven = Driven::new(async { drop(connection.await) });
            return Ok(Self { authority, sender: Sender::Http2(sender), _driven: driven });
        }
        let (sender, connection) = http1::handshake(io).await.map_err(FetchError::Http)?;
        let driven = Driven::new(async { drop(connection.await) });
        Ok(Self { authority, sender: Sender::Http1(sender), _driven: driven })
    }

    /// Sends a request whose target is a path, and returns when the head of the answer is there.
    pub(super) async fn send(
        &mut self,
        request: &Request<Bytes>,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut made = request.clone().map(Full::new);
        match &mut self.sender {
            Sender::Http1(sender) => {
                let host = HeaderValue::from_str(&self.authority);
                let host = host.map_err(|error| FetchError::Request(error.into()))?;
                made.headers_mut().insert(HOST, host);
                sender.ready().await.map_err(FetchError::Http)?;
                sender.send_request(made).await.map_err(FetchError::Http)
            }
            Sender::Http2(sender) => {
                let uri = format!("http://{}{}", self.authority, made.uri()).parse::<Uri>();
                *made.uri_mut() = uri.map_err(|error| FetchError::Request(error.into()))?;
                *made.version_mut() = http::Version::HTTP_2;
                sender.ready().await.map_err(FetchError::Http)?;
                sender.send_request(made).await.map_err(FetchError::Http)
            }
        }
    }
}

/// Reads the whole answer, at most `bytes_max` bytes.
pub(super) async fn read(
    response: Response<Incoming>,
    bytes_max: usize,
) -> Result<Reply, FetchError> {
    let (head, body) = response.into_parts();
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(FetchError::Coded);
    }
    let body = Limited::new(body, bytes_max).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => FetchError::TooLong(bytes_max),
        false => FetchError::Body(error),
    })?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Reply { status: head.status, headers: head.headers, trailers, body: body.to_bytes() })
}

/// Asks and reads the whole answer, within `time` and at most `bytes_max` bytes.
pub(super) async fn fetch(
    question: Question<'_>,
    time: Duration,
    bytes_max: usize,
) -> Result<Reply, FetchError> {
    let asked = async {
        let (response, _connection) = open(question).await?;
        read(response, bytes_max).await
    };
    tokio::time::timeout(time, asked).await.map_err(|_elapsed| FetchError::Time(time))?
}

/// Asks and returns when the head of the answer is there. The body comes as long as the connection lives.
pub(super) async fn open(
    question: Question<'_>,
) -> Result<(Response<Incoming>, Connection), FetchError> {
    let mut connection = Connection::to(question.address, false).await?;
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .body(question.body)
        .map_err(FetchError::Request)?;
    request.headers_mut().extend(question.headers);
    let response = connection.send(&request).await?;
    Ok((response, connection))
}
