//! Asking backends what they speak and serve.
//!
//! Owns the requests and their bounds in time and size. Off the request path; never retries: the next
//! round does.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::fetch::{Question, fetch};
use crate::domain::dialect::Dialect;
use crate::domain::spec::{BackendAddress, BackendsSpec, SpokenDialect};
use crate::protocol::dialect::{DeclaredModel, Extensions, Release, Target, probe};

/// How long one question may take.
const ANSWER_TIME: Duration = Duration::from_secs(2);
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
            !spec.speaks_http2() && probe::metadata_path(&target).is_some()
        }
    }
}

/// Asks the backends of one version, one after the other until one answers. `model` is its name here.
pub(super) async fn ask(spec: &BackendsSpec, model: &str) -> Known {
    for address in &spec.addresses {
        let known = ask_one(spec, model, address).await;
        if known.description.is_some()
            || (known.dialect.is_some() && spec.dialect == SpokenDialect::Asked)
        {
            return known;
        }
    }
    Known::declared(spec)
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
            let description = call(address, &target).await;
            return Known { dialect: declared, description, extensions: None };
        }
        let Some(path) = probe::recognition_path(&target) else { continue };
        let Some((status, body)) = get(address, &path).await else { continue };
        let is_it = probe::recognises(&target, status, &body);
        if is_it || declared.is_some() {
            // Of most dialects the same answer tells both.
            let description = probe::decode_metadata(&target, status, &body);
            let description = description.filter(|_| probe::metadata_path(&target).is_some());
            let extensions = match probe::extensions_path(dialect) {
                Some(path) => get(address, path).await,
                None => None,
            };
            let extensions =
                extensions.and_then(|(status, body)| probe::decode_extensions(status, &body));
            return Known { dialect: Some(dialect), description, extensions };
        }
    }
    Known { dialect: declared, ..Known::default() }
}

/// What a gRPC backend says about its model; `None` when it says nothing of use in time.
async fn call(address: &BackendAddress, target: &Target<'_>) -> Option<DeclaredModel> {
    let (path, frame) = probe::metadata_call(target)?;
    let asked = async {
        let io = TokioIo::new(connect(address).await?);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
        let driven = tokio::spawn(connection);
        let request = Request::post(format!("http://{}{path}", address.authority()))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers");
        let response = sender.send_request(request.body(Full::new(frame)).ok()?).await.ok()?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?;
        driven.abort();
        probe::decode_metadata_answer(body.to_bytes())
    };
    tokio::time::timeout(ANSWER_TIME, asked).await.ok().flatten()
}

async fn connect(address: &BackendAddress) -> Option<TcpStream> {
    let stream = match address.socket_addr() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((address.host.as_str(), address.port)).await,
    };
    stream.ok()
}

/// One `GET`; `None` when there is no answer in time, or too long a one.
async fn get(address: &BackendAddress, path: &str) -> Option<(StatusCode, Bytes)> {
    let reply = fetch(Question::get(address, path), ANSWER_TIME, ANSWER_BYTES_MAX).await.ok()?;
    Some((reply.status, reply.body))
}
