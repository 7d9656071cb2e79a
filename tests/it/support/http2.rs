//! A client and a backend that speak HTTP/2, both on hyper, and frames by hand.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;

use super::PATIENCE;

/// A connection and the runtime that drives it.
pub(crate) struct Http2 {
    runtime: tokio::runtime::Runtime,
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

/// One response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Http2Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
    /// The stream was reset before its end.
    pub(crate) cut: bool,
}

impl Http2Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A trailer, or a header of an answer that has nothing else.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).or_else(|| self.headers.get(name))?.to_str().ok()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender, authority: address.to_string() }
    }

    /// A request with a body.
    pub(crate) fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let uri = format!("http://{}{path}", self.authority);
        let mut request = Request::builder().method("POST").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap()
    }

    /// Sends one request and waits for its response.
    pub(crate) fn call(&self, request: Request<Full<Bytes>>) -> Http2Reply {
        self.together(vec![request]).pop().unwrap()
    }

    /// Sends all requests before the first response is read.
    pub(crate) fn together(&self, requests: Vec<Request<Full<Bytes>>>) -> Vec<Http2Reply> {
        self.runtime.block_on(async {
            let mut tasks = Vec::new();
            for request in requests {
                let mut sender = self.sender.clone();
                tasks.push(tokio::spawn(
                    async move { read(sender.send_request(request).await).await },
                ));
            }
            let mut replies = Vec::new();
            for task in tasks {
                replies.push(tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap());
            }
            replies
        })
    }

    /// Sends a request and gives its response up after a moment.
    pub(crate) fn abandon(&self, request: Request<Full<Bytes>>) {
        let mut sender = self.sender.clone();
        self.runtime.block_on(async {
            let pending = sender.send_request(request);
            let moment = std::time::Duration::from_millis(50);
            assert!(tokio::time::timeout(moment, pending).await.is_err(), "it was answered");
            // The connection has to run for the reset to leave.
            tokio::time::sleep(moment).await;
        });
    }

    /// Sends a request whose answer is read piece by piece.
    pub(crate) fn open(&self, request: Request<Full<Bytes>>) -> Incoming {
        let mut sender = self.sender.clone();
        self.runtime.block_on(async {
            let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
            answer.unwrap().unwrap().into_body()
        })
    }

    /// The next piece of an answer.
    pub(crate) fn piece(&self, answer: &mut Incoming) -> Bytes {
        let frame = async { tokio::time::timeout(PATIENCE, answer.frame()).await };
        self.runtime.block_on(frame).unwrap().unwrap().unwrap().into_data().unwrap()
    }

    /// Waits until the other side has closed the connection.
    pub(crate) fn wait_for_close(&self) {
        self.runtime.block_on(async {
            let closed = async {
                while !self.sender.is_closed() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, closed).await.unwrap();
        });
    }
}

async fn read(response: hyper::Result<Response<Incoming>>) -> Http2Reply {
    let Ok(response) = response else { return Http2Reply { cut: true, ..Http2Reply::default() } };
    let (head, mut body) = response.into_parts();
    let mut reply =
        Http2Reply { status: head.status.as_u16(), headers: head.headers, ..Http2Reply::default() };
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Err(_reset) => reply.cut = true,
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(other)) => reply.trailers = other.into_trailers().unwrap(),
        }
    }
    reply.body = bytes.into();
    reply
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Http2Request {
    pub(crate) head: http::request::Parts,
    pub(crate) body: Bytes,
}

/// A backend that answers as a test says.
pub(crate) struct Http2Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Http2Request>>>,
    connections: Arc<Mutex<usize>>,
}

impl Http2Backend {
    /// Answers with what `script` makes of a request; its headers, body and trailers are sent.
    pub(crate) fn start(
        script: impl Fn(&Http2Request) -> Http2Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let (all, count, script) = (Arc::clone(&seen), Arc::clone(&connections), Arc::new(script));
        std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    *count.lock() += 1;
                    let (all, script) = (Arc::clone(&all), Arc::clone(&script));
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        let (all, script) = (Arc::clone(&all), Arc::clone(&script));
                        async move {
                            let (head, body) = request.into_parts();
                            let body = match body.collect().await {
                                Ok(body) => body.to_bytes(),
                                Err(_reset) => Bytes::new(),
                            };
                            let request = Http2Request { head, body };
                            all.lock().push(request.clone());
                            let reply = script(&request);
                            // An error of a service resets its stream.
                            if reply.cut { Err("cut") } else { Ok(response(reply)) }
                        }
                    });
                    let io = TokioIo::new(stream);
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    tokio::spawn(server.serve_connection(io, service));
                }
            });
        });
        Self { address, seen, connections }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Http2Request> {
        self.seen.lock().clone()
    }

    /// The connections so far.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock()
    }
}

fn response(reply: Http2Reply) -> Response<Pieces> {
    let mut frames = Vec::new();
    if !reply.body.is_empty() {
        frames.push(Frame::data(reply.body));
    }
    if !reply.trailers.is_empty() {
        frames.push(Frame::trailers(reply.trailers));
    }
    let mut response = Response::new(Pieces(frames.into_iter()));
    *response.status_mut() = http::StatusCode::from_u16(reply.status.max(200)).unwrap();
    *response.headers_mut() = reply.headers;
    response
}

/// Frames that are all there.
struct Pieces(std::vec::IntoIter<Frame<Bytes>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.next().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.len() == 0
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The first bytes of a client.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame: its type, flags, stream and payload.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
