//! Small prediction servers, sound and otherwise.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::sure;
use crate::domain::spec::BackendAddress;
use crate::protocol::grpc::{FrameReader, GRPC_STATUS, encode_frame};
use crate::protocol::infer::InferResponse;
use crate::protocol::open_inference::grpc::{
    ContentsForm, ModelMetadataResponse, ModelRequest, ReadyResponse, ServerMetadataResponse,
    TensorMetadata, decode_infer_call, encode_infer_response,
};
use crate::protocol::tensor::{Tensor, TensorData};

/// What a server answers to a method, a path and a body: a status and JSON.
pub(super) type Script = dyn Fn(&Method, &str, &Value) -> (u16, Value) + Send + Sync;

/// Serves until the test ends.
pub(super) async fn serve(script: Arc<Script>) -> BackendAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            let service = service_fn(move |request: Request<Incoming>| {
                let script = Arc::clone(&script);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes());
                    let body = serde_json::from_slice(&body.unwrap_or_default());
                    let body = body.unwrap_or(Value::Null);
                    let (status, answer) = script(&head.method, head.uri.path(), &body);
                    let answer = Full::new(Bytes::from(answer.to_string()));
                    let answer = Response::builder()
                        .status(status)
                        .header("content-type", "application/json")
                        .body(answer);
                    Ok::<_, Infallible>(answer.expect("a response"))
                }
            });
            tokio::spawn(async move {
                let io = TokioIo::new(stream);
                drop(http1::Builder::new().serve_connection(io, service).await);
            });
        }
    });
    BackendAddress { host: "127.0.0.1".into(), port }
}

/// An Open Inference server of model `m`, version `7`.
#[derive(Debug, Clone)]
pub(super) struct Oip {
    /// It looks at names; otherwise it serves what it has to everybody.
    pub(super) strict: bool,
    /// It looks at versions.
    pub(super) strict_version: bool,
    /// The version that it says it is.
    pub(super) version: &'static str,
    /// What is added to every score.
    pub(super) shift: f32,
}

impl Default for Oip {
    fn default() -> Self {
        Self { strict: true, strict_version: true, version: "7", shift: 0.0 }
    }
}

impl Oip {
    pub(super) async fn start(self) -> BackendAddress {
        serve(Arc::new(move |method, path, body| self.answer(method, path, body))).await
    }

    pub(super) fn answer(&self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let missing = || (404, json!({"error": "no such model"}));
        let ["v2", "models", model, rest @ ..] = parts.as_slice() else { return missing() };
        if self.strict && *model != "m" {
            return missing();
        }
        let what = match rest {
            ["versions", version, what @ ..] => {
                if self.strict_version && *version != "7" {
                    return missing();
                }
                what
            }
            what => what,
        };
        let name = if self.strict { "m" } else { model };
        match (method, what) {
            (&Method::GET, []) => (
                200,
                json!({"name": name, "versions": [self.version], "platform": "test",
                    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
                    "outputs": [{"name": "p", "datatype": "FP32", "shape": [-1, 2]}]}),
            ),
            (&Method::GET, ["ready"]) => (200, json!({"name": name, "ready": true})),
            (&Method::POST, ["infer"]) => {
                let Some(rows) = rows(&body["inputs"][0]["data"]) else {
                    return (400, json!({"error": "no rows"}));
                };
                let data: Vec<f32> =
                    rows.iter().flat_map(|row| sure(*row)).map(|p| p + self.shift).collect();
                let p = json!({"name": "p", "datatype": "FP32", "shape": [rows.len(), 2], "data": data});
                (200, json!({"model_name": name, "model_version": self.version, "outputs": [p]}))
            }
            _ => missing(),
        }
    }
}

/// A gRPC server of model `m`, version `7`; with `strict` it looks at names.
pub(super) async fn serve_grpc(strict: bool) -> BackendAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: Request<Incoming>| async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                Ok::<_, Infallible>(answer_call(head.uri.path(), body, strict))
            });
            tokio::spawn(async move {
                let builder = http2::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    BackendAddress { host: "127.0.0.1".into(), port }
}

type Call = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

fn answer_call(path: &str, body: Bytes, strict: bool) -> Response<Call> {
    let mut reader = FrameReader::new(body.len());
    reader.push(body);
    let message = reader.next_frame().ok().flatten().expect("a message").payload;
    let known = |name: &str, version: &str| !strict || (name == "m" && version == "7");
    let frame = if path.ends_with("/ServerMetadata") {
        let told = ServerMetadataResponse { name: "test".into(), ..Default::default() };
        Some(encode_frame(&told).expect("a frame"))
    } else if path.ends_with("/ModelReady") {
        let asked = ModelRequest::decode(message).expect("a request");
        let ready = known(&asked.name, &asked.version);
        Some(encode_frame(&ReadyResponse { ready }).expect("a frame"))
    } else if path.ends_with("/ModelMetadata") {
        let asked = ModelRequest::decode(message).expect("a request");
        known(&asked.name, &asked.version).then(|| {
            let tensor = |name: &str| TensorMetadata {
                name: name.to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![-1, 2],
            };
            let told = ModelMetadataResponse {
                name: asked.name,
                versions: vec!["7".to_owned()],
                inputs: vec![tensor("x")],
                outputs: vec![tensor("p")],
                ..ModelMetadataResponse::default()
            };
            encode_frame(&told).expect("a frame")
        })
    } else {
        let call = decode_infer_call(message).expect("a call");
        known(&call.model, call.version.as_deref().unwrap_or_default()).then(|| {
            let x = &call.request.inputs[0];
            let TensorData::Fp32(values) = x.data() else { panic!("floats") };
            let p = values.chunks_exact(2).flat_map(|row| sure([row[0], row[1]])).collect();
            let p = Tensor::new("p", x.shape(), TensorData::Fp32(p)).expect("agrees");
            let response = InferResponse {
                model_name: "m".into(),
                model_version: "7".into(),
                outputs: vec![p],
                ..InferResponse::default()
            };
            let frame = encode_infer_response(response, ContentsForm::Raw).expect("a frame");
            Bytes::from(frame.concat())
        })
    };
    let mut ended = HeaderMap::new();
    let status = if frame.is_some() { "0" } else { "5" };
    ended.insert(GRPC_STATUS, HeaderValue::from_static(status));
    let body = Full::new(frame.unwrap_or_default());
    let body = body.with_trailers(std::future::ready(Some(Ok(ended)))).boxed_unsync();
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(body).expect("a response")
}

/// Rows of two out of flat or nested numbers.
pub(super) fn rows(data: &Value) -> Option<Vec<[f32; 2]>> {
    let flat: Vec<f32> = data
        .as_array()?
        .iter()
        .flat_map(|item| item.as_array().cloned().unwrap_or_else(|| vec![item.clone()]))
        .map(|number| number.as_f64().unwrap_or(f64::NAN) as f32)
        .collect();
    Some(flat.chunks_exact(2).map(|row| [row[0], row[1]]).collect())
}
