//! A prediction server of a test's own: it multiplies the sum of four inputs, and fails as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::backend::{Backend, Connection, Incoming};

/// What a client's row is; other rows are those of checks.
const CLIENTS_ROW: [f64; 4] = [1.0, 2.0, 3.0, 4.0];

/// How a server answers clients, and copies of their requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// One in so many predictions is a 500.
    FailsEvery(u64),
    /// It takes requests and never answers.
    Silent,
}

/// A running server of version `version` of model `m`, which speaks the Open Inference Protocol.
pub(crate) struct Server {
    pub(crate) backend: Backend,
    pub(crate) version: &'static str,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicU64>,
}

impl Server {
    /// One that answers for its own names only.
    pub(crate) fn start(version: &'static str, factor: f64) -> Self {
        Self::new(version, factor, false)
    }

    /// One that answers for whatever it is asked, as servers do that ignore names.
    pub(crate) fn lenient(version: &'static str, factor: f64) -> Self {
        Self::new(version, factor, true)
    }

    fn new(version: &'static str, factor: f64, lenient: bool) -> Self {
        let mood = Arc::new(Mutex::new(Mood::Well));
        let asked = Arc::new(AtomicU64::new(0));
        let (mood_now, count) = (Arc::clone(&mood), Arc::clone(&asked));
        let backend = Backend::script(move |connection| {
            while let Some(request) = connection.request() {
                let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                if is_of_clients(&body) {
                    let number = count.fetch_add(1, Relaxed);
                    let mood = *mood_now.lock();
                    match mood {
                        Mood::Silent => return connection.wait_for_close(),
                        Mood::FailsEvery(n) if number % n == 0 => {
                            send(connection, 500, &json!({ "error": "a test wants it" }));
                            continue;
                        }
                        Mood::Well | Mood::FailsEvery(_) => {}
                    }
                }
                let (status, answer) = answer(&request, &body, version, factor, lenient);
                send(connection, status, &answer);
            }
        });
        Self { backend, version, mood, asked }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Predictions that it was asked for by clients, or for copies.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }

    /// As registrations and lists name it.
    pub(crate) fn entry(&self) -> Value {
        json!({
            "address": format!("http://{}", self.backend.address),
            "model": "m",
            "version": self.version,
            "dialect": "open_inference",
        })
    }
}

fn is_of_clients(body: &Value) -> bool {
    body["inputs"][0]["data"] == json!(CLIENTS_ROW)
        || body["inputs"][0]["data"] == json!(CLIENTS_ROW.map(|value| value as i64))
}

fn answer(request: &Incoming, body: &Value, own: &str, factor: f64, lenient: bool) -> (u16, Value) {
    let path = request.line().split(' ').nth(1).unwrap_or_default();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let missing = (404, json!({ "error": "no such model" }));
    let (model, what) = match parts.as_slice() {
        ["v2"] => return (200, json!({ "name": "test", "version": "1", "extensions": [] })),
        ["v2", "health", _] => return (200, json!({ "live": true, "ready": true })),
        ["v2", "repository", "index"] => {
            return (200, json!([{ "name": "m", "version": own, "state": "READY" }]));
        }
        ["v2", "models", model, "versions", version, what @ ..] => {
            if !lenient && *version != own {
                return missing;
            }
            (*model, what)
        }
        ["v2", "models", model, what @ ..] => (*model, what),
        _ => return missing,
    };
    if !lenient && model != "m" {
        return missing;
    }
    let tensor =
        |name: &str, width: u32| json!({ "name": name, "datatype": "FP32", "shape": [-1, width] });
    match what {
        [] => {
            let (inputs, outputs) = (vec![tensor("x", 4)], vec![tensor("y", 1)]);
            let told = json!({ "name": model, "versions": [own], "platform": "test",
                               "inputs": inputs, "outputs": outputs });
            (200, told)
        }
        ["ready"] => (200, json!({ "name": model, "ready": true })),
        ["infer"] => {
            let mut values = Vec::new();
            flatten(&body["inputs"][0]["data"], &mut values);
            let sums: Vec<f64> =
                values.chunks(4).map(|row| row.iter().sum::<f64>() * factor).collect();
            let y =
                json!({ "name": "y", "datatype": "FP32", "shape": [sums.len(), 1], "data": sums });
            (200, json!({ "model_name": model, "model_version": own, "outputs": [y] }))
        }
        _ => missing,
    }
}

fn flatten(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, into)),
        other => into.extend(other.as_f64()),
    }
}

fn send(connection: &mut Connection, status: u16, answer: &Value) {
    let text = answer.to_string();
    let length = text.len();
    connection.send(&format!(
        "HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{text}"
    ));
}
