//! What the OpenAPI document says about models of backends: every status that an answer about one can have, and its
//! form.

use std::collections::BTreeSet;

use crate::support::client::post;
use crate::support::{Backend, Gateway, Reply, nobody, repository};

const BODY: &str = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;

fn document() -> serde_json::Value {
    let file = repository("src/protocol/open_inference/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Whether a refusal is what the document says: an error, or that a model is not ready.
fn is_described(response: &serde_json::Value, reply: &Reply) -> bool {
    let body = reply.json();
    let is_error = body["error"].is_string();
    let is_not_ready = body["name"].is_string() && body["ready"] == false;
    match response["$ref"].as_str() {
        Some("#/components/responses/Error") => is_error,
        Some("#/components/responses/NotReady") => is_error || is_not_ready,
        _ => false,
    }
}

#[test]
fn every_refusal_about_a_model_of_backends_is_in_the_document() {
    let refusing = Backend::replying(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n\
         {\"error\":\"no\"}",
    );
    let silent = Backend::script(|connection| connection.wait_for_close());
    let gone = nobody();
    let version = |model: &str, backend: std::net::SocketAddr, more: &str| {
        format!("[models.{model}.versions.v1]\nbackends = [\"http://{backend}\"]\n{more}")
    };
    let config = [
        version("refusing", refusing.address, "dialect = \"kserve_v1\"\n"),
        version("gone", gone.address, "dialect = \"open_inference\"\n"),
        version("passing", gone.address, ""),
        version("asked", silent.address, "dialect = \"ask\"\n"),
        version("slow", silent.address, "dialect = \"open_inference\"\n"),
        "[models.slow]\ntimeouts = { first_byte = \"100ms\" }\n".to_owned(),
        "[protocols]\nrepository = true\n".to_owned(),
    ];
    let gateway = Gateway::start(&config.concat());
    let mut statuses = BTreeSet::new();
    for (path, operations) in document()["paths"].as_object().unwrap() {
        for model in ["refusing", "gone", "passing", "asked", "slow"] {
            if !path.contains("{model}") {
                continue;
            }
            let target = path.replace("{model}", model).replace("{version}", "v1");
            let (responses, reply) = match &operations["post"]["responses"] {
                serde_json::Value::Null => {
                    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
                    (&operations["get"]["responses"], gateway.request(&request))
                }
                responses => {
                    let body = if path.ends_with("/infer") { BODY } else { "" };
                    (responses, gateway.request(&post(&target, "", body)))
                }
            };
            let response = &responses[reply.status.to_string()];
            assert!(response.is_object(), "{target}: {} is not in the document", reply.status);
            if reply.status != 200 {
                assert!(is_described(response, &reply), "{target}: {}", reply.text());
            }
            statuses.insert(reply.status);
        }
    }
    assert!(statuses.is_superset(&[409, 501, 502, 503, 504].into()), "{statuses:?}");
}
