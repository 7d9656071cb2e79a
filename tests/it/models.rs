//! Models in this process give onnxruntime's answers, and bad input a clear one.

use serde_json::{Value, json};

use crate::support::gateway::{records, run};
use crate::support::onnx::{FLOAT, Graph, INT64, int, ints};
use crate::support::{Gateway, IRIS_BODY, iris, repository};

const INFER: &str = "/v2/models/iris/infer";

#[test]
fn the_answer_is_onnxruntimes() {
    let gateway = Gateway::start(&iris());
    let expected =
        std::fs::read_to_string(repository("config/models/iris/v1/expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let cases = expected.as_array().expect("an array of cases");
    assert!(!cases.is_empty());
    for case in cases {
        let reply =
            gateway.post(INFER, &json!({ "id": "7", "inputs": case["inputs"] }).to_string());
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json();
        assert_eq!(answer["id"], "7");
        assert_eq!(
            (&answer["model_name"], &answer["model_version"]),
            (&"iris".into(), &"v1".into())
        );
        for (given, wanted) in
            answer["outputs"].as_array().unwrap().iter().zip(case["outputs"].as_array().unwrap())
        {
            assert_eq!(given["name"], wanted["name"]);
            assert_eq!(given["shape"], wanted["shape"]);
            let numbers = |value: &Value| -> Vec<f64> {
                value["data"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
            };
            for (a, b) in numbers(given).iter().zip(numbers(wanted)) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1e-3), "{a} is not {b}");
            }
        }
    }
}

#[test]
fn the_protocol_around_inference_is_there() {
    let gateway = Gateway::start(&iris());
    let get = |path: &str| gateway.request(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(get("/v2/health/live").json(), json!({ "live": true }));
    assert_eq!(get("/v2/health/ready").json(), json!({ "ready": true }));
    assert_eq!(get("/v2").json()["name"], "pointsman");
    let metadata = get("/v2/models/iris").json();
    assert_eq!(
        metadata["inputs"][0],
        json!({ "name": "input", "datatype": "FP32", "shape": [-1, 4] })
    );
    assert_eq!(metadata["versions"], json!(["v1"]));
    assert_eq!(get("/v2/models/iris/versions/v1/ready").json()["ready"], true);
    assert_eq!(gateway.post("/v2/models/iris/versions/v1/infer", IRIS_BODY).status, 200);
    let dir = gateway.stop();
    assert_eq!(records(dir.path()).len(), 1, "questions about a model are no predictions");
}

#[test]
fn bad_input_is_a_400_that_says_where() {
    let gateway = Gateway::start(&iris());
    let tensor = |shape: &str, datatype: &str, data: &str| {
        format!(
            r#"{{"inputs":[{{"name":"input","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#
        )
    };
    let cases = [
        ("not json".to_owned(), "byte"),
        (String::new(), ""),
        ("[]".to_owned(), ""),
        (r#"{"inputs":[]}"#.to_owned(), "input"),
        (tensor("[1,4]", "FP32", "[1,2,3]"), "3"),
        (tensor("[1,3]", "FP32", "[1,2,3]"), "input"),
        (tensor("[1,4]", "INT64", "[1,2,3,4]"), "INT64"),
        (tensor("[1,4]", "FP32", "[1,2,3,\"x\"]"), "/inputs/0/data"),
        (tensor("[1,4]", "FP32", "[1,2,3,true]"), "/inputs/0/data"),
        (tensor("[-1,4]", "FP32", "[1,2,3,4]"), "shape"),
        (tensor("[9223372036854775807,9223372036854775807]", "FP32", "[1]"), ""),
        (IRIS_BODY.replace("input\"", "nope\""), "nope"),
    ];
    for (body, clue) in &cases {
        let reply = gateway.post(INFER, body);
        assert_eq!((reply.status, reply.error()), (400, "bad_input"), "{body}: {}", reply.text());
        assert!(reply.text().contains(clue), "{body}: {} does not name {clue}", reply.text());
    }
    let records = gateway.wait_for_records(cases.len());
    assert!(records.iter().all(|record| record["outcome"] == "rejected"));
    assert!(
        gateway.post(INFER, &tensor("[1,4]", "FP32", "[NaN,Infinity,-Infinity,1e39]")).status
            == 200
    );
}

/// A gateway with a model file of these bytes, and a card beside it.
fn with_model(model: &[u8], card: &str, config: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("model.onnx"), model).unwrap();
    std::fs::write(dir.path().join("model.toml"), card).unwrap();
    let config = format!("[models.m.versions.v1]\nonnx = \"model.onnx\"\n{config}");
    Gateway::start_in(dir, &config)
}

#[test]
fn a_sample_row_lets_a_model_load_that_fails_on_zeros_and_ones() {
    // Far from the place in the sample it panics.
    let graph = Graph::default()
        .input("at", FLOAT, &["1", "1", "1", "2"])
        .floats("picture", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0])
        .floats("five", &[], &[5.0])
        .floats("far", &[], &[1e37])
        .node("Sub", &["five", "at"], "away")
        .node("Mul", &["away", "far"], "place")
        .node("GridSample", &["picture", "place"], "y")
        .output("y", FLOAT, &["1", "1", "1", "1"])
        .encode();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alone.onnx");
    std::fs::write(&path, &graph).unwrap();
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[models.m.versions.v1]\nonnx = {:?}\n",
        path.display().to_string()
    );
    let stderr = run(&["run"], &config).stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("give it a `sample` row in model.toml"), "{stderr}");
    for isolate in [true, false] {
        let config = format!("[inference]\nisolate = {isolate}\n");
        let gateway = with_model(&graph, "[inputs.at]\nsample = [5, 5]\n", &config);
        let body = r#"{"inputs":[{"name":"at","datatype":"FP32","shape":[1,1,1,2],"data":[5,5]}]}"#;
        let reply = gateway.post("/v2/models/m/infer", body);
        assert_eq!((reply.status, &reply.json()["outputs"][0]["data"][0]), (200, &json!(2.5)));
    }
}

#[test]
fn a_request_that_would_fill_the_memory_is_refused_before_it_runs() {
    // Each row is compared with each other, so that the square of their number is held.
    let graph = Graph::default()
        .input("x", FLOAT, &["N", "1"])
        .node("Transpose", &["x"], "t")
        .node("MatMul", &["x", "t"], "pairs")
        .node_with("ReduceMax", &["pairs"], "y", vec![ints("axes", &[1])])
        .output("y", FLOAT, &["N", "1"]);
    let gateway = with_model(&graph.encode(), "", "[inference]\nrun_memory = \"4MiB\"\n");
    let body = |rows: usize| {
        let data = vec!["1"; rows].join(",");
        format!(
            r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[{rows},1],"data":[{data}]}}]}}"#
        )
    };
    assert_eq!(gateway.post("/v2/models/m/infer", &body(900)).status, 200);
    let reply = gateway.post("/v2/models/m/infer", &body(20_000));
    assert_eq!((reply.status, reply.error()), (400, "bad_input"), "{}", reply.text());
    assert!(
        reply.text().contains("about 1526 MiB") && reply.text().contains("run_memory"),
        "{}",
        reply.text()
    );
}

#[test]
fn a_number_that_would_fill_the_memory_is_refused_before_it_counts() {
    let graph = Graph::default()
        .ints("zero", &[], &[0])
        .ints("one", &[], &[1])
        .input("x", INT64, &[])
        .node("Range", &["zero", "x", "one"], "y")
        .output("y", INT64, &["M"]);
    let gateway = with_model(&graph.encode(), "", "");
    let count = |to: i64| {
        let body =
            json!({"inputs": [{"name": "x", "datatype": "INT64", "shape": [], "data": [to]}]});
        gateway.post("/v2/models/m/infer", &body.to_string())
    };
    assert_eq!(count(3).json()["outputs"][0]["data"], json!([0, 1, 2]));
    for to in [400_000_000, 10_i64.pow(13)] {
        let reply = count(to);
        assert_eq!((reply.status, reply.error()), (400, "bad_input"), "{}", reply.text());
        assert!(reply.text().contains("run_memory"), "{}", reply.text());
    }
}

#[test]
fn a_scalar_asked_for_by_rows_is_the_callers_mistake() {
    let graph = Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .node_with("ReduceSum", &["x"], "y", vec![int("keepdims", 0)])
        .output("y", FLOAT, &[]);
    let gateway = with_model(&graph.encode(), "", "");
    let path = "/v1/models/m/versions/v1:predict";
    let rows = gateway.post(path, r#"{"instances":[[1,2]]}"#);
    assert_eq!((rows.status, rows.error()), (400, "bad_input"), "{}", rows.text());
    assert!(rows.text().contains("a scalar, which has no rows; ask with"), "{}", rows.text());
    let columns = gateway.post(path, r#"{"inputs":[[1,2]]}"#);
    assert_eq!(columns.json(), json!({"outputs": 3.0}));
}

#[test]
fn a_model_whose_inputs_have_no_common_rows_promises_no_batch() {
    let graph = Graph::default()
        .input("x", FLOAT, &["N"])
        .input("i", INT64, &["K"])
        .node("Gather", &["x", "i"], "y")
        .output("y", FLOAT, &["K"]);
    let gateway = with_model(&graph.encode(), "", "");
    let reply = gateway.request("GET /v2/models/m/config HTTP/1.1\r\nhost: a\r\n\r\n");
    let config = reply.json();
    assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(0), &json!([-1])));
}

#[test]
fn panics_of_a_model_are_counted_and_cost_their_request_only() {
    let graph = Graph::default()
        .input("x", FLOAT, &["1", "1", "2", "2"])
        .input("at", FLOAT, &["1", "1", "1", "2"])
        .node("GridSample", &["x", "at"], "y")
        .output("y", FLOAT, &["1", "1", "1", "1"]);
    let gateway = with_model(&graph.encode(), "", "");
    let sample = |at: &str| {
        let body = format!(
            r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,1,2,2],"data":[1,2,3,4]}},
               {{"name":"at","datatype":"FP32","shape":[1,1,1,2],"data":[{at},0]}}]}}"#
        );
        gateway.post("/v2/models/m/infer", &body)
    };
    assert_eq!(sample("0.1").status, 200);
    let reply = sample("1e38");
    assert_eq!((reply.status, reply.error()), (500, "model_panic"), "{}", reply.text());
    assert_eq!(sample("0.2").status, 200);
    let series = "pointsman_model_panics_total{model=\"m\",version=\"v1\"}";
    assert_eq!(gateway.metric(series).to_bits(), 1.0_f64.to_bits());
}

#[test]
fn a_division_by_zero_is_the_callers_mistake() {
    let graph = Graph::default()
        .input("a", INT64, &["N"])
        .input("b", INT64, &["N"])
        .node("Div", &["a", "b"], "y")
        .output("y", INT64, &["N"]);
    let gateway = with_model(&graph.encode(), "", "");
    let divide = |b: i64| {
        let body = format!(
            r#"{{"inputs":[{{"name":"a","datatype":"INT64","shape":[1],"data":[7]}},
               {{"name":"b","datatype":"INT64","shape":[1],"data":[{b}]}}]}}"#
        );
        gateway.post("/v2/models/m/infer", &body)
    };
    assert_eq!(divide(2).json()["outputs"][0]["data"][0], 3);
    let reply = divide(0);
    assert_eq!((reply.status, reply.error()), (400, "bad_input"), "{}", reply.text());
}

#[test]
fn classes_have_the_names_of_the_card() {
    let iris = std::fs::read(repository("config/models/iris/v1/model.onnx")).unwrap();
    let card = "[outputs.probabilities]\nlabels = [\"setosa\", \"versicolor\", \"virginica\"]\n";
    let gateway = with_model(&iris, card, "");
    let outputs =
        r#""outputs":[{"name":"probabilities","parameters":{"classification":1}}],"inputs""#;
    let body = IRIS_BODY.replacen("\"inputs\"", outputs, 1);
    let reply = gateway.post("/v2/models/m/infer", &body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let class = reply.json()["outputs"][0]["data"][0].as_str().unwrap().to_owned();
    assert!(class.ends_with(":0:setosa"), "{class}");
}

#[test]
fn what_only_the_client_can_have_got_wrong_is_no_failure_of_the_model() {
    let gateway = Gateway::start(&format!(
        "[models.texts.versions.v1]\nonnx = {:?}\n",
        repository("tests/data/models/colours.onnx"),
    ));
    let classes = r#"{"inputs":[{"name":"colour","datatype":"BYTES","shape":[1,1],"data":["red"]}],
        "outputs":[{"name":"german","parameters":{"classification":1}}]}"#;
    let twice = r#"{"parameters":{"a":1,"a":2},"inputs":[]}"#;
    for (body, clue) in [(classes, "german"), (twice, "twice")] {
        let reply = gateway.post("/v2/models/texts/infer", body);
        assert_eq!((reply.status, reply.error()), (400, "bad_input"), "{}", reply.text());
        assert!(reply.text().contains(clue), "{}", reply.text());
    }
}

#[test]
fn models_that_do_not_fit_into_the_memory_are_not_loaded() {
    let file = |version: &str| repository(&format!("config/models/iris/{version}/model.onnx"));
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         [models.a.versions.v1]\nonnx = {:?}\n[models.b.versions.v1]\nonnx = {:?}\n\
         [inference]\nmemory = \"1KiB\"\n",
        file("v1"),
        file("v2"),
    );
    let output = run(&["run"], &config);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("inference.memory") && text.contains("raise the limit"), "{text}");
}

#[test]
fn a_slow_model_runs_on_the_executor_and_its_time_in_the_queue_is_known() {
    let path = repository("config/models/convnet/v1/model.onnx");
    let gateway = Gateway::start(&format!(
        "[models.net.execution]\ninline_below = \"1us\"\n[models.net.versions.v1]\nonnx = {:?}\n",
        path.display().to_string()
    ));
    let expected =
        std::fs::read_to_string(repository("config/models/convnet/v1/expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let body = json!({ "inputs": expected[0]["inputs"] }).to_string();
    let reply = gateway.post("/v2/models/net/infer", &body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let record = gateway.wait_for_records(1).remove(0);
    assert!(record["t_queue"].is_u64() && record["t_infer"].is_u64(), "{record}");
    assert_eq!(record["backend"], "local");
}

#[test]
fn a_model_that_cannot_be_served_ends_the_start_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let model = std::fs::read(repository("config/models/iris/v1/model.onnx")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let truncated = write("truncated.onnx", &model[..model.len() / 2]);
    let text = write("text.onnx", b"this is no model");
    let empty = write("empty.onnx", b"");
    for path in [truncated, text, empty] {
        let config = format!(
            "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[models.m.versions.v1]\nonnx = {:?}\n",
            path.display().to_string()
        );
        let output = run(&["run"], &config);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
        assert!(stderr.contains("m/v1"), "{stderr}");
    }
    let missing =
        run(&["run"], "listen = \"127.0.0.1:0\"\n[models.m.versions.v1]\nonnx = \"gone.onnx\"\n");
    assert_eq!(missing.status.code(), Some(78), "the check finds it first");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("gone.onnx"));
}
