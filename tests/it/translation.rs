//! What passes from clients to backends and back when they speak differently, and what stays untouched when they
//! do not.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pointsman::protocol::grpc::{FrameReader, encode_frame};
use pointsman::protocol::open_inference::grpc::{
    InferParameter, InferTensor, Method, ModelInferRequest, ModelInferResponse, ParameterChoice,
};
use prost::Message;

use crate::support::client::post;
use crate::support::{Backend, Gateway, Http2, Http2Backend, Http2Reply, Reply, eventually, iris};

const SCORES: [f32; 2] = [0.25, 0.75];

fn raw(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn text(value: &str) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value.to_owned())) }
}

/// A tensor of two numbers that is said to be of numpy.
fn numbers(name: &str) -> InferTensor {
    InferTensor {
        name: name.to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![2],
        parameters: [("content_type".to_owned(), text("np"))].into(),
        ..InferTensor::default()
    }
}

fn payload<M: Message + Default>(body: &Bytes) -> M {
    let mut reader = FrameReader::new(1 << 20);
    reader.push(body.clone());
    M::decode(reader.next_frame().unwrap().unwrap().payload).unwrap()
}

fn call(client: &Http2, message: &ModelInferRequest) -> Http2Reply {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    client.call(client.post(&Method::ModelInfer.path(), &headers, encode_frame(message).unwrap()))
}

/// A server of gRPC that answers with scores.
fn grpc_server() -> Http2Backend {
    let headers = |name: &'static str, value: &'static str| {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    };
    Http2Backend::start(move |request| {
        let is_prediction = request.head.uri.path() == Method::ModelInfer.path();
        let answer = encode_frame(&ModelInferResponse {
            model_name: "theirs".into(),
            outputs: vec![numbers("y")],
            raw_output_contents: vec![raw(&SCORES)],
            ..ModelInferResponse::default()
        });
        Http2Reply {
            status: 200,
            headers: headers("content-type", "application/grpc"),
            body: if is_prediction { answer.unwrap() } else { Bytes::new() },
            trailers: headers("grpc-status", if is_prediction { "0" } else { "12" }),
            cut: false,
        }
    })
}

/// A server of REST that answers every prediction in JSON, and has no extension.
fn rest_server() -> Backend {
    Backend::script(|connection| {
        while let Some(request) = connection.request() {
            let body = match request.line().split(' ').nth(1) {
                Some("/v2") => r#"{"name":"s","extensions":[]}"#,
                Some("/v2/models/m") => {
                    r#"{"name":"m","versions":["7"],"platform":"p","inputs":[{"name":"x","datatype":"FP32",
                       "shape":[-1]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1]}]}"#
                }
                _ => {
                    r#"{"model_name":"m","model_version":"7","outputs":[{"name":"y","datatype":"FP32","shape":[2],
                       "parameters":{"content_type":"np"},"data":[0.25,0.75]}]}"#
                }
            };
            let length = body.len();
            connection.send(&format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            ));
        }
    })
}

/// A request whose data stand behind the JSON, and whose answer is to be so, too.
fn binary_request(gateway: &Gateway) -> Reply {
    let head = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","shape":[2],"datatype":"FP32",
        "parameters":{"binary_data_size":8,"content_type":"np"}}]}"#;
    let mut client = gateway.client();
    client.send(&format!(
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ninference-header-content-length: {}\r\n\
         content-length: {}\r\n\r\n{head}",
        head.len(),
        head.len() + 8
    ));
    client.send_bytes(&raw(&[1.0, 2.0]));
    client.reply()
}

/// The JSON in front of an answer's binary tensors.
fn head(reply: &Reply) -> serde_json::Value {
    let length: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    serde_json::from_slice(&reply.body[..length]).unwrap()
}

const JSON: &str = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,2],
    "parameters":{"content_type":"np","binary_data":true}}]}"#;

#[test]
fn parameters_of_tensors_reach_a_backend_of_grpc_and_come_back() {
    let backend = grpc_server();
    let gateway = Gateway::start(&format!(
        "[models.m.versions.v1]\nbackends = [\"http://{}\"]\ndialect = \"open_inference_grpc\"\n",
        backend.address
    ));
    let asked = || {
        let seen = backend.seen();
        let path = Method::ModelInfer.path();
        let last = seen.iter().rfind(|seen| seen.head.uri.path() == path).unwrap();
        payload::<ModelInferRequest>(&last.body)
    };
    let reply = gateway.post("/v2/models/m/infer", JSON);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(asked().inputs, [numbers("x")], "and not how the bytes came");
    let parameters = &reply.json()["outputs"][0]["parameters"];
    assert_eq!(parameters, &serde_json::json!({"content_type": "np"}));
    let reply = binary_request(&gateway);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(asked().inputs, [numbers("x")]);
    let parameters = &head(&reply)["outputs"][0]["parameters"];
    assert_eq!(parameters, &serde_json::json!({"binary_data_size": 8, "content_type": "np"}));
}

#[test]
fn parameters_of_tensors_reach_a_backend_of_rest_from_clients_of_both_kinds_and_come_back() {
    let backend = rest_server();
    let gateway = Gateway::start(&format!("{}dialect = \"open_inference\"\n", backend.as_model()));
    eventually("the backend has told", || {
        (gateway.request("GET /v2/models/m HTTP/1.1\r\nhost: a\r\n\r\n").status == 200)
            .then_some(())
    });
    let told = serde_json::json!({"content_type": "np"});
    let asked = || -> serde_json::Value {
        let seen = backend.seen();
        let last = seen.iter().rfind(|seen| seen.line().contains("/infer")).unwrap();
        serde_json::from_slice(&last.body).unwrap()
    };
    // It is asked in JSON, as it has no binary tensors.
    let reply = binary_request(&gateway);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(asked()["inputs"][0]["parameters"], told);
    let parameters = &head(&reply)["outputs"][0]["parameters"];
    assert_eq!(parameters, &serde_json::json!({"binary_data_size": 8, "content_type": "np"}));
    let client = Http2::connect(gateway.data);
    let message = ModelInferRequest {
        model_name: "m".into(),
        inputs: vec![numbers("x")],
        raw_input_contents: vec![raw(&[1.0, 2.0])],
        ..ModelInferRequest::default()
    };
    let reply = call(&client, &message);
    assert_eq!(reply.trailer("grpc-status"), Some("0"), "{:?}", reply.trailer("grpc-message"));
    assert_eq!(asked()["inputs"][0]["parameters"], told);
    let answer: ModelInferResponse = payload(&reply.body);
    assert_eq!(answer.outputs, [numbers("y")]);
    assert_eq!(answer.raw_output_contents, [raw(&SCORES)]);
}

/// What was posted to a backend for predictions: paths and bodies.
fn posted(backend: &Backend) -> Vec<(String, String)> {
    let seen = backend.seen().into_iter().filter(|seen| seen.line().starts_with("POST"));
    let path = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    seen.map(|seen| (path(seen.line()), String::from_utf8(seen.body.clone()).unwrap())).collect()
}

#[test]
fn a_prediction_on_the_shared_path_passes_untouched_to_backends_of_both_dialects() {
    const ANSWER: &str = "{ \"outputs\" : [1.50],\"own\":true }";
    for (dialect, names, asked) in [
        ("tensorflow_serving", "", "/v1/models/m:predict"),
        (
            "tensorflow_serving",
            "remote_model = \"theirs\"\nremote_version = \"3\"\n",
            "/v1/models/theirs/versions/3:predict",
        ),
        ("kserve_v1", "remote_model = \"theirs\"\n", "/v1/models/theirs:predict"),
    ] {
        let backend = Backend::replying(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 33\r\n\r\n\
             { \"outputs\" : [1.50],\"own\":true }",
        );
        let gateway =
            Gateway::start(&format!("{}dialect = \"{dialect}\"\n{names}", backend.as_model()));
        for body in [
            "{ \"signature_name\" : \"other\", \"instances\" : [[1.0, 2], [3, 4]] }",
            "{\"inputs\":{\"a\":[1],\"b\":[[1],[2]]},\"own\":null}",
            "what is not JSON is the backend's to refuse",
        ] {
            let reply = gateway.post("/v1/models/m:predict", body);
            assert_eq!((reply.status, reply.text().as_str()), (200, ANSWER), "{dialect}");
            let last = posted(&backend).pop().unwrap();
            assert_eq!((last.0.as_str(), last.1.as_str()), (asked, body));
        }
    }
}

#[test]
fn a_container_is_asked_in_the_form_that_it_takes() {
    const OPEN_INFERENCE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 85\r\n\r\n\
         {\"outputs\":[{\"name\":\"output\",\"datatype\":\"FP64\",\"shape\":[2,1],\"data\":[0.5,0.75]}]}    ";
    const CSV: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/csv; charset=utf-8\r\ncontent-length: 9\r\n\r\n0.5\n0.75\n";
    let rows = "[[1.0,2.5],[3.0,4.0]]";
    let binary = "application/vnd.sagemaker-triton.binary+json;json-header-size=";
    for (form, answer, content_type, told) in [
        ("", CSV, "application/json", format!("{{\"instances\":{rows}}}")),
        ("json", CSV, "application/json", format!("{{\"instances\":{rows}}}")),
        ("csv", CSV, "text/csv", "1.0,2.5\n3.0,4.0\n".to_owned()),
        ("jsonlines", CSV, "application/jsonlines", "[1.0,2.5]\n[3.0,4.0]\n".to_owned()),
        ("open_inference", OPEN_INFERENCE, binary, String::new()),
    ] {
        let backend = Backend::replying(answer);
        let sagemaker = match form {
            "" => String::new(),
            form => format!("sagemaker = {{ form = \"{form}\" }}\n"),
        };
        let gateway =
            Gateway::start(&format!("{}dialect = \"sagemaker\"\n{sagemaker}", backend.as_model()));
        let body =
            r#"{"inputs":[{"name":"input","shape":[2,2],"datatype":"FP32","data":[1,2.5,3,4]}]}"#;
        let reply = gateway.post("/v2/models/m/infer", body);
        assert_eq!(reply.status, 200, "{form}: {}", reply.text());
        let output = &reply.json()["outputs"][0];
        assert_eq!(output["data"], serde_json::json!([0.5, 0.75]), "{form}: {output}");
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.line(), "POST /invocations HTTP/1.1");
        let media = seen.header("content-type").unwrap();
        assert!(media.starts_with(content_type), "{form}: {media}");
        if let Some(head) = media.strip_prefix(binary) {
            let (head, tail) = seen.body.split_at(head.parse().unwrap());
            let head: serde_json::Value = serde_json::from_slice(head).unwrap();
            assert_eq!(head["inputs"][0]["parameters"]["binary_data_size"], 16, "{head}");
            assert_eq!(tail, raw(&[1.0, 2.5, 3.0, 4.0]));
        } else {
            assert_eq!(String::from_utf8(seen.body).unwrap(), told, "{form}");
        }
    }
}

#[test]
fn no_prediction_takes_the_place_of_another() {
    let answering = |dialect: &str, answer: &str| {
        let length = answer.len();
        let reply = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
        );
        let backend = Backend::replying(reply.leak());
        let gateway = Gateway::start(&format!("{}{dialect}\n", backend.as_model()));
        (backend, gateway)
    };
    let raw = "dialect = \"raw\"\n\
        raw = { path = \"/s\", rows = \"/rows\", prediction = \"/items/*/score\" }";
    let three = "{\"instances\":[[1,2],[3,4],[5,6]]}";
    for (dialect, answer, told) in [
        (raw, r#"{"items":[{"score":1},{"x":1},{"score":3}]}"#, "/items/1/score"),
        (raw, r#"{"items":[{"score":1},{"score":3}]}"#, "asked for 3 rows and answered with 2"),
        (raw, r#"{"error":"x"}"#, "/items/*/score"),
        ("dialect = \"kserve_v1\"\nremote_model = \"theirs\"", r#"{"predictions":[1,2]}"#, ""),
        ("dialect = \"sagemaker\"", r#"{"predictions":[1,2]}"#, "answered with 2"),
    ] {
        let (_backend, gateway) = answering(dialect, answer);
        let reply = gateway.post("/v1/models/m:predict", three);
        if told.is_empty() {
            // What client and backend both speak passes as it is.
            assert_eq!((reply.status, reply.text().as_str()), (200, answer), "{dialect}");
            let json = r#"{"dataframe_records":[{"a":1},{"a":2},{"a":3}]}"#;
            let reply = gateway.post("/invocations", json);
            assert_eq!(reply.header("x-pointsman-error"), Some("translation"), "{}", reply.text());
            continue;
        }
        assert_eq!(reply.status, 502, "{dialect}: {}", reply.text());
        assert_eq!(reply.header("x-pointsman-error"), Some("translation"));
        assert!(reply.text().contains(told), "{told}: {}", reply.text());
    }
    let (_backend, gateway) =
        answering(raw, r#"{"items":[{"score":1},{"score":null},{"score":3}]}"#);
    let reply = gateway.post("/v1/models/m:predict", three);
    assert_eq!((reply.status, reply.text()), (200, "{\"predictions\":[1.0,NaN,3.0]}".to_owned()));
}

#[test]
fn so_many_keys_that_each_would_be_a_tensor_are_refused() {
    let backend = Backend::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let gateway = Gateway::start(&format!("{}dialect = \"torchserve\"\n", backend.as_model()));
    let keys: Vec<String> = (0..5000).map(|key| format!("\"k{key}\":1")).collect();
    let object = keys.join(",");
    for body in
        [format!("{{\"instances\":[{{{object}}}]}}"), format!("{{\"inputs\":{{{object}}}}}")]
    {
        let reply = gateway.post("/v1/models/m:predict", &body);
        assert_eq!((reply.status, reply.error()), (400, "bad_input"), "{}", reply.text());
        assert!(reply.text().contains("there are more than 4096 columns"), "{}", reply.text());
    }
    let header: Vec<String> = (0..5000).map(|key| format!("k{key}")).collect();
    let table = format!("{}\n{}\n", header.join(","), vec!["1"; 5000].join(","));
    let csv = post("/invocations", "content-type: text/csv; header=present\r\n", &table);
    let reply = gateway.request(&csv);
    assert_eq!((reply.status, reply.error()), (400, "bad_input"), "{}", reply.text());
    assert!(posted(&backend).is_empty(), "nobody is asked");
}

#[test]
fn of_what_a_client_names_at_length_it_is_told_the_beginning() {
    let gateway = Gateway::start(&iris());
    let long = "n".repeat(300_000);
    let infer = |body: &str| gateway.post("/v2/models/iris/infer", body);
    let input = |name: &str| {
        format!(r#"{{"name":"{name}","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}}"#)
    };
    for body in [
        format!(r#"{{"inputs":[{}]}}"#, input(&long)),
        format!(r#"{{"inputs":[{}],"outputs":[{{"name":"{long}"}}]}}"#, input("input")),
        format!(r#"{{"inputs":[{}],"parameters":{{"{long}":[]}}}}"#, input("input")),
        format!(r#"{{"inputs":[{{"name":"{long}","shape":[1],"datatype":"FP32","data":[1,2]}}]}}"#),
    ] {
        let reply = infer(&body);
        assert_eq!((reply.status, reply.error()), (400, "bad_input"));
        assert!(reply.body.len() < 1000, "{}", reply.text());
    }
    let client = Http2::connect(gateway.data);
    let mut deep = numbers("input");
    deep.shape = vec![1; 65];
    let message = ModelInferRequest {
        model_name: "iris".into(),
        inputs: vec![deep],
        raw_input_contents: vec![raw(&[1.0])],
        ..ModelInferRequest::default()
    };
    let reply = call(&client, &message);
    assert_eq!(reply.trailer("grpc-status"), Some("3"));
    assert_eq!(reply.trailer("grpc-message"), Some("a shape has at most 64 dimensions"));
}
