//! One kept connection to a backend that is checked.
//!
//! Owns the bounds of one exchange in time and size, and that a kept connection that turned out dead is opened
//! again once. Never knows a dialect.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HOST, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::prompt::Prompt;
use crate::control::fetch::Driven;
use crate::domain::spec::BackendAddress;

/// The longest answer.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A backend and the connection to it, if there is one.
#[derive(Debug)]
pub(super) struct Link {
    address: BackendAddress,
    http2: bool,
    kept: Option<(Sender, Driven)>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// All of an answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) trailers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("no connection: {0}")]
    Connect(#[source] std::io::Error),
    #[error("the request cannot be made: {0}")]
    Request(#[source] http::Error),
    #[error("no sound answer: {0}")]
    Http(#[source] hyper::Error),
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the answer was cut off: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is compressed, which was not asked for")]
    Coded,
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Time(Duration),
}

impl Link {
    pub(super) fn new(address: BackendAddress, http2: bool) -> Self {
        Self { address, http2, kept: None }
    }

    /// Where it leads.
    pub(super) fn address(&self) -> &BackendAddress {
        &self.address
    }

    /// Sends a request, whose target is a path, and reads the whole answer within `time`. An exchange that was
    /// given up closes the connection.
    pub(super) async fn ask(
        &mut self,
        request: Request<Bytes>,
        time: Duration,
    ) -> Result<Reply, LinkError> {
        let mut kept = self.kept.take();
        let asked = async {
            if let Some((sender, driven)) = kept.take()
                && let Ok(answer) = self.send(sender, &request).await
            {
                return Ok((answer, driven));
            }
            let (sender, driven) = self.connect().await?;
            Ok((self.send(sender, &request).await?, driven))
        };
        let asked = tokio::time::timeout(time, async {
            let ((response, sender), driven) = asked.await?;
            Ok((read(response).await?, sender, driven))
        });
        let (reply, sender, driven) = asked.await.map_err(|_elapsed| LinkError::Time(time))??;
        self.kept = Some((sender, driven));
        Ok(reply)
    }

    async fn connect(&self) -> Result<(Sender, Driven), LinkError> {
        let stream = match self.address.socket_addr() {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((self.address.host.as_str(), self.address.port)).await,
        };
        let stream = stream.map_err(LinkError::Connect)?;
        // What cannot be set costs time and nothing else.
        drop(stream.set_nodelay(true));
        let io = TokioIo::new(Prompt(stream));
        if self.http2 {
            let shaken = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = shaken.map_err(LinkError::Http)?;
            return Ok((Sender::Http2(sender), Driven::new(async { drop(connection.await) })));
        }
        let (sender, connection) = http1::handshake(io).await.map_err(LinkError::Http)?;
        Ok((Sender::Http1(sender), Driven::new(async { drop(connection.await) })))
    }

    /// The head of the answer, and the sender for the next request.
    async fn send(
        &self,
        sender: Sender,
        request: &Request<Bytes>,
    ) -> Result<(Response<Incoming>, Sender), LinkError> {
        let mut made = request.clone().map(Full::new);
        let authority = self.address.authority();
        match sender {
            Sender::Http1(mut sender) => {
                let host = HeaderValue::from_str(&authority);
                let host = host.map_err(|error| LinkError::Request(error.into()))?;
                made.headers_mut().insert(HOST, host);
                sender.ready().await.map_err(LinkError::Http)?;
                let answer = sender.send_request(made).await.map_err(LinkError::Http)?;
                Ok((answer, Sender::Http1(sender)))
            }
            Sender::Http2(mut sender) => {
                let uri = format!("http://{authority}{}", made.uri()).parse::<Uri>();
                *made.uri_mut() = uri.map_err(|error| LinkError::Request(error.into()))?;
                *made.version_mut() = http::Version::HTTP_2;
                sender.ready().await.map_err(LinkError::Http)?;
                let answer = sender.send_request(made).await.map_err(LinkError::Http)?;
                Ok((answer, Sender::Http2(sender)))
            }
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Reply, LinkError> {
    let (head, body) = response.into_parts();
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(LinkError::Coded);
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => LinkError::TooLong,
        false => LinkError::Body(error),
    })?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Reply { status: head.status, headers: head.headers, trailers, body: body.to_bytes() })
}
