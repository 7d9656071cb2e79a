//! A version on trial that gives no answer costs its clients a moment, and itself its trial.

use bytes::Bytes;
use pointsman::protocol::grpc::encode_frame;
use pointsman::protocol::open_inference::grpc::{
    InferTensor, InferTensorContents, Method, ModelInferRequest, ModelInferResponse,
};

use super::*;
use crate::support::onnx::{FLOAT, Graph};
use crate::support::{Http2, Http2Backend, Http2Reply, iris};

/// Model `m` with `v1` in charge, and what `v2` is.
fn beside(champion: &Backend, candidate: &str, more: &str) -> String {
    format!(
        "[models.m]\ntraffic = {{ v1 = \"100%\" }}\n{more}\n\
         [models.m.versions.v1]\nbackends = [\"http://{}\"]\n[models.m.versions.v2]\n{candidate}\n",
        champion.address,
    )
}

fn at(address: std::net::SocketAddr) -> String {
    format!("backends = [\"http://{address}\"]")
}

/// Sends requests, all of which the champion answers.
fn ask(gateway: &InProcess, body: &str, count: usize) {
    let mut client = gateway.client();
    for _ in 0..count {
        client.send(&post(INFER, "", body));
        let reply = client.reply();
        assert_eq!((reply.status, reply.cut), (200, false), "{}", reply.text());
        assert_eq!(reply.header("x-pointsman-version"), Some("v1"));
    }
}

/// How many requests fell to the candidate of `count`, each of which counts against it once; with all rows.
fn blamed(gateway: &InProcess, trial: &Trial, count: u64) -> (usize, Vec<Value>) {
    let evidence = eventually("all are counted", || {
        let evidence = trial.canary();
        let errors = evidence.rate(Metric::Errors)?;
        (errors.n + errors.control_n == count).then_some(evidence)
    });
    let errors = evidence.rate(Metric::Errors).unwrap();
    assert_eq!((errors.bad, errors.control_bad), (errors.n, 0), "{evidence:?}");
    assert_eq!(evidence.failed_from_start, errors.n);
    assert!(errors.n > 0, "some fell to the candidate");
    assert!(evidence.sample_ratio.is_some_and(|chance| chance > 1e-4), "{evidence:?}");
    let rows = gateway.wait_for((count + errors.n) as usize, |_| true);
    (errors.n as usize, rows)
}

/// Each failure has a row of the candidate, and its exchange is the champion's.
fn check_rows(rows: &[Value], failed: usize, error: &str) {
    let tries: Vec<_> = rows.iter().filter(|row| is(row, "retry")).collect();
    assert_eq!(tries.len(), failed);
    for tried in tries {
        let told = (&tried["model_version"], &tried["decision_reason"], &tried["error_code"]);
        assert_eq!(told, (&"v2".into(), &"candidate".into(), &error.into()), "{tried:#}");
        let answer = rows.iter().find(|row| row["record_id"] == tried["parent_record_id"]);
        let answer = answer.unwrap();
        let told = (&answer["model_version"], &answer["decision_reason"], &answer["status"]);
        assert_eq!(told, (&"v1".into(), &"fallback".into(), &200.into()), "{answer:#}");
        assert_eq!((&answer["kind"], &answer["outcome"]), (&"inference".into(), &"ok".into()));
        assert_eq!(answer["request_id"], tried["request_id"]);
        assert!(tried["t_total"].as_u64() <= answer["t_total"].as_u64());
    }
    let fell = |row: &&Value| row["decision_reason"] == "fallback";
    assert_eq!(rows.iter().filter(fell).count(), failed);
    let of_candidate = |row: &&Value| is(row, "inference") && row["model_version"] == "v2";
    assert_eq!(rows.iter().filter(of_candidate).count(), 0);
}

#[test]
fn servers_that_give_no_answer_cost_no_client_its_own() {
    let nobody = nobody();
    let breaking = |answer: &'static str| {
        Backend::script(move |connection| {
            let _taken = connection.request();
            connection.send(answer);
        })
    };
    let reset = breaking("");
    let garbage = breaking("what?\r\n\r\n");
    let cut = breaking("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
    let hanging = Backend::script(|connection| {
        let _taken = connection.request();
        connection.wait_for_close();
    });
    let cases = [
        (nobody.address, "upstream_connect", 60),
        (reset.address, "upstream_reset", 60),
        (garbage.address, "upstream_protocol", 60),
        (cut.address, "upstream_reset", 60),
        (hanging.address, "upstream_timeout", 12),
    ];
    for (candidate, error, count) in cases {
        let champion = Backend::replying(GOOD);
        let timeouts = "[models.m.timeouts]\nfirst_byte = \"500ms\"";
        let mut gateway = InProcess::start(&beside(&champion, &at(candidate), timeouts));
        let trial = try_half(&mut gateway);
        ask(&gateway, BODY, count);
        let (failed, rows) = blamed(&gateway, &trial, count as u64);
        check_rows(&rows, failed, error);
        assert_eq!(champion.seen().len(), count, "{error}: each is asked once");
        assert!(champion.seen().iter().all(|request| request.body == BODY.as_bytes()));
    }
    // The champion is asked as the candidate was.
    let champion = Backend::replying(GOOD);
    let mut gateway = InProcess::start(&beside(&champion, &at(reset.address), ""));
    let _trial = try_half(&mut gateway);
    let before = reset.seen().len();
    ask(&gateway, BODY, 20);
    for tried in reset.seen().split_off(before) {
        let id = tried.header("x-request-id");
        let again = champion.seen().into_iter().find(|it| it.header("x-request-id") == id);
        let again = again.unwrap();
        assert!(tried.header("traceparent").is_some());
        assert_eq!(again.header("traceparent"), tried.header("traceparent"));
        assert_eq!(again.line(), tried.line());
    }
}

#[test]
fn a_model_of_this_process_that_fails_is_no_failure_of_its_client() {
    let graph = Graph::default()
        .input("x", FLOAT, &["1", "1", "2", "2"])
        .input("at", FLOAT, &["1", "1", "1", "2"])
        .node("GridSample", &["x", "at"], "y")
        .output("y", FLOAT, &["1", "1", "1", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.onnx");
    std::fs::write(&file, graph.encode()).unwrap();
    let champion = Backend::replying(GOOD);
    let candidate = format!("onnx = {:?}", file.display().to_string());
    let mut gateway = InProcess::start(&beside(&champion, &candidate, ""));
    let trial = try_half(&mut gateway);
    // It panics so far outside.
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1,2,2],"data":[1,2,3,4]},
        {"name":"at","datatype":"FP32","shape":[1,1,1,2],"data":[1e38,0]}]}"#;
    ask(&gateway, body, 30);
    let (failed, rows) = blamed(&gateway, &trial, 30);
    check_rows(&rows, failed, "model_panic");
    assert!(trial.canary().crashed.is_some_and(|why| why.contains("panicked")));
}

#[test]
fn a_body_that_streams_goes_elsewhere_only_where_nothing_of_it_was_sent() {
    let long = " ".repeat(200_000) + BODY;
    let nobody = nobody();
    let champion = Backend::replying(GOOD);
    let mut gateway = InProcess::start(&beside(&champion, &at(nobody.address), ""));
    let trial = try_half(&mut gateway);
    ask(&gateway, &long, 20);
    let (failed, rows) = blamed(&gateway, &trial, 20);
    check_rows(&rows, failed, "upstream_connect");
    assert!(champion.seen().iter().all(|request| request.body == long.as_bytes()));
    let bytes = |row: &Value| row["req_bytes"].as_u64();
    let whole = rows.iter().filter(|row| is(row, "inference"));
    assert!(whole.map(bytes).all(|bytes| bytes == Some(long.len() as u64)));

    let reset = Backend::script(|connection| {
        let _taken = connection.request();
    });
    let mut gateway = InProcess::start(&beside(&champion, &at(reset.address), ""));
    let trial = try_half(&mut gateway);
    let mut client = gateway.client();
    let mut failures = 0;
    for _ in 0..20 {
        client.send(&post(INFER, "", &long));
        let reply = client.reply();
        if reply.status != 200 {
            assert_eq!((reply.status, reply.error()), (502, "upstream_reset"));
            assert_eq!(reply.header("x-pointsman-version"), Some("v2"));
            failures += 1;
            client = gateway.client();
        }
    }
    let errors = eventually("all are counted", || {
        let errors = trial.canary().rate(Metric::Errors)?.clone();
        (errors.n + errors.control_n == 20).then_some(errors)
    });
    assert_eq!((errors.n, errors.bad, errors.control_bad), (failures, failures, 0));
}

#[test]
fn who_names_a_version_or_has_no_time_left_gets_the_failure() {
    let hanging = Backend::script(|connection| {
        let _taken = connection.request();
        connection.wait_for_close();
    });
    let champion = Backend::replying(GOOD);
    let mut gateway = InProcess::start(&beside(&champion, &at(hanging.address), ""));
    let trial = try_half(&mut gateway);
    let mut client = gateway.client();
    let limit = "x-request-timeout-ms: 100\r\n";
    client.send(&post(INFER, &format!("x-pointsman-version: v2\r\n{limit}"), BODY));
    assert_eq!(client.reply().error(), "request_timeout");
    let mut fell = 0;
    for _ in 0..12 {
        client.send(&post(INFER, limit, BODY));
        let reply = client.reply();
        if reply.header("x-pointsman-version") == Some("v2") {
            assert_eq!(reply.error(), "request_timeout");
            fell += 1;
        }
    }
    let errors = eventually("all are counted", || {
        let errors = trial.canary().rate(Metric::Errors)?.clone();
        (errors.n + errors.control_n == 12).then_some(errors)
    });
    assert_eq!((errors.n, errors.bad), (fell, fell), "the pin is not part of the trial");
    let rows = gateway.wait_for(13, |_| true);
    assert!(rows.iter().all(|row| row["decision_reason"] != "fallback" && is(row, "inference")));
}

/// What is said of a model meanwhile.
type Meanwhile = fn(&mut ModelSpec);

fn cut(scope: KillScope) -> KillSpec {
    KillSpec { scope, why: "by ann: it hurts".to_owned() }
}

fn cut_version(spec: &mut ModelSpec, name: &str) {
    spec.killed_versions.insert(VersionName::new(name), cut(KillScope::Version));
}

/// The status and the version of each of sixteen answers for which `meanwhile` came too late.
fn ask_while(config: &str, meanwhile: Meanwhile) -> Vec<(u16, String)> {
    let mut gateway = InProcess::start(config);
    let trial = try_half(&mut gateway);
    let mut clients: Vec<_> = (0..16).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&post(INFER, "", BODY)));
    // They are on their way; the first tries end after two seconds.
    std::thread::park_timeout(Duration::from_millis(300));
    change(&mut gateway, "m", Some(&trial), meanwhile);
    let told = clients.iter_mut().map(|client| {
        let reply = client.reply();
        let version = reply.header("x-pointsman-version").unwrap_or_default().to_owned();
        (reply.status, version)
    });
    told.collect()
}

#[test]
fn a_champion_that_was_cut_off_while_the_candidate_was_asked_is_not_asked() {
    let hanging = Backend::script(|connection| {
        let _taken = connection.request();
        connection.wait_for_close();
    });
    let timeouts = "[models.m.timeouts]\nfirst_byte = \"2s\"";
    let cases: [(Meanwhile, bool); 4] = [
        (|_| {}, true),
        (|spec| cut_version(spec, "v1"), false),
        (|spec| spec.killed = Some(cut(KillScope::Model)), false),
        (|spec| spec.killed = Some(cut(KillScope::Gateway)), false),
    ];
    for (case, (meanwhile, is_asked)) in cases.into_iter().enumerate() {
        let champion = Backend::replying(GOOD);
        let told = ask_while(&beside(&champion, &at(hanging.address), timeouts), meanwhile);
        let failed: Vec<_> = told.iter().filter(|told| told.0 != 200).collect();
        assert_eq!(failed.is_empty(), is_asked, "{case}: {told:?}");
        assert!(failed.iter().all(|told| (told.0, told.1.as_str()) == (504, "v2")), "{told:?}");
        assert_eq!(champion.seen().len(), 16 - failed.len(), "{case}");
    }
}

#[test]
fn a_candidate_that_was_cut_off_or_held_while_the_champion_was_tried_is_not_asked() {
    let (_sockets, full) = crate::failures::full_listener();
    let cases: [(Meanwhile, bool); 6] = [
        (|_| {}, true),
        (|spec| cut_version(spec, "v2"), false),
        (|spec| spec.killed = Some(cut(KillScope::Model)), false),
        (|spec| spec.killed = Some(cut(KillScope::Gateway)), false),
        (|spec| spec.trial.as_mut().unwrap().stands_in = false, false),
        (|spec| spec.trial = None, false),
    ];
    for (case, (meanwhile, is_asked)) in cases.into_iter().enumerate() {
        let candidate = Backend::replying(GOOD);
        let config = format!(
            "[models.m]\ntraffic = {{ v1 = \"100%\" }}\n[models.m.timeouts]\nconnect = \"2s\"\n\
             [models.m.versions.v1]\n{}\n[models.m.versions.v2]\n{}\n",
            at(full),
            at(candidate.address),
        );
        let told = ask_while(&config, meanwhile);
        let failed: Vec<_> = told.iter().filter(|told| told.0 != 200).collect();
        assert_eq!(failed.is_empty(), is_asked, "{case}: {told:?}");
        assert!(failed.iter().all(|told| told.1 == "v1"), "{case}: {told:?}");
        assert_eq!(candidate.seen().len(), 16 - failed.len(), "{case}");
    }
}

#[test]
fn calls_over_grpc_get_the_champions_answer_too() {
    let nobody = nobody();
    let candidate = format!("{}\ndialect = \"open_inference_grpc\"", at(nobody.address));
    let config = format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\" }}\n{}[models.iris.versions.v2]\n{candidate}\n",
        iris()
    );
    let mut gateway = InProcess::start(&config);
    let trial = try_half_of(&mut gateway, "iris");
    for reply in call(&gateway, 30) {
        assert_eq!(reply.header("x-pointsman-version"), Some("v1"));
    }
    let (failed, rows) = blamed(&gateway, &trial, 30);
    check_rows(&rows, failed, "upstream_connect");
}

#[test]
fn numbers_that_are_none_are_found_in_the_tensors_of_a_call() {
    let answer = |value: f32| {
        Http2Backend::start(move |_request| {
            let output = InferTensor {
                name: "probabilities".into(),
                datatype: "FP32".into(),
                shape: vec![1, 1],
                ..InferTensor::default()
            };
            let message = ModelInferResponse {
                model_name: "iris".into(),
                outputs: vec![output],
                raw_output_contents: vec![Bytes::copy_from_slice(&value.to_le_bytes())],
                ..ModelInferResponse::default()
            };
            let header = |name: &'static str, value: &'static str| {
                let value = http::HeaderValue::from_static(value);
                http::HeaderMap::from_iter([(http::HeaderName::from_static(name), value)])
            };
            Http2Reply {
                status: 200,
                headers: header("content-type", "application/grpc"),
                body: encode_frame(&message).unwrap(),
                trailers: header("grpc-status", "0"),
                cut: false,
            }
        })
    };
    let (champion, candidate) = (answer(0.5), answer(f32::NAN));
    let of = |version: &str, backend: &Http2Backend| {
        let at = at(backend.address);
        format!("[models.iris.versions.{version}]\n{at}\ndialect = \"open_inference_grpc\"\n")
    };
    let versions = of("v1", &champion) + &of("v2", &candidate);
    let config = format!("[models.iris]\ntraffic = {{ v1 = \"100%\" }}\n{versions}");
    let mut gateway = InProcess::start(&config);
    let trial = try_half_of(&mut gateway, "iris");
    call(&gateway, 30);
    let invalid = eventually("all are looked into", || {
        let invalid = trial.canary().rate(Metric::Invalid)?.clone();
        (invalid.n + invalid.control_n == 30).then_some(invalid)
    });
    assert!(invalid.n > 0 && invalid.control_n > 0);
    assert_eq!((invalid.bad, invalid.control_bad), (invalid.n, 0));
}

/// So many calls of model `iris`, all of which succeed.
fn call(gateway: &InProcess, count: usize) -> Vec<Http2Reply> {
    let contents = InferTensorContents {
        fp32_contents: vec![5.1, 3.5, 1.4, 0.2],
        ..InferTensorContents::default()
    };
    let message = ModelInferRequest {
        model_name: "iris".into(),
        inputs: vec![InferTensor {
            name: "input".into(),
            datatype: "FP32".into(),
            shape: vec![1, 4],
            contents: Some(contents),
            ..InferTensor::default()
        }],
        ..ModelInferRequest::default()
    };
    let body: Bytes = encode_frame(&message).unwrap();
    drop(gateway.client());
    let client = Http2::connect(gateway.data);
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let one = |_| {
        let path = Method::ModelInfer.path();
        let reply = client.call(client.post(&path, &headers, body.clone()));
        assert_eq!(reply.trailer("grpc-status"), Some("0"), "{:?}", reply.trailer("grpc-message"));
        reply
    };
    (0..count).map(one).collect()
}
