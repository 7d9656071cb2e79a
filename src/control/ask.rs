//! Asking backends what they speak and serve.
//!
//! Owns the requests and their bounds in time and size. Backends of one version are interchangeable: the
//! first that tells something speaks for all, and one that is silent holds nobody up. Off the request
//! path; never retries: the next round does.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::domain::dialect::Dialect;
use crate::domain::spec::{BackendAddress, BackendsSpec, SpokenDialect};
use crate::protocol::dialect::{DeclaredModel, Extensions, Release, Target, probe};
use crate::protocol::grpc::unary_message;

/// How long one question may take.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// How long all questions about one version may take.
const VERSION_TIME: Duration = Duration::from_secs(5);
/// How long a backend may say nothing until the next one is asked beside it.
const PATIENCE: Duration = Duration::from_millis(300);
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What is known about the backends of one version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// What they speak.
    pub(super) dialect: Option<Dialect>,
    /// What the model takes and returns.
    pub(super) description: Option<DeclaredModel>,
    /// Which extensions they have.
    pub(super) extensions: Option<Extensions>,
}

impl Known {
    /// What is known before anybody was asked.
    pub(super) fn declared(spec: &BackendsSpec) -> Self {
        Self { dialect: spec.dialect.declared(), ..Self::default() }
    }
}

/// Whether there is anything to ask.
pub(super) fn is_asked(spec: &BackendsSpec) -> bool {
    match spec.dialect {
        SpokenDialect::OfTheClient => false,
        SpokenDialect::Asked => true,
        SpokenDialect::Declared(Dialect::OpenInferenceGrpc) => true,
        SpokenDialect::Declared(dialect) => {
            let target = Target::new(dialect, "m", Release::Any);
            !spec.http2 && probe::metadata_path(&target).is_some()
        }
    }
}

/// Asks the backends of one version until one tells something. `model` is its name here.
pub(super) async fn ask(spec: &BackendsSpec, model: &str) -> Known {
    let told = tokio::time::timeout(VERSION_TIME, first_to_tell(spec, model)).await;
    told.ok().flatten().unwrap_or_else(|| Known::declared(spec))
}

/// Asks one after the other, and does not wait long for one before it asks the next as well.
async fn first_to_tell(spec: &BackendsSpec, model: &str) -> Option<Known> {
    let mut waiting = spec.addresses.iter().cloned();
    // Whoever is still asked when another has told is not asked any more.
    let mut asked = JoinSet::new();
    loop {
        let more = waiting.next().map(|address| {
            let (spec, model) = (spec.clone(), model.to_owned());
            asked.spawn(async move { ask_one(&spec, &model, &address).await })
        });
        let patience = if more.is_some() { PATIENCE } else { VERSION_TIME };
        match tokio::time::timeout(patience, asked.join_next()).await {
            Ok(Some(Ok(known))) if tells(spec, &known) => return Some(known),
            Ok(None) => return None,
            Ok(Some(_)) | Err(_) => {}
        }
    }
}

/// Whether an answer tells what is wanted.
fn tells(spec: &BackendsSpec, known: &Known) -> bool {
    known.description.is_some() || (known.dialect.is_some() && spec.dialect == SpokenDialect::Asked)
}

async fn ask_one(spec: &BackendsSpec, model: &str, address: &BackendAddress) -> Known {
    let declared = spec.dialect.declared();
    let candidates = declared.as_ref().map_or(&probe::ASKED[..], std::slice::from_ref);
    let name = spec.remote_model.as_deref().unwrap_or(model);
    let release = || match &spec.remote_version {
        Some(version) => Release::Version(version.as_str().into()),
        None => Release::Any,
    };
    for &dialect in candidates {
        let target = Target::new(dialect, name, release());
        if dialect == Dialect::OpenInferenceGrpc {
            let (description, extensions) = call(address, &target).await;
            let is_it = declared.is_some() || description.is_some() || extensions.is_some();
            return Known { dialect: is_it.then_some(dialect), description, extensions };
        }
        let Some(path) = probe::recognition_path(&target) else { continue };
        let (status, body) = match get(address, &path).await {
            Ok(answer) => answer,
            // To another question it would say nothing either.
            Err(Unanswered::Silent) => break,
            Err(Unanswered::Unusable) => continue,
        };
        let is_it = probe::recognises(&target, status, &body);
        if is_it || declared.is_some() {
            // Of most dialects the same answer tells both.
            let description = probe::decode_metadata(&target, status, &body);
            let description = description.filter(|_| probe::metadata_path(&target).is_some());
            let extensions = match probe::extensions_path(dialect) {
                Some(path) => get(address, path).await.ok(),
                None => None,
            };
            let extensions =
                extensions.and_then(|(status, body)| probe::decode_extensions(status, &body));
            return Known { dialect: Some(dialect), description, extensions };
        }
    }
    Known::declared(spec)
}

/// What a gRPC backend says about its model and its extensions, as far as it says something of use in time.
async fn call(
    address: &BackendAddress,
    target: &Target<'_>,
) -> (Option<DeclaredModel>, Option<Extensions>) {
    let mut told = (None, None);
    let (description, extensions) = (&mut told.0, &mut told.1);
    let asked = async {
        let io = TokioIo::new(connect(address).await?);
        let handshake = http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = handshake.ok()?;
        let asked = async move {
            let message = ask_call(&mut sender, address, probe::metadata_call(target)?).await;
            *description = message.and_then(probe::decode_metadata_answer);
            let message = ask_call(&mut sender, address, probe::extensions_call()?).await;
            *extensions = message.and_then(probe::decode_extensions_answer);
            Some(())
        };
        driving(connection, asked).await
    };
    // What came before the time was over counts.
    let _in_time = tokio::time::timeout(ANSWER_TIME, asked).await;
    told
}

/// The message that answers a call; `None` where it fails.
async fn ask_call(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    address: &BackendAddress,
    (path, frame): (String, Bytes),
) -> Option<Bytes> {
    let request = Request::post(format!("http://{}{path}", address.authority()))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers");
    let response = sender.send_request(request.body(Full::new(frame)).ok()?).await.ok()?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.ok()?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    unary_message(head.status.as_u16(), &head.headers, &trailers, &body.to_bytes()).ok()
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unanswered {
    /// Nothing came in time.
    Silent,
    /// No connection, no HTTP, or too long an answer.
    Unusable,
}

/// One `GET`.
async fn get(address: &BackendAddress, path: &str) -> Result<(StatusCode, Bytes), Unanswered> {
    let asked = async {
        let io = TokioIo::new(connect(address).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
        let asked = async move {
            let request = Request::builder().uri(path).header(HOST, address.authority());
            let request = request.body(Empty::<Bytes>::new()).ok()?;
            let response = sender.send_request(request).await.ok()?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?;
            Some((status, body.to_bytes()))
        };
        driving(connection, asked).await
    };
    let asked = tokio::time::timeout(ANSWER_TIME, asked).await;
    asked.map_err(|_elapsed| Unanswered::Silent)?.ok_or(Unanswered::Unusable)
}

async fn connect(address: &BackendAddress) -> Option<TcpStream> {
    let stream = match address.socket_addr() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((address.host.as_str(), address.port)).await,
    };
    stream.ok()
}

/// Drives a connection from here until there is an answer, so that it ends with its question, whoever
/// gives up.
async fn driving<T>(connection: impl Future, asked: impl Future<Output = Option<T>>) -> Option<T> {
    let mut asked = pin!(asked);
    tokio::select! {
        biased;
        answer = &mut asked => answer,
        _ended = connection => asked.await,
    }
}

#[cfg(test)]
mod tests;
