//! Asking backends what they speak and serve.
//!
//! Owns the requests and their bounds in time and size. Backends of one version are interchangeable: the
//! first that tells something speaks for all, and one that is silent holds nobody up. Off the request
//! path; never retries: the next round does.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::domain::dialect::Dialect;
use crate::domain::spec::{BackendAddress, BackendsSpec, SpokenDialect};
use crate::protocol::dialect::{DeclaredModel, Extensions, Release, Target, probe};
use crate::protocol::grpc::{UnaryError, unary_message};
use crate::protocol::status::GrpcCode;

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
    /// They answer, but do not describe the model: it is served without types.
    pub(super) untyped: bool,
}

/// What the backends of a version said to the question for their model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nothing.
    Silence,
    /// Something of no use.
    Nonsense,
    /// That they cannot tell, or predict, yet.
    NotYet,
    /// What it takes and returns, or that the dialect has no such question.
    Description,
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
        SpokenDialect::Declared(dialect) => probe::describes(dialect),
    }
}

/// Whether backends are still expected to describe their model.
pub(super) fn is_awaited(spec: &BackendsSpec, known: Option<&Known>) -> bool {
    let told = known.and_then(|known| known.dialect);
    let describes = spec.dialect.declared().or(told).is_none_or(probe::describes);
    let done = known.is_some_and(|known| known.untyped || known.description.is_some());
    is_asked(spec) && describes && !done
}

/// Asks the backends of one version until one tells something. `model` is its name here.
pub(super) async fn ask(spec: &BackendsSpec, model: &str) -> (Known, Heard) {
    let mut best = (Known::declared(spec), Heard::Silence);
    // What came before the time was over counts.
    let _in_time = tokio::time::timeout(VERSION_TIME, first_to_tell(spec, model, &mut best)).await;
    best
}

/// Asks one after the other, and does not wait long for one before it asks the next as well. `best` is what is known
/// after their answers: that of the first who tells, or the parts that all have told.
async fn first_to_tell(spec: &BackendsSpec, model: &str, best: &mut (Known, Heard)) {
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
            Ok(Some(Ok((known, heard)))) => {
                best.1 = heard.max(best.1);
                if tells(spec, &known) {
                    best.0 = known;
                    return;
                }
                best.0.extensions = best.0.extensions.or(known.extensions);
            }
            Ok(None) => return,
            Ok(Some(Err(_))) | Err(_) => {}
        }
    }
}

/// Whether an answer tells what is wanted.
fn tells(spec: &BackendsSpec, known: &Known) -> bool {
    known.description.is_some() || (known.dialect.is_some() && spec.dialect == SpokenDialect::Asked)
}

async fn ask_one(spec: &BackendsSpec, model: &str, address: &BackendAddress) -> (Known, Heard) {
    let declared = spec.dialect.declared();
    let candidates = declared.as_ref().map_or(&probe::ASKED[..], std::slice::from_ref);
    let name = spec.remote_model.as_deref().unwrap_or(model);
    let release = || match &spec.remote_version {
        Some(version) => Release::Version(version.as_str().into()),
        None => Release::Any,
    };
    // What they speak is asked over HTTP/1.1: over HTTP/2 a server of gRPC answers everything.
    let http2 = spec.http2 && declared.is_some();
    for &dialect in candidates {
        let target = Target::new(dialect, name, release());
        if dialect == Dialect::OpenInferenceGrpc {
            let Told { description, extensions, heard } = call(address, &target).await;
            let is_it = declared.is_some() || description.is_some() || extensions.is_some();
            let dialect = is_it.then_some(dialect);
            return (Known { dialect, description, extensions, untyped: false }, heard);
        }
        let Some(path) = probe::recognition_path(&target) else { continue };
        let (status, body) = match get(address, http2, &path).await {
            Ok(answer) => answer,
            // To another question it would say nothing either.
            Err(Unanswered::Silent) => break,
            Err(Unanswered::Unusable) => continue,
        };
        let is_it = probe::recognises(&target, status, &body);
        if is_it || declared.is_some() {
            // Of most dialects the same answer tells both.
            let description = probe::decode_metadata(&target, status, &body);
            let description = description.filter(|_| probe::describes(dialect));
            let heard = match &description {
                None if probe::describes(dialect) => {
                    not_described((address, http2), &target, status).await
                }
                _ => Heard::Description,
            };
            let extensions = match probe::extensions_path(dialect) {
                Some(path) => get(address, http2, path).await.ok(),
                None => None,
            };
            let extensions =
                extensions.and_then(|(status, body)| probe::decode_extensions(status, &body));
            let dialect = Some(dialect);
            return (Known { dialect, description, extensions, untyped: false }, heard);
        }
    }
    (Known::declared(spec), Heard::Silence)
}

/// What an answer means that describes nothing: a model that is being loaded will be described.
async fn not_described(
    (address, http2): (&BackendAddress, bool),
    target: &Target<'_>,
    said: StatusCode,
) -> Heard {
    if probe::is_not_now(said) {
        return Heard::NotYet;
    }
    let Some(path) = probe::ready_path(target) else { return Heard::Nonsense };
    match get(address, http2, &path).await {
        Ok((status, body)) if probe::says_not_ready(target, status, &body) => Heard::NotYet,
        Ok(_) | Err(_) => Heard::Nonsense,
    }
}

/// What a gRPC backend has told.
struct Told {
    description: Option<DeclaredModel>,
    extensions: Option<Extensions>,
    heard: Heard,
}

/// What a gRPC backend says about its model and its extensions, as far as it says something of use in time.
async fn call(address: &BackendAddress, target: &Target<'_>) -> Told {
    let mut told = Told { description: None, extensions: None, heard: Heard::Silence };
    let into = &mut told;
    let asked = async {
        let io = TokioIo::new(connect(address).await?);
        let handshake = http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = handshake.ok()?;
        let asked = async move {
            let said = ask_call(&mut sender, address, probe::metadata_call(target)?).await?;
            into.heard = heard_in(&said);
            into.description = said.ok().and_then(probe::decode_metadata_answer);
            if into.description.is_some() {
                into.heard = Heard::Description;
            } else if into.heard == Heard::Nonsense {
                let said = ask_call(&mut sender, address, probe::ready_call(target)?).await?;
                let not_ready = said.as_ref().is_ok_and(|m| !probe::decode_ready_answer(m.clone()));
                into.heard = if not_ready { Heard::NotYet } else { heard_in(&said) };
            }
            let said = ask_call(&mut sender, address, probe::extensions_call()?).await?;
            into.extensions = said.ok().and_then(probe::decode_extensions_answer);
            Some(())
        };
        driving(connection, asked).await
    };
    // What came before the time was over counts.
    let _in_time = tokio::time::timeout(ANSWER_TIME, asked).await;
    told
}

/// What an answer means that describes nothing.
const fn heard_in(said: &Result<Bytes, GrpcCode>) -> Heard {
    match said {
        Err(GrpcCode::Unavailable | GrpcCode::ResourceExhausted | GrpcCode::DeadlineExceeded) => {
            Heard::NotYet
        }
        Ok(_) | Err(_) => Heard::Nonsense,
    }
}

/// The message that answers a call, or its status; `None` where nothing comes.
async fn ask_call(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    address: &BackendAddress,
    (path, frame): (String, Bytes),
) -> Option<Result<Bytes, GrpcCode>> {
    let request = Request::post(format!("http://{}{path}", address.authority()))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers");
    let response = sender.send_request(request.body(Full::new(frame)).ok()?).await.ok()?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.ok()?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let message = unary_message(head.status.as_u16(), &head.headers, &trailers, &body.to_bytes());
    Some(message.map_err(|error| match error {
        UnaryError::Failed { code, .. } => code,
        _ => GrpcCode::Internal,
    }))
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unanswered {
    /// Nothing came in time.
    Silent,
    /// No connection, or no HTTP.
    Unusable,
}

/// One `GET`, over HTTP/2 where its server has been declared to speak it.
async fn get(
    address: &BackendAddress,
    http2: bool,
    path: &str,
) -> Result<(StatusCode, Bytes), Unanswered> {
    let asked = async {
        let io = TokioIo::new(connect(address).await?);
        if http2 {
            let handshake = http2::handshake(TokioExecutor::new(), io).await;
            let (mut sender, connection) = handshake.ok()?;
            let asked = async move {
                let request = Request::get(format!("http://{}{path}", address.authority()));
                let request = request.body(Empty::<Bytes>::new()).ok()?;
                read(sender.send_request(request).await.ok()?).await
            };
            return driving(connection, asked).await;
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
        let asked = async move {
            let request = Request::builder().uri(path).header(HOST, address.authority());
            let request = request.body(Empty::<Bytes>::new()).ok()?;
            read(sender.send_request(request).await.ok()?).await
        };
        driving(connection, asked).await
    };
    let asked = tokio::time::timeout(ANSWER_TIME, asked).await;
    asked.map_err(|_elapsed| Unanswered::Silent)?.ok_or(Unanswered::Unusable)
}

async fn read(response: Response<Incoming>) -> Option<(StatusCode, Bytes)> {
    let status = response.status();
    match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
        Ok(body) => Some((status, body.to_bytes())),
        // Nothing that is read here is so long.
        Err(error) if error.is::<LengthLimitError>() => Some((status, Bytes::new())),
        Err(_) => None,
    }
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
