//! Backends of gRPC: what they are asked, what is made for those that lack an extension, and what their clients may
//! send.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pointsman::protocol::grpc::{FrameReader, encode_frame};
use pointsman::protocol::open_inference::grpc::{
    InferParameter, InferRequestedOutput, InferTensor, InferTensorContents, Method,
    ModelInferRequest, ModelInferResponse, ModelMetadataResponse, ModelRequest,
    ModelStreamInferResponse, ParameterChoice, ServerMetadataResponse, TensorMetadata,
};
use prost::Message;

use crate::support::{
    Gateway, Http2, Http2Backend, Http2Reply, IRIS_BODY, eventually, iris, repository,
};

const SCORES: [f32; 3] = [0.2, 0.7, 0.1];

fn call<A: Message>(client: &Http2, method: Method, message: &A) -> Http2Reply {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    client.call(client.post(&method.path(), &headers, encode_frame(message).unwrap()))
}

/// The last message of an answer that went well.
fn told<M: Message + Default>(reply: &Http2Reply) -> M {
    assert_eq!(reply.trailer("grpc-status"), Some("0"), "{:?}", reply.trailer("grpc-message"));
    payload(&reply.body)
}

fn payload<M: Message + Default>(body: &Bytes) -> M {
    let mut reader = FrameReader::new(1 << 20);
    reader.push(body.clone());
    M::decode(reader.next_frame().unwrap().unwrap().payload).unwrap()
}

fn headers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
}

/// A server of a model that scores; it lists `extensions` and knows nothing of classes.
fn server(extensions: &'static [&'static str]) -> Http2Backend {
    Http2Backend::start(move |request| {
        let body = match request.head.uri.path().rsplit('/').next() {
            Some("ServerMetadata") => encode_frame(&ServerMetadataResponse {
                name: "server".into(),
                extensions: extensions.iter().map(|name| (*name).to_owned()).collect(),
                ..ServerMetadataResponse::default()
            }),
            Some("ModelMetadata") => {
                let tensor = |name: &str| TensorMetadata {
                    name: name.into(),
                    datatype: "FP32".into(),
                    shape: vec![1, 3],
                };
                encode_frame(&ModelMetadataResponse {
                    name: payload::<ModelRequest>(&request.body).name,
                    inputs: vec![tensor("x")],
                    outputs: vec![tensor("y")],
                    ..ModelMetadataResponse::default()
                })
            }
            _ => encode_frame(&ModelInferResponse {
                model_name: "theirs".into(),
                outputs: vec![InferTensor {
                    name: "y".into(),
                    datatype: "FP32".into(),
                    shape: vec![1, 3],
                    ..InferTensor::default()
                }],
                raw_output_contents: vec![raw(&SCORES)],
                ..ModelInferResponse::default()
            }),
        };
        Http2Reply {
            status: 200,
            headers: headers("content-type", "application/grpc"),
            body: body.unwrap(),
            trailers: headers("grpc-status", "0"),
            cut: false,
        }
    })
}

fn raw(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A gateway whose model `m` is the server's.
fn before(backend: &Http2Backend) -> Gateway {
    let gateway = Gateway::start(&format!(
        "[models.m.versions.v1]\nbackends = [\"http://{}\"]\ndialect = \"open_inference_grpc\"\n",
        backend.address
    ));
    let question = Method::ServerMetadata.path();
    eventually("the backend is asked for its extensions", || {
        backend.seen().iter().any(|seen| seen.head.uri.path() == question).then_some(())
    });
    gateway
}

fn request(classes: Option<i64>) -> ModelInferRequest {
    let parameter =
        |count| InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(count)) };
    let parameters =
        classes.map(|count| ("classification".to_owned(), parameter(count))).into_iter().collect();
    ModelInferRequest {
        model_name: "m".into(),
        inputs: vec![InferTensor {
            name: "x".into(),
            datatype: "FP32".into(),
            shape: vec![1, 3],
            ..InferTensor::default()
        }],
        outputs: vec![InferRequestedOutput { name: "y".into(), parameters }],
        raw_input_contents: vec![raw(&SCORES)],
        ..ModelInferRequest::default()
    }
}

/// The classes of the first output, which are texts with their lengths.
fn classes(response: &ModelInferResponse) -> String {
    assert_eq!(response.outputs[0].datatype, "BYTES");
    String::from_utf8_lossy(&response.raw_output_contents[0]).into_owned()
}

#[test]
fn classes_are_made_for_a_backend_that_has_none_and_all_else_passes() {
    let backend = server(&["binary_tensor_data"]);
    let gateway = before(&backend);
    let client = Http2::connect(gateway.data);
    // What it has told may come a moment after it was asked.
    let response = eventually("its extensions are known", || {
        let reply = call(&client, Method::ModelInfer, &request(Some(2)));
        let response: ModelInferResponse = told(&reply);
        (response.outputs[0].datatype == "BYTES").then_some(response)
    });
    assert!(classes(&response).contains("0.700000:1"), "{response:?}");
    assert_eq!((response.model_name.as_str(), response.model_version.as_str()), ("m", "v1"));
    let asked: ModelInferRequest = payload(&backend.seen().pop().unwrap().body);
    assert!(asked.outputs[0].parameters.is_empty(), "{asked:?}");
    for classes in [None, Some(0)] {
        let reply = call(&client, Method::ModelInfer, &request(classes));
        assert_eq!(told::<ModelInferResponse>(&reply).model_name, "theirs", "passed as it is");
    }
    let reply = call(&client, Method::ModelStreamInfer, &request(Some(2)));
    let streamed: ModelStreamInferResponse = told(&reply);
    assert!(classes(&streamed.infer_response.unwrap()).contains("0.700000:1"));
    let body = r#"{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],
        "outputs":[{"name":"y","parameters":{"classification":1}}]}"#;
    let reply = gateway.post("/v2/models/m/infer", body);
    assert_eq!(reply.json()["outputs"][0]["data"][0], "0.700000:1", "{}", reply.text());
}

#[test]
fn a_backend_that_speaks_nothing_but_grpc_is_found_out_by_asking() {
    let backend = server(&[]);
    let gateway = Gateway::start(&format!(
        "[models.m.versions.v1]\nbackends = [\"http://{}\"]\ndialect = \"ask\"\n\
         [protocols]\nask_interval = \"1s\"\n",
        backend.address
    ));
    let body = r#"{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}"#;
    let reply = eventually("the dialect is known", || {
        let reply = gateway.post("/v2/models/m/infer", body);
        assert!(reply.status == 200 || reply.error() == "unknown_dialect", "{}", reply.text());
        (reply.status == 200).then_some(reply)
    });
    assert_eq!(reply.json()["outputs"][0]["data"].to_string(), "[0.2,0.7,0.1]");
    let asked = Http2::connect(gateway.data);
    let reply = call(&asked, Method::ModelInfer, &request(None));
    assert_eq!(told::<ModelInferResponse>(&reply).model_name, "theirs", "passed as it is");
}

#[test]
fn a_backend_that_makes_classes_gives_their_names_to_clients_of_both_kinds() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(repository("config/models/iris/v1/model.onnx"), dir.path().join("model.onnx"))
        .unwrap();
    let card = "[outputs.probabilities]\nlabels = [\"setosa\", \"versicolor\", \"virginica\"]\n";
    std::fs::write(dir.path().join("model.toml"), card).unwrap();
    let backend = Gateway::start_in(dir, "[models.iris.versions.v1]\nonnx = \"model.onnx\"\n");
    let gateway = Gateway::start(&format!(
        "[models.iris.versions.v7]\nbackends = [\"http://{}\"]\ndialect = \"open_inference_grpc\"\n",
        backend.data
    ));
    let outputs =
        r#""outputs":[{"name":"probabilities","parameters":{"classification":1}}],"inputs""#;
    let body = IRIS_BODY.replacen("\"inputs\"", outputs, 1);
    let class = eventually("its extensions are known", || {
        let reply = gateway.post("/v2/models/iris/infer", &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let class = reply.json()["outputs"][0]["data"][0].as_str()?.to_owned();
        class.ends_with(":setosa").then_some(class)
    });
    assert!(class.ends_with(":0:setosa"), "{class}");
}

#[test]
fn so_many_short_texts_that_they_would_fill_the_memory_are_refused_before_they_are_read() {
    let colours = repository("tests/data/models/colours.onnx");
    let gateway = Gateway::start(&format!(
        "[models.colours.versions.v1]\nonnx = {colours:?}\n\
         [limits]\nbody = \"1MiB\"\nheld_bodies = \"2MiB\"\n"
    ));
    let client = Http2::connect(gateway.data);
    let texts = |count: usize, raw: bool| {
        let contents =
            InferTensorContents { bytes_contents: vec![Vec::new(); count], ..Default::default() };
        ModelInferRequest {
            model_name: "colours".into(),
            inputs: vec![InferTensor {
                name: "colour".into(),
                datatype: "BYTES".into(),
                shape: vec![i64::try_from(count).unwrap(), 1],
                contents: (!raw).then_some(contents),
                ..InferTensor::default()
            }],
            raw_input_contents: if raw { vec![vec![0; 4 * count].into()] } else { Vec::new() },
            ..ModelInferRequest::default()
        }
    };
    for raw in [false, true] {
        let reply = call(&client, Method::ModelInfer, &texts(1000, raw));
        let response: ModelInferResponse = told(&reply);
        assert_eq!(response.outputs[0].shape, [1000, 1]);
        let reply = call(&client, Method::ModelInfer, &texts(200_000, raw));
        assert_eq!(reply.header("x-pointsman-error"), Some("body_too_large"));
        assert_eq!(reply.trailer("grpc-status"), Some("8"));
        assert!(reply.trailer("grpc-message").unwrap().contains("limits.held_bodies"));
    }
    let json = |count: usize| {
        let data = vec!["\"\""; count].join(",");
        let body = format!(
            r#"{{"inputs":[{{"name":"colour","datatype":"BYTES","shape":[{count},1],"data":[{data}]}}]}}"#
        );
        gateway.post("/v2/models/colours/infer", &body)
    };
    assert_eq!(json(1000).status, 200);
    let reply = json(200_000);
    assert_eq!((reply.status, reply.error()), (413, "body_too_large"), "{}", reply.text());
    assert!(gateway.metric("pointsman_held_body_bytes").abs() < 1.0, "all room is given back");
}

#[test]
fn a_message_with_more_parameters_than_any_client_has_is_refused() {
    let gateway = Gateway::start(&iris());
    let client = Http2::connect(gateway.data);
    let choice = Some(ParameterChoice::BoolParam(true));
    let parameter = || InferParameter { parameter_choice: choice.clone() };
    let parameters = (0..65).map(|at| (format!("p{at}"), parameter())).collect();
    let asked =
        ModelInferRequest { model_name: "iris".into(), parameters, ..ModelInferRequest::default() };
    let reply = call(&client, Method::ModelInfer, &asked);
    assert_eq!(reply.trailer("grpc-status"), Some("3"));
    let message = reply.trailer("grpc-message").unwrap();
    assert_eq!(message, "there are more than 64 parameters");
}
