//! Small prediction servers, sound and otherwise.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::sure;
use crate::domain::spec::BackendAddress;

/// What a server answers to a method, a path and a body: a status and JSON.
pub(super) type Handler = dyn Fn(&Method, &str, &Value) -> (u16, Value) + Send + Sync;

/// Serves until the test ends.
pub(super) async fn serve(handler: Arc<Handler>) -> BackendAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = Arc::clone(&handler);
            let service = service_fn(move |request: Request<Incoming>| {
                let handler = Arc::clone(&handler);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes());
                    let body = serde_json::from_slice(&body.unwrap_or_default());
                    let body = body.unwrap_or(Value::Null);
                    let (status, answer) = handler(&head.method, head.uri.path(), &body);
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
