//! Where a request leads: what it asks in which dialect, whether the gateway answers it itself, and
//! which target does where it does not.
//!
//! Owns the order of these questions. Never reads a body.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};
use hyper::body::{Body as _, Incoming};

use super::trial::canary_of;
use super::{Answer, Exchange, fallback, micros, without_port};
use crate::domain::record::Protocol;
use crate::domain::routing::{
    self, Decision, HeaderSource, ModelCall, NoRoute, Reason, RequestView, TargetIx, VERSION_HEADER,
};
use crate::protocol::dialect::{Call, Dialect, Operation, Release, parse_path, same_wire};
use crate::protocol::{kserve_v1, sagemaker};
use crate::proxy::admit::{self, Admitted, BodyLength};
use crate::proxy::problem::{Cause, Problem};
use crate::proxy::{
    builtin, extensions, feedback, grpc, local, remote, repository, translate, whole,
};
use crate::snapshot::RuntimeKind;

/// Name a model and a version where the path of a SageMaker container does not.
const TARGET_MODEL: HeaderName = HeaderName::from_static(sagemaker::TARGET_MODEL);
const TARGET_VARIANT: HeaderName = HeaderName::from_static(sagemaker::TARGET_VARIANT);

/// Gets the answer to a request. What is left in `unread` was not asked for.
pub(super) async fn answer(
    exchange: &mut Exchange,
    parts: Parts,
    unread: &mut Option<Incoming>,
) -> Result<Answer, Problem> {
    check_limit(exchange, &parts.headers)?;
    let uri = parts.uri.clone();
    if uri.path() == feedback::PATH {
        return feedback::answer(exchange, &parts, unread).await;
    }
    let ended = unread.as_ref().is_none_or(Incoming::is_end_stream);
    if exchange.is_grpc()
        && let Some(method) = grpc::Method::of(uri.path())
        && !exchange.leads_to_pool(&parts)
    {
        return grpc::answer(exchange, method, parts, ended, unread).await;
    }
    let directed = direct(exchange, &parts, &uri, ended);
    if !matches!(directed, Ok(Directed::About(_) | Directed::Extension(_))) {
        exchange.note_request(&parts.headers);
    }
    let (admitted, call, decision) = match directed? {
        Directed::About(answer) => return Ok(answer),
        Directed::Extension(extension) => {
            return repository::answer(exchange, &extension, &parts.headers, unread).await;
        }
        Directed::To(admitted, call, decision) => (admitted, call, decision),
    };
    let is_local = matches!(exchange.snapshot.target(decision.target).kind, RuntimeKind::Local(_));
    // A route leads to inferences only; a backend knows its built-in paths on any way to it.
    let call =
        call.filter(|call| !is_local || decision.route.is_none() || call.operation.is_inference());
    let is_prediction = call.as_ref().is_none_or(|call| call.operation.is_inference());
    if is_prediction {
        exchange.begin_copy(&parts, &admitted);
    } else {
        exchange.owes_no_record();
    }
    exchange.await_room().await?;
    if is_prediction && exchange.may_fall_back(&decision) {
        // In a box: what is not on trial does not carry its state.
        let tried = fallback::answer(exchange, decision, call, parts, &admitted, unread);
        return Box::pin(tried).await;
    }
    dispatch(exchange, decision.target, call, parts, &admitted, unread).await
}

/// Gets the answer of `target`, for which the exchange was decided. What is left in `unread` was not asked for.
pub(super) async fn dispatch(
    exchange: &mut Exchange,
    target: TargetIx,
    call: Option<Call<'_>>,
    parts: Parts,
    admitted: &Admitted,
    unread: &mut Option<Incoming>,
) -> Result<Answer, Problem> {
    let snapshot = Arc::clone(&exchange.snapshot);
    match (&snapshot.target(target).kind, unread.take()) {
        (RuntimeKind::Local(Some(runtime)), Some(body)) => {
            local::answer(exchange, runtime, call, parts, body).await
        }
        (RuntimeKind::Remote(runtime), Some(body)) => {
            let spoken = whole::spoken(runtime, call.as_ref())?;
            match (call, spoken) {
                (Some(call), Some(spoken))
                    if !same_wire(&call, spoken) || translate::concerns_model(call.operation) =>
                {
                    translate::answer(exchange, runtime, spoken, &call, parts, admitted, body).await
                }
                (Some(call), Some(Dialect::OpenInference)) if call.operation.is_inference() => {
                    extensions::answer(exchange, runtime, &call, parts, admitted, body).await
                }
                (call, _) => {
                    remote::answer(exchange, runtime, call.as_ref(), parts, admitted, body).await
                }
            }
        }
        (_, body) => {
            *unread = body;
            Err(Problem::new(Cause::NoReadyVersion, "the version is not loaded"))
        }
    }
}

/// A request that says how long its client waits must say it so that it can be read.
fn check_limit(exchange: &mut Exchange, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(header) = exchange.unsound_limit.take() else { return Ok(()) };
    exchange.note_request(headers);
    let detail = format!("the header `{header}` does not say how long the client waits");
    Err(Problem::new(Cause::BadInput, detail))
}

/// Where a request leads.
enum Directed<'a> {
    /// To the gateway itself.
    About(Answer),
    /// To the gateway itself, about its models.
    Extension(Call<'a>),
    /// To a target.
    To(Admitted, Option<Call<'a>>, Decision),
}

/// Admits a request and decides where it leads.
fn direct<'a>(
    exchange: &mut Exchange,
    parts: &Parts,
    uri: &'a Uri,
    ended: bool,
) -> Result<Directed<'a>, Problem> {
    let gateway = Arc::clone(&exchange.context.worker.gateway);
    let admitted = admit::admit(parts, &gateway.limits, ended)?;
    let malformed =
        |error: &dyn std::fmt::Display| Problem::new(Cause::Malformed, error.to_string());
    let mut call = parse_path(uri.path()).map_err(|error| malformed(&error))?;
    if call.is_none() && asks_for_life(exchange, parts, &admitted) {
        call = Some(kserve_v1::LIVE);
    }
    if let Some(call) = &mut call {
        let view = exchange.view(parts, &admitted, None);
        let routed = call.dialect != Dialect::OpenInference
            && routing::route_of(&exchange.snapshot.table, &view).is_some();
        exchange.speaks(call.dialect);
        exchange.operation = Some(call.operation);
        if repository::concerns(call.operation) {
            exchange.is_about_itself = true;
            if !matches!(call.operation, Operation::NotOffered(_)) {
                check_method(parts, &call.method())?;
            }
            exchange.owes_no_record();
            return Ok(Directed::Extension(call.clone()));
        }
        if call.model.is_none() && !call.operation.is_inference() && !routed {
            exchange.is_about_itself = true;
            let answer = builtin::about_gateway(&gateway, &exchange.snapshot, call, &parts.method)?;
            exchange.owes_no_record();
            return Ok(Directed::About(answer));
        }
        if call.dialect == Dialect::Sagemaker && call.operation.is_inference() {
            name_version(parts, call);
        }
        if call.model.is_none() && call.operation.is_inference() {
            name_model(exchange, parts, call);
            if call.model.is_none() && !routed && exchange.snapshot.table.models().len() > 1 {
                let detail =
                    format!("there are several models: the header `{TARGET_MODEL}` names one");
                return Err(Problem::new(Cause::NoRoute, detail));
            }
        }
    }
    let decision = exchange.decide_call(parts, &admitted, call.as_ref())?;
    Ok(Directed::To(admitted, call, decision))
}

/// Whether a client of KServe V1 asks if the server lives: on a path that is a route's where there is one.
fn asks_for_life(exchange: &Exchange, parts: &Parts, admitted: &Admitted) -> bool {
    parts.uri.path() == kserve_v1::LIVE_PATH
        && matches!(parts.method, Method::GET | Method::HEAD)
        && routing::route_of(&exchange.snapshot.table, &exchange.view(parts, admitted, None))
            .is_none()
}

/// Finds the model of a call whose path names none: a header does, or there is only one.
fn name_model(exchange: &Exchange, parts: &Parts, call: &mut Call<'_>) {
    let models = exchange.snapshot.table.models();
    call.model = match (named(parts, &TARGET_MODEL), models) {
        (Some(name), _) => Some(Cow::Owned(name)),
        (None, [only]) => Some(Cow::Owned(only.name.to_string())),
        (None, _) => None,
    };
}

/// Takes the version of a call for an endpoint of SageMaker from a header, whether its path names a model or not.
fn name_version(parts: &Parts, call: &mut Call<'_>) {
    if let Some(version) = named(parts, &TARGET_VARIANT) {
        call.release = Release::Version(Cow::Owned(version));
    }
}

fn named(parts: &Parts, header: &HeaderName) -> Option<String> {
    parts.headers.get(header)?.to_str().ok().map(str::to_owned)
}

/// Refuses a method that a built-in path does not have; `HEAD` goes where `GET` does.
fn check_method(parts: &Parts, method: &Method) -> Result<(), Problem> {
    if parts.method == *method || (parts.method == Method::HEAD && *method == Method::GET) {
        return Ok(());
    }
    let detail = format!("{} is answered to {method} only", parts.uri.path());
    Err(Problem::method(detail, if *method == Method::POST { "POST" } else { builtin::GET }))
}

impl Exchange {
    /// Notes which dialect the client speaks.
    pub(in crate::proxy) fn speaks(&mut self, dialect: Dialect) {
        self.dialect = dialect;
        self.protocol = match dialect {
            Dialect::OpenInference => Protocol::OpenInferenceRest,
            Dialect::OpenInferenceGrpc => Protocol::OpenInferenceGrpc,
            Dialect::KserveV1 => Protocol::KserveV1,
            Dialect::TensorflowServing => Protocol::TensorflowServing,
            Dialect::Torchserve => Protocol::Torchserve,
            Dialect::Sagemaker => Protocol::Sagemaker,
            Dialect::Raw => Protocol::Raw,
        };
    }

    /// Whether a route takes the request to a pool, whatever it asks.
    fn leads_to_pool(&self, parts: &Parts) -> bool {
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        let authority = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
        let admitted = Admitted { authority, body: BodyLength::Unknown };
        let view = self.view(parts, &admitted, None);
        let decided = routing::decide(&self.snapshot.table, &view, self.entropy);
        decided.is_ok_and(|decision| decision.reason == Reason::Pool)
    }

    /// What routing sees of the request.
    fn view<'a>(
        &self,
        parts: &'a Parts,
        admitted: &'a Admitted,
        call: Option<ModelCall<'a>>,
    ) -> RequestView<'a, HeaderMap> {
        let host = admitted.authority.as_ref().and_then(|host| host.to_str().ok());
        RequestView {
            method: parts.method.as_str(),
            host: host.map(without_port),
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
            client: self.client,
            call,
        }
    }

    /// Chooses the target, for a call over REST.
    fn decide_call(
        &mut self,
        parts: &Parts,
        admitted: &Admitted,
        call: Option<&Call<'_>>,
    ) -> Result<Decision, Problem> {
        let asked_for = call.and_then(|call| {
            let version = match &call.release {
                Release::Any => self.questioned(parts, call).map(Cow::Owned),
                Release::Version(name) | Release::Label(name) => Some(name.clone()),
            };
            Some(ModelCall { model: call.model.clone()?, version })
        });
        let decision = self.choose(parts, admitted, asked_for)?;
        // A built-in path has a built-in method; a route may use any.
        if let Some(call) = call
            && decision.route.is_none()
        {
            check_method(parts, &call.method())?;
        }
        self.enter(decision);
        Ok(decision)
    }

    /// The version that a question about a model is put to where none is named: always the same one.
    fn questioned(&self, parts: &Parts, call: &Call<'_>) -> Option<String> {
        if !translate::concerns_model(call.operation) || parts.headers.contains_key(VERSION_HEADER)
        {
            return None;
        }
        let entry = repository::model_named(&self.snapshot, call.model.as_deref()?).ok()?;
        let target = repository::main_version(&self.snapshot, entry)?;
        let mut versions = entry.versions();
        versions.find_map(|(name, own)| (own == target).then(|| name.to_string()))
    }

    /// Chooses the target of a request that names `asked_for`.
    pub(in crate::proxy) fn choose(
        &mut self,
        parts: &Parts,
        admitted: &Admitted,
        asked_for: Option<ModelCall<'_>>,
    ) -> Result<Decision, Problem> {
        let view = self.view(parts, admitted, asked_for);
        let table = &self.snapshot.table;
        let decision = match routing::decide(table, &view, self.entropy) {
            Ok(decision) => decision,
            Err(no_route) => {
                self.asked_for = no_route.model();
                if let NoRoute::NoReadyVersion(model) = no_route
                    && let Some(trial) = &self.snapshot.model(model).trial
                {
                    trial.miss();
                }
                let route = routing::route_of(table, &view);
                self.policy = self.snapshot.policies.index_of(route, self.asked_for);
                return Err(no_route.into());
            }
        };
        self.policy = self.snapshot.policies.index_of(decision.route, decision.model);
        if let (Some(arm), Some(model)) = (decision.reason.arm(), decision.model)
            && let Some(canary) = canary_of(&self.snapshot, model)
        {
            let caller = routing::caller_of(table, &view, model);
            canary.draw(self.context.worker.index, arm, caller);
        }
        Ok(decision)
    }

    /// Notes the decision: the request counts for its target from now on.
    pub(in crate::proxy) fn enter(&mut self, decision: Decision) {
        let now = self.note_time();
        self.latency.t_route = Some(micros(now.duration_since(self.began)));
        self.decision = Some(decision);
        self.snapshot.target(decision.target).metrics.enter(self.context.worker.index);
    }
}

impl HeaderSource for HeaderMap {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }
}
