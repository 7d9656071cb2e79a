//! A version at backends, as it is checked: the same requests as those of clients, over its own dialect.
//!
//! Owns what is asked under which name, and who is to blame where there is no prediction. Backends take turns, so
//! that a check meets all of them. Never decides what an answer means for the version.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{Request, StatusCode};

use super::Met;
use super::link::{Link, LinkError, Reply};
use super::runner::{Ran, RunError};
use crate::control::ask::{Known, ask};
use crate::domain::dialect::Dialect;
use crate::domain::ids::ModelName;
use crate::domain::spec::{BackendAddress, BackendsSpec, ContainerForm, Extractors, SpokenDialect};
use crate::protocol::dialect::{
    AnswerError, Asked, Body, DeclaredModel, Operation, Release, Signature, Target, Terms,
    decode_response, encode_request, probe,
};
use crate::protocol::grpc::{UnaryError, unary_message};
use crate::protocol::infer::{InferRequest, RequestedOutput};
use crate::protocol::tensor::Tensor;

/// Backends of one version that are checked one by one; the others count as their equals.
pub(super) const BACKENDS_MAX: usize = 16;
/// How often a backend that is busy is asked again.
const ATTEMPTS_MAX: u32 = 3;
/// How long is waited before that.
const PAUSE: Duration = Duration::from_millis(250);

/// Versions of a model that one backend may tell of; further ones are not noted.
const VERSIONS_MAX: usize = 64;

/// The backends of a version.
#[derive(Debug)]
pub(super) struct Remote {
    links: Vec<Link>,
    /// Which of them were not there the last time.
    away: Vec<bool>,
    /// Which of them have shown who they are.
    met: Vec<bool>,
    /// The versions that each has said it has.
    told: Vec<BTreeSet<String>>,
    turn: usize,
    dialect: Dialect,
    /// The model's name there.
    model: String,
    /// Whether that name was declared to be theirs.
    named: bool,
    /// The version's name there, where they are told one.
    version: Option<String>,
    known: Known,
    path: Option<String>,
    extractors: Option<Extractors>,
    container: ContainerForm,
}

/// Under which names a prediction is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) model: &'a str,
    pub(super) version: Option<&'a str>,
}

/// A prediction, and whose it is said to be; empty where that is not said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) ran: Ran,
    pub(super) model: String,
    pub(super) version: String,
}

impl Remote {
    /// Asks the backends what they speak.
    ///
    /// # Errors
    /// When there are none, or none of them tells.
    pub(super) async fn meet(
        addresses: &[BackendAddress],
        spec: &BackendsSpec,
        model: &ModelName,
        time: Duration,
    ) -> Result<Self, String> {
        if addresses.is_empty() {
            return Err("it has no backends".to_owned());
        }
        let mut spec = BackendsSpec { addresses: addresses.to_vec(), ..spec.clone() };
        if spec.dialect == SpokenDialect::OfTheClient {
            spec.dialect = SpokenDialect::Asked;
        }
        let (known, _) = ask(&spec, model.as_str()).await;
        let dialect = known.dialect.ok_or_else(|| {
            let all = addresses.iter().map(BackendAddress::authority).collect::<Vec<_>>();
            format!("none of its backends ({}) tells what it speaks", all.join(", "))
        })?;
        let http2 = spec.http2 || dialect == Dialect::OpenInferenceGrpc;
        let links = addresses.iter().take(BACKENDS_MAX);
        let mut remote = Self {
            links: links.map(|address| Link::new(address.clone(), http2)).collect(),
            away: vec![false; addresses.len()],
            met: vec![false; addresses.len()],
            told: vec![BTreeSet::new(); addresses.len()],
            turn: 0,
            dialect,
            named: spec.remote_model.is_some(),
            model: spec.remote_model.unwrap_or_else(|| model.as_str().to_owned()),
            version: spec.remote_version,
            known,
            path: spec.raw.as_ref().and_then(|raw| raw.path.clone()),
            extractors: spec.raw.map(|raw| raw.extractors),
            container: spec.container,
        };
        if remote.known.description.is_none() {
            remote.known.description = remote.describe_any(time).await?;
        }
        Ok(remote)
    }

    /// What any of them says about the model, where one can say it: silence would look like a model of which
    /// nothing is known.
    async fn describe_any(&mut self, time: Duration) -> Result<Option<DeclaredModel>, String> {
        let (model, version) = (self.model.clone(), self.version.clone());
        let names = Names { model: &model, version: version.as_deref() };
        let mut missing = Vec::new();
        for backend in 0..self.links.len() {
            match self.describe(backend, names, time).await {
                Ok(Some(told)) => return Ok(Some(told)),
                Ok(None) => {}
                Err(error) => missing.push(format!("{}: {error}", self.authority(backend))),
            }
        }
        if missing.len() == self.links.len() { Err(missing.join("; ")) } else { Ok(None) }
    }

    /// Notes whether a backend has shown who it is.
    pub(super) fn meet_one(&mut self, backend: usize, has_shown: bool) {
        if let Some(met) = self.met.get_mut(backend) {
            *met = has_shown;
        }
    }

    /// Notes the versions that a backend says it has of the model.
    pub(super) fn told_by(&mut self, backend: usize, versions: &[String]) {
        if let Some(told) = self.told.get_mut(backend) {
            *told = versions.iter().take(VERSIONS_MAX).cloned().collect();
        }
    }

    /// The versions that a backend has said it has.
    pub(super) fn versions(&self, backend: usize) -> BTreeSet<String> {
        self.told.get(backend).cloned().unwrap_or_default()
    }

    /// The backends that have shown who they are.
    pub(super) fn met(&self) -> Vec<Met> {
        let met = self.links.iter().zip(&self.met).enumerate().filter(|(_, (_, met))| **met);
        met.map(|(at, (link, _))| Met {
            address: link.address().clone(),
            versions: self.versions(at),
        })
        .collect()
    }

    /// What they speak.
    pub(super) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What they told about the model.
    pub(super) fn description(&self) -> Option<&DeclaredModel> {
        self.known.description.as_ref()
    }

    /// The names under which the version is asked for.
    pub(super) fn names(&self) -> Names<'_> {
        Names { model: &self.model, version: self.version.as_deref() }
    }

    /// The backends that are checked.
    pub(super) fn backends(&self) -> usize {
        self.links.len()
    }

    /// `HOST:PORT` of a backend.
    pub(super) fn authority(&self, backend: usize) -> String {
        self.links.get(backend).map(|link| link.address().authority()).unwrap_or_default()
    }

    /// A prediction of the backend whose turn it is, or of the next one that is there.
    pub(super) async fn predict(
        &mut self,
        inputs: &[Tensor],
        wanted: &[&str],
        time: Duration,
    ) -> Result<Ran, RunError> {
        let (model, version) = (self.model.clone(), self.version.clone());
        let names = Names { model: &model, version: version.as_deref() };
        let mut failed = gone("none of its backends is there");
        for _ in 0..self.links.len() {
            let backend = self.turn % self.links.len();
            self.turn = self.turn.wrapping_add(1);
            // The others are its equals.
            if self.away.get(backend).is_none_or(|away| *away) {
                continue;
            }
            match self.predict_at(backend, names, inputs, wanted, time).await {
                Ok(said) => return Ok(said.ran),
                Err(error @ RunError::Unreachable(_)) => {
                    failed = error;
                    if let Some(away) = self.away.get_mut(backend) {
                        *away = true;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }

    /// A prediction of one backend under any name. One that is busy is asked again a few times.
    pub(super) async fn predict_at(
        &mut self,
        backend: usize,
        names: Names<'_>,
        inputs: &[Tensor],
        wanted: &[&str],
        time: Duration,
    ) -> Result<Said, RunError> {
        let mut attempt = 1;
        loop {
            match self.predict_once(backend, names, inputs, wanted, time).await {
                Err(RunError::Unreachable(_)) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn predict_once(
        &mut self,
        backend: usize,
        names: Names<'_>,
        inputs: &[Tensor],
        wanted: &[&str],
        time: Duration,
    ) -> Result<Said, RunError> {
        let outputs = wanted
            .iter()
            .map(|name| RequestedOutput { name: (*name).into(), ..RequestedOutput::default() });
        // Dialects with names answer with all outputs; the others need to be told what theirs is called.
        let is_typed = matches!(self.dialect, Dialect::OpenInference | Dialect::OpenInferenceGrpc);
        let outputs = if is_typed { Vec::new() } else { outputs.collect() };
        let request = InferRequest { inputs: inputs.to_vec(), outputs, ..InferRequest::default() };
        let asked = Asked::of(&request);
        let target = self.target(names);
        let made = encode_request(&target, Operation::Infer, request);
        let mut made = made.map_err(|error| RunError::Refused(error.to_string()))?.map(joined);
        if self.dialect == Dialect::OpenInferenceGrpc {
            made.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        let began = Instant::now();
        let link = self.links.get_mut(backend).ok_or_else(|| gone("there is no such backend"))?;
        let reply = link.ask(made, time).await.map_err(unanswered)?;
        let took = began.elapsed();
        let target = self.target(names);
        let reply = plain(self.dialect, reply)?;
        let body = Body::new(self.dialect, &reply.headers, [reply.body]);
        let body = body.map_err(|error| RunError::Failed(error.to_string()))?;
        let response = decode_response(&target, Operation::Infer, &asked, reply.status, &body);
        let response = response.map_err(blamed)?;
        Ok(Said {
            model: if is_typed { response.model_name.into_owned() } else { String::new() },
            version: if is_typed { response.model_version.into_owned() } else { String::new() },
            ran: Ran { outputs: response.outputs, took },
        })
    }

    /// What one backend says about the model of any name; `None` where it says nothing, or its dialect has no
    /// such question.
    ///
    /// # Errors
    /// When it does not answer at all.
    pub(super) async fn describe(
        &mut self,
        backend: usize,
        names: Names<'_>,
        time: Duration,
    ) -> Result<Option<DeclaredModel>, RunError> {
        let target = self.target(names);
        if self.dialect == Dialect::OpenInferenceGrpc {
            let call = probe::metadata_call(&target);
            let reply = self.call(backend, call, time).await?;
            // Any refusal says that it is not there.
            let message = reply.and_then(|reply| plain(self.dialect, reply).ok());
            return Ok(message.and_then(|message| probe::decode_metadata_answer(message.body)));
        }
        let Some(path) = probe::metadata_path(&target) else { return Ok(None) };
        let reply = self.get(backend, &path, time).await?;
        Ok(probe::decode_metadata(&self.target(names), reply.status, &reply.body))
    }

    /// Whether one backend says that the model can predict; `None` where its dialect has no such question.
    ///
    /// # Errors
    /// When it does not answer at all.
    pub(super) async fn is_ready(
        &mut self,
        backend: usize,
        time: Duration,
    ) -> Result<Option<bool>, RunError> {
        let target = self.target(self.names());
        if self.dialect == Dialect::OpenInferenceGrpc {
            let call = probe::ready_call(&target);
            let reply = self.call(backend, call, time).await?;
            let Some(reply) = reply else { return Ok(None) };
            return Ok(match plain(self.dialect, reply) {
                Ok(message) => Some(probe::decode_ready_answer(message.body)),
                Err(RunError::Unreachable(_)) => Some(false),
                // Not every server has the question; its predictions will tell.
                Err(_) => None,
            });
        }
        let Some(path) = probe::ready_path(&target) else { return Ok(None) };
        let reply = self.get(backend, &path, time).await?;
        Ok(Some(probe::decode_ready(&self.target(self.names()), reply.status, &reply.body)))
    }

    /// The answer to a call of gRPC, where there is one to make.
    async fn call(
        &mut self,
        backend: usize,
        call: Option<(String, Bytes)>,
        time: Duration,
    ) -> Result<Option<Reply>, RunError> {
        let Some((path, frame)) = call else { return Ok(None) };
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(frame)
            .map_err(|error| RunError::Failed(error.to_string()))?;
        let link = self.links.get_mut(backend).ok_or_else(|| gone("there is no such backend"))?;
        link.ask(request, time).await.map_err(unanswered).map(Some)
    }

    async fn get(&mut self, backend: usize, path: &str, time: Duration) -> Result<Reply, RunError> {
        let request = Request::get(path).body(Bytes::new());
        let request = request.map_err(|error| RunError::Failed(error.to_string()))?;
        let link = self.links.get_mut(backend).ok_or_else(|| gone("there is no such backend"))?;
        link.ask(request, time).await.map_err(unanswered)
    }

    fn target<'a>(&'a self, names: Names<'a>) -> Target<'a> {
        let release = match names.version {
            Some(version) => Release::Version(version.into()),
            None => Release::Any,
        };
        let signature = self.known.description.as_ref().and_then(Signature::of);
        let terms = Terms { signature, extractors: self.extractors.as_ref() };
        Target {
            terms,
            path: self.path.as_deref(),
            container: self.container,
            named: self.named,
            binary: self.known.extensions.is_some_and(|known| known.binary_tensors),
            ..Target::new(self.dialect, names.model, release)
        }
    }
}

fn gone(why: &str) -> RunError {
    RunError::Unreachable(why.to_owned())
}

fn joined(pieces: crate::protocol::dialect::Pieces) -> Bytes {
    let mut whole = BytesMut::new();
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.freeze()
}

/// The message of a gRPC answer; any other answer as it is.
fn plain(dialect: Dialect, reply: Reply) -> Result<Reply, RunError> {
    if dialect != Dialect::OpenInferenceGrpc {
        return Ok(reply);
    }
    let message =
        unary_message(reply.status.as_u16(), &reply.headers, &reply.trailers, &reply.body);
    match message {
        Ok(body) => Ok(Reply { body, ..reply }),
        Err(UnaryError::Failed { code, message }) => {
            let status = StatusCode::from_u16(code.http_status());
            Err(of_status(status.unwrap_or(StatusCode::BAD_GATEWAY), message))
        }
        Err(error) => Err(RunError::Failed(format!("its answer cannot be read: {error}"))),
    }
}

fn unanswered(error: LinkError) -> RunError {
    match error {
        LinkError::Time(time) => RunError::Overdue(time),
        LinkError::TooLong | LinkError::Coded | LinkError::Request(_) => {
            RunError::Failed(error.to_string())
        }
        LinkError::Connect(_) | LinkError::Http(_) | LinkError::Body(_) => {
            RunError::Unreachable(error.to_string())
        }
    }
}

/// Who is to blame for a prediction that is none.
fn blamed(error: AnswerError) -> RunError {
    match error {
        AnswerError::Failed(failure) => of_status(failure.status, failure.message),
        AnswerError::Body(_)
        | AnswerError::Message(_)
        | AnswerError::Media(_)
        | AnswerError::MissingOutput(_)
        | AnswerError::TwoOutputs(_)
        | AnswerError::Rows { .. } => RunError::Failed(error.to_string()),
    }
}

fn of_status(status: StatusCode, message: String) -> RunError {
    let told = format!("it answers {}: {message}", status.as_u16());
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => RunError::Refused(told),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => RunError::Unreachable(told),
        _ => RunError::Failed(told),
    }
}
