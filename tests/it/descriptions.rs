//! Backends of a declared dialect that have not described their model yet, or never do: whoever needs the description
//! waits for it, and nobody is answered with guesses that a moment later are others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use crate::support::backend::{Backend, DESCRIPTION};
use crate::support::{Gateway, Reply, eventually, iris, nobody};

/// What the backend does.
const UNKNOWN: u8 = 0;
const LOADING: u8 = 1;
const READY: u8 = 2;

fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// TensorFlow Serving as it loads its model: it knows nothing of it, then its state, and then answers.
fn serving(at: std::net::SocketAddr, phase: &Arc<AtomicU8>) -> Backend {
    let phase = Arc::clone(phase);
    Backend::script_at(at, move |connection| {
        while let Some(request) = connection.request() {
            let state = |state| {
                json(
                    "200 OK",
                    &format!(r#"{{"model_version_status":[{{"version":"7","state":"{state}"}}]}}"#),
                )
            };
            let line = request.line();
            connection.send(&match phase.load(Ordering::SeqCst) {
                READY if line.contains("/metadata ") => DESCRIPTION.to_owned(),
                READY if line.contains(":predict ") => json("200 OK", r#"{"outputs":[1.5,2.5]}"#),
                READY => state("AVAILABLE"),
                LOADING if line.starts_with("GET /v1/models/m ") => state("LOADING"),
                _ => json(
                    "404 Not Found",
                    r#"{"error":"Servable not found for request: Latest(m)"}"#,
                ),
            });
        }
    })
}

fn get(gateway: &Gateway, path: &str) -> Reply {
    gateway.request(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
}

const BODY: &str = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}]}"#;

#[test]
fn until_a_declared_backend_has_described_its_model_nobody_is_answered_with_guesses() {
    let (nobody, phase) = (nobody(), Arc::new(AtomicU8::new(LOADING)));
    let gateway = Gateway::start(&format!(
        "[models.m.versions.v1]\nbackends = [\"http://{}\"]\ndialect = \"tensorflow_serving\"\n",
        nobody.address
    ));
    let waits = |what: &str| {
        for reply in [gateway.post("/v2/models/m/infer", BODY), get(&gateway, "/v2/models/m")] {
            assert_eq!((reply.status, reply.error()), (503, "unknown_dialect"), "{what}");
            assert!(reply.text().contains("have not described it"), "{}", reply.text());
        }
        assert_eq!(get(&gateway, "/v2/models/m/ready").status, 503, "{what}");
    };
    waits("nobody is there");
    let backend = serving(nobody.leave(), &phase);
    // However often it says that it loads, it is not taken for a server that never describes its models.
    let asked = || backend.seen().iter().filter(|one| one.line().contains("/metadata ")).count();
    eventually("it was asked again and again while it loads", || {
        waits("it loads");
        (asked() > 7).then_some(())
    });
    // What is not translated passes.
    let own = gateway.post("/v1/models/m:predict", r#"{"instances":[1,2]}"#);
    assert_eq!(own.status, 404, "{}", own.text());
    phase.store(READY, Ordering::SeqCst);
    let ready = Instant::now();
    let reply = eventually("it has described its model", || {
        let reply = gateway.post("/v2/models/m/infer", BODY);
        assert!(reply.status == 200 || reply.error() == "unknown_dialect", "{}", reply.text());
        (reply.status == 200).then_some(reply)
    });
    // A request that waits has it asked within a second.
    assert!(ready.elapsed().as_secs() < 5, "{:?}", ready.elapsed());
    let output = &reply.json()["outputs"][0];
    assert_eq!((&output["name"], &output["datatype"]), (&"y".into(), &"FP32".into()), "{output}");
    assert_eq!(get(&gateway, "/v2/models/m/ready").status, 200);
    assert_eq!(get(&gateway, "/v2/models/m").json()["outputs"][0]["name"], "y");
}

#[test]
fn a_backend_that_answers_and_never_describes_its_model_is_served_without_types_after_a_while() {
    let phase = Arc::new(AtomicU8::new(UNKNOWN));
    let backend = serving("127.0.0.1:0".parse().unwrap(), &phase);
    let gateway =
        Gateway::start(&format!("{}dialect = \"tensorflow_serving\"\n", backend.as_model()));
    let began = Instant::now();
    let reply = eventually("it is asked without types", || {
        let reply = gateway.post("/v2/models/m/infer", BODY);
        assert!(reply.status == 404 || reply.error() == "unknown_dialect", "{}", reply.text());
        (reply.status == 404).then_some(reply)
    });
    assert!(reply.text().contains("Servable not found"), "{}", reply.text());
    assert!(began.elapsed().as_secs() >= 3, "it was given time: {:?}", began.elapsed());
    assert_eq!(get(&gateway, "/v2/models/m").status, 501, "nobody tells");
    assert!(gateway.log().contains("do not describe the model"));
}

#[test]
fn a_backend_that_is_there_has_described_its_model_before_the_first_request() {
    let phase = Arc::new(AtomicU8::new(READY));
    for _ in 0..3 {
        let backend = serving("127.0.0.1:0".parse().unwrap(), &phase);
        let gateway =
            Gateway::start(&format!("{}dialect = \"tensorflow_serving\"\n", backend.as_model()));
        let reply = gateway.post("/v2/models/m/infer", BODY);
        assert_eq!((reply.status, &reply.json()["outputs"][0]["name"]), (200, &"y".into()));
    }
}

#[test]
fn a_backend_that_speaks_http2_is_asked_over_http2() {
    let backend = Gateway::start(&iris());
    for dialect in ["tensorflow_serving", "open_inference"] {
        let gateway = Gateway::start(&format!(
            "[models.flowers.versions.v7]\nbackends = [\"http://{}\"]\ndialect = \"{dialect}\"\n\
             remote_model = \"iris\"\nhttp2 = true\n",
            backend.data
        ));
        let inputs = |gateway: &Gateway, model: &str| {
            let reply = get(gateway, &format!("/v2/models/{model}"));
            assert_eq!(reply.status, 200, "{dialect}: {}", reply.text());
            reply.json()["inputs"].clone()
        };
        assert_eq!(inputs(&gateway, "flowers"), inputs(&backend, "iris"), "{dialect}");
        let rows = r#"{"inputs":[[5.1,3.5,1.4,0.2]]}"#;
        let reply = gateway.post("/v1/models/flowers:predict", rows);
        assert_eq!(reply.status, 200, "{dialect}: {}", reply.text());
    }
}
