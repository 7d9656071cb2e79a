//! The Open Inference Protocol over gRPC, health and reflection: in process, proxied, and translated.

use bytes::Bytes;
use pointsman::protocol::grpc::health::{
    CHECK_PATH, HealthCheckRequest, HealthCheckResponse, ServingStatus, WATCH_PATH,
};
use pointsman::protocol::grpc::reflection::{
    PATHS, ReflectionAnswer, ReflectionQuestion, ServerReflectionRequest, ServerReflectionResponse,
};
use pointsman::protocol::grpc::{FrameReader, PREFIX_BYTES, encode_frame};
use pointsman::protocol::open_inference::grpc::{
    Empty, InferParameter, InferRequestedOutput, InferTensor, InferTensorContents, Method,
    ModelInferRequest, ModelInferResponse, ModelMetadataResponse, ModelRequest,
    ModelStreamInferResponse, ParameterChoice, ReadyResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, ServerMetadataResponse,
};
use pointsman::protocol::open_inference::{
    ModelConfigResponse, ModelStatisticsResponse, StatisticDuration,
};
use prost::Message;

use crate::support::client::post;
use crate::support::{Backend, Gateway, Http2, Http2Reply, IRIS_BODY, eventually, iris};

const ROW: [f32; 4] = [5.1, 3.5, 1.4, 0.2];

fn call<A: Message>(client: &Http2, path: &str, message: &A) -> Http2Reply {
    send(client, path, encode_frame(message).unwrap())
}

fn send(client: &Http2, path: &str, body: Bytes) -> Http2Reply {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    client.call(client.post(path, &headers, body))
}

fn messages<M: Message + Default>(reply: &Http2Reply) -> Vec<M> {
    let mut reader = FrameReader::new(1 << 20);
    reader.push(reply.body.clone());
    let mut messages = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        messages.push(M::decode(frame.payload).unwrap());
    }
    reader.finish().unwrap();
    messages
}

fn ask<A: Message, M: Message + Default>(client: &Http2, method: Method, message: &A) -> M {
    let reply = call(client, &method.path(), message);
    assert_eq!(reply.trailer("grpc-status"), Some("0"), "{:?}", reply.trailer("grpc-message"));
    messages(&reply).pop().unwrap()
}

fn request(model: &str, raw: bool) -> ModelInferRequest {
    let contents = InferTensorContents { fp32_contents: ROW.to_vec(), ..Default::default() };
    let bytes: Vec<u8> = ROW.iter().flat_map(|value| value.to_le_bytes()).collect();
    ModelInferRequest {
        model_name: model.into(),
        id: "42".into(),
        inputs: vec![InferTensor {
            name: "input".into(),
            datatype: "FP32".into(),
            shape: vec![1, 4],
            contents: (!raw).then_some(contents),
            ..Default::default()
        }],
        raw_input_contents: if raw { vec![bytes.into()] } else { Vec::new() },
        ..Default::default()
    }
}

fn label(response: &ModelInferResponse) -> i64 {
    let position = response.outputs.iter().position(|output| output.datatype == "INT64").unwrap();
    match response.raw_output_contents.get(position) {
        Some(raw) => i64::from_le_bytes(raw[..8].try_into().unwrap()),
        None => response.outputs[position].contents.as_ref().unwrap().int64_contents[0],
    }
}

#[test]
fn a_model_in_process_answers_in_the_form_of_the_request_and_is_recorded() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", iris()));
    let client = Http2::connect(gateway.data);
    for raw in [true, false] {
        let reply = call(&client, &Method::ModelInfer.path(), &request("iris", raw));
        assert_eq!(reply.trailer("grpc-status"), Some("0"), "{:?}", reply.trailer("grpc-message"));
        assert_eq!(reply.header("x-pointsman-model"), Some("iris"));
        let response: ModelInferResponse = messages(&reply).pop().unwrap();
        assert_eq!((response.model_name.as_str(), response.model_version.as_str()), ("iris", "v1"));
        assert_eq!(response.id, "42");
        assert_eq!(!response.raw_output_contents.is_empty(), raw, "in the form of the request");
        assert_eq!(label(&response), 0);
    }
    let records = gateway.records();
    assert_eq!(records.len(), 2, "os: written before the trailers");
    for record in &records {
        assert_eq!(record["protocol"], "openinference-v2-grpc");
        assert_eq!(
            (record["status"].as_u64(), record["grpc_status"].as_u64()),
            (Some(200), Some(0))
        );
        assert_eq!(
            (record["outcome"].as_str(), record["batch_size"].as_u64()),
            (Some("ok"), Some(1))
        );
        assert!(record["req_bytes"].as_u64().unwrap() > 20, "the message was noted");
    }
}

#[test]
fn mistakes_are_statuses_without_a_message_and_are_recorded() {
    let gateway = Gateway::start(&iris());
    let client = Http2::connect(gateway.data);
    let mut bad_shape = request("iris", false);
    bad_shape.inputs[0].shape = vec![1, 5];
    let mut bad_output = request("iris", true);
    bad_output.outputs = vec![InferRequestedOutput { name: "nope".into(), ..Default::default() }];
    let cases = [
        (request("nope", true), "5", "unknown_model"),
        (
            ModelInferRequest { model_version: "v9".into(), ..request("iris", true) },
            "5",
            "unknown_version",
        ),
        (bad_shape, "3", "bad_input"),
        (bad_output, "3", "bad_input"),
    ];
    for (request, status, reason) in &cases {
        let reply = call(&client, &Method::ModelInfer.path(), request);
        assert_eq!((reply.status, reply.header("grpc-status")), (200, Some(*status)), "{reason}");
        assert_eq!(reply.header("x-pointsman-error"), Some(*reason));
        assert!(reply.body.is_empty());
    }
    for (body, status) in [(&b"\0\0\0\0\x09x"[..], "3"), (b"\x07\0\0\0\0", "3"), (b"", "3")] {
        let reply = send(&client, &Method::ModelInfer.path(), Bytes::copy_from_slice(body));
        assert_eq!(reply.header("grpc-status"), Some(status), "{body:?}");
    }
    let long = vec![0, 0x7f, 0xff, 0xff, 0xff];
    let reply = send(&client, &Method::ModelInfer.path(), long.into());
    assert_eq!(reply.header("grpc-status"), Some("8"), "a message over `limits.body`");
    let reply = send(&client, "/inference.GRPCInferenceService/Nope", Bytes::new());
    assert_eq!(reply.header("grpc-status"), Some("12"));
    let records = gateway.wait_for_records(9);
    assert!(records.iter().all(|record| record["outcome"] == "rejected"));
    assert_eq!(records[0]["grpc_status"], 5);
}

#[test]
fn questions_about_server_and_models_are_answered() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", iris()));
    let client = Http2::connect(gateway.data);
    let _answer: ModelInferResponse = ask(&client, Method::ModelInfer, &request("iris", true));
    let model = ModelRequest { name: "iris".into(), version: String::new() };
    let ready: ReadyResponse = ask(&client, Method::ServerReady, &Empty {});
    assert!(ready.ready);
    let ready: ReadyResponse = ask(&client, Method::ModelReady, &model);
    assert!(ready.ready);
    let server: ServerMetadataResponse = ask(&client, Method::ServerMetadata, &Empty {});
    assert_eq!(server.name, "pointsman");
    let metadata: ModelMetadataResponse = ask(&client, Method::ModelMetadata, &model);
    assert_eq!(metadata.versions, ["v1"]);
    assert_eq!(
        (metadata.inputs[0].name.as_str(), metadata.inputs[0].shape.as_slice()),
        ("input", &[-1, 4][..])
    );
    let config: ModelConfigResponse = ask(&client, Method::ModelConfig, &model);
    assert_eq!(config.config.unwrap().input[0].name, "input");
    let statistics: ModelStatisticsResponse = ask(&client, Method::ModelStatistics, &model);
    let success = statistics.model_stats[0].inference_stats.unwrap().success.unwrap();
    assert_eq!(success.count, 1);
    assert!(success.ns > 1000, "{success:?}");
    let index: RepositoryIndexResponse =
        ask(&client, Method::RepositoryIndex, &RepositoryIndexRequest::default());
    assert_eq!((index.models[0].name.as_str(), index.models[0].state.as_str()), ("iris", "READY"));
    let unknown = ModelRequest { name: "nope".into(), version: String::new() };
    let no_version = ModelRequest { name: "iris".into(), version: "v9".into() };
    for asked in [&unknown, &no_version] {
        let ready: ReadyResponse = ask(&client, Method::ModelReady, asked);
        assert!(!ready.ready, "{asked:?} is not there, so that it is not ready");
    }
    let reply = call(&client, &Method::ModelMetadata.path(), &unknown);
    assert_eq!(reply.header("grpc-status"), Some("5"));
    let load = call(&client, &Method::RepositoryModelUnload.path(), &model);
    assert_eq!(load.header("grpc-status"), Some("7"), "not unless the configuration says so");
    assert_eq!(gateway.records().len(), 1, "only predictions are recorded");
}

#[test]
fn health_and_reflection_are_served() {
    let gateway = Gateway::start(&iris());
    let client = Http2::connect(gateway.data);
    for service in ["", "inference.GRPCInferenceService", "iris"] {
        let reply = call(&client, CHECK_PATH, &HealthCheckRequest { service: service.into() });
        let health: HealthCheckResponse = messages(&reply).pop().unwrap();
        assert_eq!(health.status, i32::from(ServingStatus::Serving), "{service}");
    }
    let reply = call(&client, CHECK_PATH, &HealthCheckRequest { service: "nope".into() });
    assert_eq!(reply.header("grpc-status"), Some("5"));
    let list = ReflectionQuestion::ListServices(String::new());
    let symbol = ReflectionQuestion::FileContainingSymbol("inference.GRPCInferenceService".into());
    let questions: Vec<u8> = [list, symbol]
        .into_iter()
        .flat_map(|question| {
            let request =
                ServerReflectionRequest { message_request: Some(question), ..Default::default() };
            encode_frame(&request).unwrap()
        })
        .collect();
    for path in PATHS {
        let reply = send(&client, path, questions.clone().into());
        assert_eq!(reply.trailer("grpc-status"), Some("0"), "{path}");
        let answers: Vec<ServerReflectionResponse> = messages(&reply);
        let Some(ReflectionAnswer::Services(services)) = &answers[0].message_response else {
            panic!("{:?}", answers[0]);
        };
        let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
        assert!(names.contains(&"inference.GRPCInferenceService"), "{names:?}");
        assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
        assert!(matches!(answers[1].message_response, Some(ReflectionAnswer::Files(_))));
    }
}

#[test]
fn a_stream_of_predictions_has_an_answer_each_and_one_record() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", iris()));
    let client = Http2::connect(gateway.data);
    let mut bad = ModelInferRequest { id: "bad".into(), ..request("iris", true) };
    bad.inputs[0].shape = vec![9];
    let other = ModelInferRequest { model_version: "v9".into(), ..request("iris", true) };
    let own = ModelInferRequest { model_version: "v1".into(), ..request("iris", false) };
    let all: Vec<u8> = [request("iris", true), bad, own, other]
        .iter()
        .flat_map(|request| encode_frame(request).unwrap())
        .collect();
    let reply = send(&client, &Method::ModelStreamInfer.path(), all.into());
    assert_eq!(reply.trailer("grpc-status"), Some("0"));
    let answers: Vec<ModelStreamInferResponse> = messages(&reply);
    assert_eq!(answers.len(), 4);
    assert_eq!(label(answers[0].infer_response.as_ref().unwrap()), 0);
    assert_eq!(label(answers[2].infer_response.as_ref().unwrap()), 0);
    assert!(answers[1].error_message.contains("expected 36 bytes"), "{:?}", answers[1]);
    assert!(answers[3].error_message.contains("the version of the first"), "{:?}", answers[3]);
    for (answer, id) in [(&answers[1], "bad"), (&answers[3], "42")] {
        let response = answer.infer_response.as_ref().unwrap();
        assert_eq!((response.id.as_str(), response.outputs.len()), (id, 0));
    }
    for answer in &answers {
        let response = answer.infer_response.as_ref().unwrap();
        let last = response.parameters["triton_final_response"].parameter_choice.clone();
        assert_eq!(last, Some(ParameterChoice::BoolParam(true)));
    }
    let records = gateway.records();
    assert_eq!((records.len(), records[0]["grpc_status"].as_u64()), (1, Some(0)));
}

#[test]
fn a_stream_may_be_opened_long_before_its_first_message() {
    let gateway = Gateway::start(&format!("{}[limits]\nheader_time = \"200ms\"\n", iris()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(gateway.data).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let uri = format!("http://a{}", Method::ModelStreamInfer.path());
        let head = http::Request::post(uri).header("content-type", "application/grpc");
        let head = head.header("te", "trailers").body(()).unwrap();
        let mut client = client.ready().await.unwrap();
        let (answer, mut body) = client.send_request(head, false).unwrap();
        // Longer than the parts of a message may be apart.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        body.send_data(encode_frame(&request("iris", true)).unwrap(), true).unwrap();
        let mut answer = answer.await.unwrap().into_body();
        let mut all = Vec::new();
        while let Some(piece) = answer.data().await {
            all.extend_from_slice(&piece.unwrap());
        }
        let trailers = answer.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        ModelStreamInferResponse::decode(&all[PREFIX_BYTES..]).unwrap()
    });
    assert_eq!(label(answer.infer_response.as_ref().unwrap()), 0, "{answer:?}");
}

#[test]
fn a_mistake_in_the_first_message_of_a_stream_is_answered_and_the_stream_goes_on() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", iris()));
    let client = Http2::connect(gateway.data);
    let nope = ModelInferRequest { id: "first".into(), ..request("nope", true) };
    let old = ModelInferRequest { model_version: "v9".into(), ..request("iris", true) };
    let all: Vec<u8> = [nope.clone(), old, request("iris", true), nope, request("iris", false)]
        .iter()
        .flat_map(|request| encode_frame(request).unwrap())
        .collect();
    let reply = send(&client, &Method::ModelStreamInfer.path(), all.into());
    assert_eq!(reply.trailer("grpc-status"), Some("0"));
    let answers: Vec<ModelStreamInferResponse> = messages(&reply);
    assert_eq!(answers.len(), 5);
    assert!(answers[0].error_message.contains("no model of this name"), "{:?}", answers[0]);
    assert_eq!(answers[0].infer_response.as_ref().unwrap().id, "first");
    assert!(answers[1].error_message.contains("version"), "{:?}", answers[1]);
    assert!(answers[3].error_message.contains("must name the model"), "{:?}", answers[3]);
    for right in [&answers[2], &answers[4]] {
        assert_eq!(label(right.infer_response.as_ref().unwrap()), 0);
    }
    let record = &gateway.records()[0];
    assert_eq!(
        (record["model"].as_str(), record["outcome"].as_str()),
        (Some("iris"), Some("rejected"))
    );
    // A stream that finds nobody ends well, too.
    let lost = encode_frame(&request("nope", true)).unwrap();
    let reply = send(&client, &Method::ModelStreamInfer.path(), lost);
    assert_eq!(reply.trailer("grpc-status"), Some("0"));
    assert_eq!(messages::<ModelStreamInferResponse>(&reply).len(), 1);
    assert_eq!(gateway.records()[1]["error_code"].as_str(), Some("unknown_model"));
}

#[test]
fn each_message_of_a_stream_counts_for_itself_and_the_record_for_all_of_them() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", iris()));
    let client = Http2::connect(gateway.data);
    let stream = |request: &ModelInferRequest| {
        let body = encode_frame(request).unwrap().repeat(3);
        let reply = send(&client, &Method::ModelStreamInfer.path(), body.into());
        assert_eq!(reply.trailer("grpc-status"), Some("0"));
        assert_eq!(messages::<ModelStreamInferResponse>(&reply).len(), 3);
    };
    let mut two = request("iris", true);
    two.inputs[0].shape = vec![2, 4];
    two.raw_input_contents = vec![two.raw_input_contents[0].repeat(2).into()];
    stream(&two);
    let mut bad = request("iris", true);
    bad.inputs[0].name = "nope".into();
    stream(&bad);
    let asked = ModelRequest { name: "iris".into(), ..Default::default() };
    let told: ModelStatisticsResponse = ask(&client, Method::ModelStatistics, &asked);
    let counted = &told.model_stats[0];
    assert_eq!((counted.inference_count, counted.execution_count), (6, 3));
    let stats = counted.inference_stats.as_ref().unwrap();
    let count = |what: &Option<StatisticDuration>| what.as_ref().unwrap().count;
    assert_eq!((count(&stats.success), count(&stats.fail)), (3, 3));
    assert_eq!((count(&stats.compute_input), count(&stats.compute_infer)), (3, 3));
    let records = gateway.records();
    let row = |at: usize| (records[at]["outcome"].as_str(), records[at]["batch_size"].as_u64());
    assert_eq!((records.len(), row(0)), (2, (Some("ok"), Some(6))));
    assert_eq!(row(1).0, Some("rejected"), "it is not hidden that all of them failed");
}

#[test]
fn a_watched_service_is_told_when_a_later_snapshot_changes_it() {
    let backend = Backend::replying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let gateway = Gateway::start(
        "[discovery.fleet]\nfile = \"list.json\"\ninterval = \"50ms\"\n\
         [models.m.versions.v1]\ndiscovered = \"fleet\"\n",
    );
    let client = Http2::connect(gateway.data);
    let asked = encode_frame(&HealthCheckRequest { service: "m".into() }).unwrap();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let mut answer = client.open(client.post(WATCH_PATH, &headers, asked));
    let mut next = || {
        let frame = client.piece(&mut answer);
        HealthCheckResponse::decode(&frame[PREFIX_BYTES..]).unwrap().status
    };
    assert_eq!(next(), i32::from(ServingStatus::NotServing));
    let list = format!("[{{\"address\":\"http://{}\"}}]", backend.address);
    std::fs::write(gateway.dir.path().join("list.json"), list).unwrap();
    assert_eq!(next(), i32::from(ServingStatus::Serving));
}

#[test]
fn what_is_no_time_and_no_protobuf_is_refused() {
    let gateway = Gateway::start(&iris());
    let client = Http2::connect(gateway.data);
    let body = encode_frame(&request("iris", true)).unwrap();
    for (content_type, time, status) in [
        ("application/grpc+proto", "5S", "0"),
        ("application/grpc;charset=utf-8", "99999999H", "0"),
        ("application/grpc+json", "5S", "3"),
        ("application/grpc", "5", "3"),
        ("application/grpc", "-1S", "3"),
        ("application/grpc", "0S", "4"),
        ("application/grpc", "1n", "4"),
    ] {
        let headers = [("content-type", content_type), ("grpc-timeout", time)];
        let reply = client.call(client.post(&Method::ModelInfer.path(), &headers, body.clone()));
        assert_eq!(reply.trailer("grpc-status"), Some(status), "{content_type} {time}");
    }
    for (limit, status) in [("soon", 400), ("0", 504), ("-1", 400), ("60000", 200)] {
        let header = format!("x-request-timeout-ms: {limit}\r\n");
        let reply = gateway.request(&post("/v2/models/iris/infer", &header, IRIS_BODY));
        assert_eq!(reply.status, status, "{limit}: {}", reply.text());
    }
}

/// A gateway whose version `v7` of model `flowers` is served by `backend`, as its model `iris`.
fn front(backend: &Gateway, dialect: &str) -> Gateway {
    Gateway::start(&format!(
        "[models.flowers]\naliases = {{ prod = \"v7\" }}\n[models.flowers.versions.v7]\n\
         backends = [\"http://{}\"]\ndialect = \"{dialect}\"\nremote_model = \"iris\"\n\
         remote_version = \"v1\"\n[log]\ndurability = \"os\"\n",
        backend.data
    ))
}

#[test]
fn a_backend_of_grpc_is_told_its_own_names_by_clients_of_both_kinds() {
    let backend = Gateway::start(&iris());
    let gateway = front(&backend, "open_inference_grpc");
    let client = Http2::connect(gateway.data);
    let asked = ModelInferRequest { model_version: "prod".into(), ..request("flowers", true) };
    let response: ModelInferResponse = ask(&client, Method::ModelInfer, &asked);
    assert_eq!((response.model_name.as_str(), label(&response)), ("iris", 0), "passed as it is");
    let mut bad = request("flowers", true);
    bad.inputs[0].name = "nope".into();
    let reply = call(&client, &Method::ModelInfer.path(), &bad);
    assert_eq!(reply.trailer("grpc-status"), Some("3"), "the backend's own status");
    let reply = gateway.post("/v2/models/flowers/infer", IRIS_BODY);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let json = reply.json();
    assert_eq!(
        (json["model_name"].as_str(), json["model_version"].as_str()),
        (Some("flowers"), Some("v7"))
    );
    let bad = IRIS_BODY.replace("input\"", "nope\"");
    let reply = gateway.post("/v2/models/flowers/infer", &bad);
    assert_eq!(reply.status, 400, "{}", reply.text());
    let records = gateway.records();
    let outcomes: Vec<_> =
        records.iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["ok", "rejected", "ok", "rejected"]);
    assert_eq!(records[1]["grpc_status"], 3);
}

#[test]
fn a_client_of_grpc_is_answered_by_a_backend_of_rest() {
    let backend = Gateway::start(&iris());
    let gateway = front(&backend, "open_inference");
    let client = Http2::connect(gateway.data);
    let response: ModelInferResponse = ask(&client, Method::ModelInfer, &request("flowers", true));
    assert_eq!((response.model_name.as_str(), label(&response)), ("flowers", 0));
    assert_eq!((response.model_version.as_str(), response.id.as_str()), ("v7", "42"));
    let mut bad = request("flowers", true);
    bad.inputs[0].name = "nope".into();
    let reply = call(&client, &Method::ModelInfer.path(), &bad);
    assert_eq!(reply.header("grpc-status"), Some("3"));
    let two = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(2)) };
    let mut classes = request("flowers", true);
    classes.outputs = vec![InferRequestedOutput {
        name: "probabilities".into(),
        parameters: [("classification".to_owned(), two)].into(),
    }];
    let response: ModelInferResponse = ask(&client, Method::ModelInfer, &classes);
    assert_eq!(response.outputs[0].datatype, "BYTES", "classes are made once");
    assert_eq!(response.outputs[0].shape, [1, 2]);
}

#[test]
fn each_message_of_a_stream_is_translated_and_a_mistake_ends_its_request_only() {
    for dialect in ["open_inference", "open_inference_grpc"] {
        translates_each_message(dialect);
    }
}

fn translates_each_message(dialect: &str) {
    let backend = Gateway::start(&iris());
    let gateway = front(&backend, dialect);
    let client = Http2::connect(gateway.data);
    let mut bad = request("flowers", true);
    bad.inputs[0].name = "nope".into();
    let all: Vec<u8> =
        [request("flowers", true), bad, request("other", true), request("flowers", false)]
            .iter()
            .flat_map(|request| encode_frame(request).unwrap())
            .collect();
    let reply = send(&client, &Method::ModelStreamInfer.path(), all.into());
    assert_eq!(reply.trailer("grpc-status"), Some("0"));
    let answers: Vec<ModelStreamInferResponse> = messages(&reply);
    assert_eq!(answers.len(), 4);
    for good in [&answers[0], &answers[3]] {
        let response = good.infer_response.as_ref().unwrap();
        assert_eq!((response.model_version.as_str(), label(response)), ("v7", 0));
    }
    for wrong in [&answers[1], &answers[2]] {
        let response = wrong.infer_response.as_ref().unwrap();
        assert!(response.outputs.is_empty() && !wrong.error_message.is_empty(), "{wrong:?}");
    }
    let records = gateway.records();
    assert_eq!((records.len(), records[0]["grpc_status"].as_u64()), (1, Some(0)));
}

#[test]
fn a_backend_of_grpc_is_asked_whether_it_is_ready() {
    let backend = Gateway::start(&iris());
    let gateway = front(&backend, "open_inference_grpc");
    let client = Http2::connect(gateway.data);
    let asked = |version: &str| ModelRequest { name: "flowers".into(), version: version.into() };
    for version in ["", "v7", "prod"] {
        let told: ReadyResponse = ask(&client, Method::ModelReady, &asked(version));
        assert!(told.ready, "{version}");
    }
    let ready = "GET /v2/models/flowers/ready HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(gateway.request(ready).status, 200);
    backend.kill();
    let told: ReadyResponse = ask(&client, Method::ModelReady, &asked(""));
    assert!(!told.ready);
    let told: ReadyResponse = ask(&client, Method::ModelReady, &asked("v9"));
    assert!(!told.ready, "there is no such version");
    assert_eq!(gateway.request(ready).error(), "upstream_connect");
}

#[test]
fn a_backend_of_grpc_is_asked_what_its_model_takes() {
    let backend = Gateway::start(&iris());
    let gateway = front(&backend, "open_inference_grpc");
    let client = Http2::connect(gateway.data);
    let asked = ModelRequest { name: "flowers".into(), version: String::new() };
    let known = eventually("the backend has told", || {
        let reply = call(&client, &Method::ModelMetadata.path(), &asked);
        messages::<ModelMetadataResponse>(&reply).pop()
    });
    assert_eq!(
        (known.name.as_str(), known.versions.as_slice()),
        ("flowers", &["v7".to_owned()][..])
    );
    assert_eq!(
        (known.inputs[0].name.as_str(), known.inputs[0].datatype.as_str()),
        ("input", "FP32")
    );
    // So that rows without types become the types that it takes.
    let reply = gateway.post("/v1/models/flowers:predict", r#"{"instances":[[5.1,3.5,1.4,0.2]]}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["predictions"][0]["label"], 0);
}

#[test]
fn what_triton_has_beside_it_is_refused_with_the_reason() {
    let gateway = Gateway::start(&iris());
    let client = Http2::connect(gateway.data);
    for (name, clue) in [
        ("SystemSharedMemoryStatus", "shared memory"),
        ("TraceSetting", "trace"),
        ("LogSettings", "log"),
    ] {
        let path = format!("/inference.GRPCInferenceService/{name}");
        let reply = call(&client, &path, &Empty::default());
        assert_eq!(reply.header("grpc-status"), Some("12"), "{name}");
        assert!(reply.header("grpc-message").unwrap().contains(clue), "{name}");
    }
}

#[test]
fn a_message_that_is_none_is_recorded_as_it_came() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", iris()));
    let client = Http2::connect(gateway.data);
    let body = Bytes::from_static(b"\0\0\0\0\x03\xff\xff\xff");
    let reply = send(&client, &Method::ModelInfer.path(), body.clone());
    assert_eq!(reply.header("grpc-status"), Some("3"));
    let record = &gateway.records()[0];
    assert_eq!(record["req_bytes"].as_u64(), Some(body.len() as u64), "{record}");
}
