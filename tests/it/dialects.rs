//! Every dialect in and out: built-in paths against a model in this process, and clients of one dialect
//! answered by backends of another.

use serde_json::json;

use crate::support::client::post;
use crate::support::{Backend, Gateway, IRIS_BODY, Reply, eventually, iris, repository};

const ROWS: &str = r#"{"instances":[[5.1,3.5,1.4,0.2],[6.3,3.3,6.0,2.5]]}"#;

fn get(gateway: &Gateway, path: &str) -> Reply {
    gateway.request(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
}

/// Two versions of iris, the second without traffic.
pub(crate) fn two() -> String {
    let path = |version: &str| repository(&format!("config/models/iris/{version}/model.onnx"));
    format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\", v2 = \"0%\" }}\naliases = {{ prod = \"v1\", canary = \"v2\" }}\n\
         [models.iris.versions]\nv1.onnx = {:?}\nv2.onnx = {:?}\n",
        path("v1").display().to_string(),
        path("v2").display().to_string()
    )
}

#[test]
fn a_model_in_process_answers_every_dialect_in_its_own_form() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", two()));
    let labels = |reply: &Reply| {
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text()
    };
    let rows = gateway.post("/v1/models/iris:predict", ROWS);
    let text = labels(&rows);
    assert_eq!(rows.json()["predictions"].as_array().unwrap().len(), 2, "{text}");
    let columns =
        gateway.post("/v1/models/iris/labels/canary:predict", r#"{"inputs":[[5.1,3.5,1.4,0.2]]}"#);
    let text = labels(&columns);
    assert!(columns.json()["outputs"].is_object(), "{text}");
    assert_eq!(columns.header("x-pointsman-version"), Some("v2"), "the label is an alias");
    let torch = gateway.post("/predictions/iris", "[5.1,3.5,1.4,0.2]");
    labels(&torch);
    let csv =
        gateway.request(&post("/invocations", "content-type: text/csv\r\n", "5.1,3.5,1.4,0.2"));
    labels(&csv);
    let v2 = gateway.post("/v2/models/iris/versions/prod/infer", IRIS_BODY);
    labels(&v2);
    assert_eq!(v2.json()["model_version"], "v1");
    let protocols: Vec<_> = gateway
        .records()
        .iter()
        .map(|record| record["protocol"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        protocols,
        [
            "kserve-v1",
            "tensorflow-serving-rest",
            "torchserve",
            "sagemaker",
            "openinference-v2-rest"
        ]
    );
    for path in ["/v1/models", "/v1/models/iris", "/v1/models/iris/metadata", "/ping", "/v2/models"]
    {
        assert_eq!(get(&gateway, path).status, 200, "{path}");
    }
    assert_eq!(get(&gateway, "/").text(), r#"{"status":"alive"}"#);
    assert_eq!(get(&gateway, "/health").json()["status"], "Healthy");
    assert_eq!(get(&gateway, "/version").text(), env!("CARGO_PKG_VERSION"));
    assert_eq!(gateway.records().len(), 5, "questions are not recorded");
}

#[test]
fn refusals_have_the_form_of_the_dialect() {
    let gateway = Gateway::start(&iris());
    let v1 = gateway.post("/v1/models/nope:predict", ROWS);
    assert_eq!((v1.status, v1.error()), (404, "unknown_model"));
    assert!(v1.json()["error"].is_string());
    let signature = r#"{"signature_name":"nope","instances":[[5.1,3.5,1.4,0.2]]}"#;
    let refused = gateway.post("/v1/models/iris:predict", signature);
    assert_eq!((refused.status, refused.error()), (400, "bad_input"), "{}", refused.text());
    let only = signature.replace("nope", "serving_default");
    assert_eq!(gateway.post("/v1/models/iris:predict", &only).status, 200);
    let torch = gateway.post("/predictions/nope", "[1]");
    assert_eq!((torch.status, torch.json()["code"].as_u64()), (404, Some(404)), "{}", torch.text());
    let sagemaker = gateway.request(&post("/invocations", "content-type: image/png\r\n", "x"));
    assert_eq!((sagemaker.status, sagemaker.error()), (415, "unsupported_media_type"));
    assert!(sagemaker.json()["error_code"].is_string(), "{}", sagemaker.text());
    let records = gateway.wait_for_records(5);
    let rejected = records.iter().filter(|record| record["outcome"] == "rejected");
    assert_eq!(rejected.count(), 4);
}

#[test]
fn routes_come_before_the_paths_of_other_dialects() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&format!("{}{}", iris(), backend.as_pool()));
    for path in ["/", "/ping", "/v1/models", "/health"] {
        assert_eq!(
            get(&gateway, path).header("content-type"),
            Some("application/octet-stream"),
            "{path}"
        );
    }
    assert_eq!(gateway.post("/v1/models/iris:predict", "as it is").text(), "as it is");
    assert_eq!(backend.seen().len(), 5);
}

#[test]
fn an_array_of_numpy_is_answered_in_the_form_and_the_coding_that_the_client_takes() {
    let gateway = Gateway::start(&iris());
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 4), }\n";
    let numbers = [5.1_f64, 3.5, 1.4, 0.2].map(f64::to_le_bytes).concat();
    let length = [u8::try_from(header.len()).unwrap(), 0];
    let array = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &numbers].concat();
    let ask = |headers: &str| {
        let mut client = gateway.client();
        client.send(&format!(
            "POST /invocations HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-npy\r\n\
             content-length: {}\r\n{headers}\r\n",
            array.len()
        ));
        client.send_bytes(&array);
        client.reply()
    };
    let reply = ask("");
    assert_eq!(reply.json()["predictions"][0]["label"], 0, "{}", reply.text());
    let reply = ask("accept: application/json;q=0.1, text/csv;q=0.2\r\n");
    assert_eq!(reply.header("content-type"), Some("text/csv"));
    assert!(reply.text().starts_with("0,"), "{}", reply.text());
    let reply = ask("accept-encoding: gzip, identity;q=0\r\n");
    assert_eq!((reply.status, reply.header("content-encoding")), (200, Some("gzip")));
    for headers in ["accept: application/json;q=0\r\n", "accept-encoding: identity;q=0\r\n"] {
        let reply = ask(headers);
        assert_eq!((reply.status, reply.error()), (406, "not_acceptable"), "{}", reply.text());
    }
}

/// A gateway whose model `flowers` is served by `backend` in `dialect`, as its model `iris`.
fn front(backend: &Gateway, dialect: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "[models.flowers.versions.v7]\nbackends = [\"http://{}\"]\ndialect = \"{dialect}\"\n\
         remote_model = \"iris\"\n{more}[log]\ndurability = \"os\"\n",
        backend.data
    ))
}

#[test]
fn a_triton_client_is_answered_by_a_backend_of_tensorflow_serving() {
    let backend = Gateway::start(&iris());
    let gateway = front(&backend, "tensorflow_serving", "");
    let reply =
        gateway.post("/v2/models/flowers/infer", &IRIS_BODY.replacen('{', "{\"id\":\"9\",", 1));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let json = reply.json();
    assert_eq!((json["id"].as_str(), json["model_name"].as_str()), (Some("9"), Some("flowers")));
    let same = backend.post("/v2/models/iris/infer", IRIS_BODY).json();
    let outputs = |json: &serde_json::Value| {
        let outputs = json["outputs"].as_array().unwrap();
        let mut data: Vec<_> = outputs.iter().map(|output| output["data"].to_string()).collect();
        data.sort();
        data
    };
    assert_eq!(outputs(&json).len(), outputs(&same).len(), "{json} {same}");
    let bad = gateway.post("/v2/models/flowers/infer", "{bad");
    assert_eq!((bad.status, bad.error()), (400, "bad_input"));
    let records = gateway.records();
    assert_eq!(records[0]["protocol"], "openinference-v2-rest");
    assert_eq!(
        (records[0]["batch_size"].as_u64(), records[0]["outcome"].as_str()),
        (Some(1), Some("ok"))
    );
}

#[test]
fn a_client_of_tensorflow_serving_is_answered_by_an_open_inference_backend() {
    let backend = Gateway::start(&iris());
    let gateway = front(&backend, "open_inference", "");
    // Its tensors are known as soon as the backend has told: the model takes FP32 and nothing else.
    let reply = eventually("the backend has told what the model takes", || {
        let reply = gateway.post("/v1/models/flowers/versions/v7:predict", ROWS);
        (reply.status == 200).then_some(reply)
    });
    assert_eq!(reply.json()["predictions"].as_array().unwrap().len(), 2, "{}", reply.text());
    let status = get(&gateway, "/v1/models/flowers/versions/v7");
    assert_eq!(status.json()["model_version_status"][0]["state"], "AVAILABLE", "{}", status.text());
    let short = gateway.post("/v1/models/flowers/versions/v7:predict", r#"{"instances":[[1]]}"#);
    assert_eq!(short.status, 400, "{}", short.text());
    assert!(short.json()["error"].is_string());
}

#[test]
fn a_backend_is_asked_what_it_speaks() {
    let backend = Gateway::start(&iris());
    let gateway = front(&backend, "ask", "[protocols]\nask_interval = \"1s\"\n");
    let reply = eventually("the dialect is known", || {
        let reply = gateway.post("/v1/models/flowers:predict", ROWS);
        assert!(reply.status == 200 || reply.error() == "unknown_dialect", "{}", reply.text());
        (reply.status == 200).then_some(reply)
    });
    assert!(reply.json()["predictions"].is_array());
    let silent = Backend::script(|connection| connection.wait_for_close());
    let gateway = Gateway::start(&format!("{}dialect = \"ask\"\n", silent.as_model()));
    let reply = gateway.post("/v2/models/m/infer", IRIS_BODY);
    assert_eq!((reply.status, reply.error()), (503, "unknown_dialect"));
}

/// A backend of the Open Inference Protocol that has `extensions` and answers predictions in JSON.
fn partial(extensions: &'static str) -> Backend {
    Backend::script(move |connection| {
        while let Some(request) = connection.request() {
            let body = match request.line().split(' ').nth(1) {
                Some("/v2") => format!(r#"{{"name":"s","extensions":{extensions}}}"#),
                Some("/v2/models/m") => {
                    r#"{"name":"m","versions":["7"],"platform":"p","inputs":[{"name":"x","datatype":"FP32",
                       "shape":[-1]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1]}]}"#
                        .to_owned()
                }
                Some("/v2/models/m/ready") => String::new(),
                _ => {
                    r#"{"model_name":"m","model_version":"7","outputs":[{"name":"y","datatype":"FP32",
                       "shape":[2],"data":[1.5,2.5]}]}"#
                        .to_owned()
                }
            };
            connection.send(&format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    })
}

/// A gateway before such a backend, once it is known what it has.
fn before(backend: &Backend) -> Gateway {
    let gateway = Gateway::start(&format!("{}dialect = \"ask\"\n", backend.as_model()));
    eventually("the backend has told", || {
        (get(&gateway, "/v2/models/m").status == 200).then_some(())
    });
    gateway
}

fn inference(rest: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"FP32","data":[1,2]}}]{rest}}}"#)
}

const BINARY_OUTPUTS: &str = r#","parameters":{"binary_data_output":true}"#;
const CLASSES: &str = r#","outputs":[{"name":"y","parameters":{"classification":1}}]"#;

#[test]
fn what_an_open_inference_backend_lacks_is_made_up_for_and_all_else_passes() {
    let backend = partial("[]");
    let gateway = before(&backend);
    let infer = |body: &str| {
        let reply = gateway.post("/v2/models/m/infer", body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        (reply, String::from_utf8(backend.seen().pop().unwrap().body).unwrap())
    };
    let plain = inference("");
    let (reply, sent) = infer(&plain);
    assert_eq!((sent, reply.json()["model_version"].as_str()), (plain, Some("7")));
    let unasked = inference(r#","outputs":[{"name":"y","parameters":{"binary_data":false}}]"#);
    assert_eq!(infer(&unasked).1, unasked, "nothing is needed that it does not have");
    let (reply, sent) = infer(&inference(BINARY_OUTPUTS));
    assert!(!sent.contains("binary_data"), "{sent}");
    let length: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    assert_eq!(reply.body[length..], [1.5_f32.to_le_bytes(), 2.5_f32.to_le_bytes()].concat());
    let (reply, sent) = infer(&inference(CLASSES));
    assert!(!sent.contains("classification"), "{sent}");
    assert_eq!(reply.json()["outputs"][0]["data"][0], "2.500000:1", "{}", reply.text());
    // However long they are, and whether or not they say how long.
    let long = inference(&format!(r#","id":"{}"{BINARY_OUTPUTS}"#, "i".repeat(100_000)));
    assert!(infer(&long).0.header("inference-header-content-length").is_some());
    let chunked = gateway.request(&format!(
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    ));
    assert!(chunked.header("inference-header-content-length").is_some(), "{}", chunked.text());
    let head = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let mut client = gateway.client();
    client.send(&format!(
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ninference-header-content-length: {}\r\n\
         content-length: {}\r\n\r\n{head}",
        head.len(),
        head.len() + 8
    ));
    client.send_bytes(&[1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat());
    let reply = client.reply();
    assert_eq!((reply.status, reply.json()["model_version"].as_str()), (200, Some("v1")));
    let sent = backend.seen().pop().unwrap();
    assert_eq!(sent.header("inference-header-content-length"), None);
    assert!(String::from_utf8(sent.body).unwrap().contains("\"data\":[1"));
}

#[test]
fn a_backend_that_has_the_extensions_is_sent_the_clients_bytes() {
    let backend = partial(r#"["binary_tensor_data","classification"]"#);
    let gateway = before(&backend);
    for rest in [BINARY_OUTPUTS, CLASSES] {
        let body = inference(rest);
        assert_eq!(gateway.post("/v2/models/m/infer", &body).status, 200);
        assert_eq!(backend.seen().pop().unwrap().body, body.as_bytes());
    }
}

#[test]
fn questions_about_a_model_are_answered_in_the_names_of_the_gateway() {
    let backend = partial("[]");
    let gateway = before(&backend);
    for path in ["/v2/models/m", "/v2/models/m/versions/v1"] {
        let json = get(&gateway, path).json();
        assert_eq!((json["name"].as_str(), json["versions"][0].as_str()), (Some("m"), Some("v1")));
        assert_eq!(json["inputs"][0]["name"], "x", "{json}");
    }
    let ready = get(&gateway, "/v2/models/m/versions/v1/ready");
    assert_eq!((ready.status, ready.json()["name"].as_str()), (200, Some("m")));
    assert_eq!(get(&gateway, "/v2/models/m/versions/v1/config").json()["name"], "m");
    let stats = get(&gateway, "/v2/models/m/versions/v1/stats").json();
    assert_eq!(stats["model_stats"][0]["version"], "v1");
}

#[test]
fn bodies_may_be_compressed_both_ways_within_the_limit() {
    use std::io::{Read as _, Write as _};
    let gateway = Gateway::start(&format!("{}[limits]\nbody = \"64KiB\"\n", iris()));
    let gzip = |body: &[u8]| {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        coder.write_all(body).unwrap();
        coder.finish().unwrap()
    };
    let ask = |coding: &str, body: &[u8]| {
        let mut client = gateway.client();
        let length = body.len();
        client.send(&format!(
            "POST /v2/models/iris/infer HTTP/1.1\r\nhost: a\r\ncontent-encoding: {coding}\r\n\
             accept-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
        ));
        client.send_bytes(body);
        client.reply()
    };
    let rows = 200;
    let data = vec!["5.1,3.5,1.4,0.2"; rows].join(",");
    let body = format!(
        r#"{{"inputs":[{{"name":"input","shape":[{rows},4],"datatype":"FP32","data":[{data}]}}]}}"#
    );
    let reply = ask("gzip", &gzip(body.as_bytes()));
    assert_eq!((reply.status, reply.header("content-encoding")), (200, Some("gzip")));
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&reply.body[..]).read_to_string(&mut plain).unwrap();
    assert!(plain.contains("\"model_name\":\"iris\""), "{plain}");
    let bomb = ask("gzip", &gzip(&vec![b' '; 1 << 20]));
    assert_eq!((bomb.status, bomb.error()), (413, "body_too_large"));
    let broken = ask("gzip", b"not gzip");
    assert_eq!((broken.status, broken.error()), (400, "bad_input"));
    let unknown = ask("br", b"x");
    assert_eq!((unknown.status, unknown.error()), (415, "unsupported_encoding"));
    assert_eq!(unknown.header("accept-encoding"), Some("gzip, deflate"));
}

#[test]
fn tritons_statuses_are_answered_where_they_are_asked_for() {
    let gateway = Gateway::start(&format!(
        "{}[protocols]\nstrict_status = \"triton\"\nrepository = true\n",
        iris()
    ));
    let infer = |body: &str| gateway.post("/v2/models/iris/infer", body).status;
    assert_eq!(infer("{bad"), 500);
    assert_eq!(infer(&IRIS_BODY.replace("[1,4]", "[1,5]")), 500);
    assert_eq!(infer(&IRIS_BODY.replace("input\"", "nope\"")), 400);
    assert_eq!(gateway.post("/v2/models/nope/infer", IRIS_BODY).status, 404);
    assert_eq!(get(&gateway, "/v2/models/nope/ready").status, 400);
    assert_eq!(get(&gateway, "/v2/models/iris/versions/v9/ready").status, 400);
    assert_eq!(get(&gateway, "/v2/models/nope").status, 404);
    assert_eq!(gateway.post("/v2/repository/models/nope/load", "").status, 500);
    let unloaded = gateway.post("/v2/repository/models/nope/unload", "");
    assert_eq!((unloaded.status, unloaded.text().as_str()), (200, ""));
    let br = post("/v2/models/iris/infer", "content-encoding: br\r\n", "x");
    assert_eq!(gateway.request(&br).status, 501);
}

#[test]
fn versions_are_unloaded_and_loaded_on_request_but_not_those_that_routing_needs() {
    let config = format!("{}[protocols]\nrepository = true\n", two());
    let gateway = Gateway::start(&config);
    let state = |version: &str| {
        let index = gateway.post("/v2/repository/index", "").json();
        let entries = index.as_array().unwrap().clone();
        let entry = entries.into_iter().find(|entry| entry["version"] == version).unwrap();
        entry["state"].as_str().unwrap().to_owned()
    };
    assert_eq!((state("v1").as_str(), state("v2").as_str()), ("READY", "READY"));
    let unload = gateway.post("/v2/repository/models/iris/unload", "");
    assert_eq!((unload.status, unload.text().as_str()), (200, ""), "{}", unload.text());
    assert_eq!((state("v1").as_str(), state("v2").as_str()), ("READY", "UNAVAILABLE"));
    assert_eq!(
        gateway.post("/v2/models/iris/versions/v2/infer", IRIS_BODY).error(),
        "no_ready_version"
    );
    assert_eq!(gateway.post("/v2/models/iris/infer", IRIS_BODY).status, 200);
    assert_eq!(gateway.post("/v2/repository/models/iris/load", "").status, 200);
    assert_eq!(state("v2"), "READY");
    assert_eq!(gateway.post("/v2/models/iris/versions/v2/infer", IRIS_BODY).status, 200);
    assert_eq!(gateway.post("/v2/repository/models/nope/load", "").status, 404);
    let own = r#"{"parameters":{"config":"{}"}}"#;
    assert_eq!(gateway.post("/v2/repository/models/iris/load", own).error(), "forbidden");
    let closed = Gateway::start(&two());
    assert_eq!(closed.post("/v2/repository/models/iris/unload", "").error(), "forbidden");
}

#[test]
fn versions_are_unloaded_only_by_clients_that_bring_the_token() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "a-token-of-19-bytes").unwrap();
    let gateway = Gateway::start_in(
        dir,
        &format!(
            "{}[protocols]\nrepository = true\nrepository_token = \"${{file:token}}\"\n",
            two()
        ),
    );
    let unload =
        |header: &str| gateway.request(&post("/v2/repository/models/iris/unload", header, ""));
    for header in [
        "",
        "authorization: Bearer a-token-of-19-byteS\r\n",
        "authorization: Bearer\r\n",
        "authorization: Basic a-token-of-19-bytes\r\n",
        "authorization: a-token-of-19-bytes\r\n",
    ] {
        let refused = unload(header);
        assert_eq!((refused.status, refused.error()), (403, "forbidden"), "{header}");
        assert!(!refused.text().contains("19-bytes"), "{}", refused.text());
    }
    assert_eq!(gateway.post("/v2/models/iris/versions/v2/infer", IRIS_BODY).status, 200);
    let done = unload("authorization: bearer a-token-of-19-bytes\r\n");
    assert_eq!(done.status, 200, "{}", done.text());
    let gone = gateway.post("/v2/models/iris/versions/v2/infer", IRIS_BODY);
    assert_eq!(gone.error(), "no_ready_version");
}

#[test]
fn a_translated_request_that_names_something_twice_or_wrongly_is_the_clients_mistake() {
    let backend = Backend::replying(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 35\r\n\r\n\
         {\"predictions\":[{\"y\":1.5,\"z\":2.5}]}",
    );
    let gateway =
        Gateway::start(&format!("{}dialect = \"tensorflow_serving\"\n", backend.as_model()));
    let input =
        |name: &str| format!(r#"{{"name":"{name}","shape":[1],"datatype":"FP32","data":[1]}}"#);
    let infer = |inputs: &[String], outputs: &str| {
        let body = format!(r#"{{"inputs":[{}],"outputs":[{outputs}]}}"#, inputs.join(","));
        gateway.post("/v2/models/m/infer", &body)
    };
    // It never describes its model, so that only itself knows what there is.
    eventually("the model is served without types", || {
        let answered = infer(&[input("x")], "");
        assert!(answered.status == 200 || answered.error() == "unknown_dialect");
        (answered.status == 200).then_some(())
    });
    let sent = backend.seen().len();
    let (a, b) = (input("a"), input("b"));
    for (inputs, outputs) in
        [(vec![a.clone(), b, a], ""), (vec![input("x")], r#"{"name":"y"},{"name":"y"}"#)]
    {
        let refused = infer(&inputs, outputs);
        assert_eq!((refused.status, refused.error()), (400, "bad_input"), "{}", refused.text());
    }
    assert_eq!(backend.seen().len(), sent, "nothing of it is sent");
    let refused = infer(&[input("x")], r#"{"name":"zz"}"#);
    assert_eq!((refused.status, refused.error()), (400, "bad_input"), "{}", refused.text());
}

#[test]
fn what_a_backend_says_instead_of_an_answer_keeps_when_to_come_again_and_leads_nowhere() {
    for (head, status, error, retry_after) in [
        ("429 Too Many Requests\r\nretry-after: 7", 429, "", Some("7")),
        ("503 Service Unavailable\r\nretry-after: 3", 503, "", Some("3")),
        ("302 Found\r\nlocation: http://elsewhere/", 502, "upstream_protocol", None),
    ] {
        let backend = Backend::serving(format!(
            "HTTP/1.1 {head}\r\ncontent-type: application/json\r\n\
             content-length: 13\r\n\r\n{{\"error\":\"x\"}}"
        ));
        let gateway =
            Gateway::start(&format!("{}dialect = \"tensorflow_serving\"\n", backend.as_model()));
        let reply = gateway.post("/v2/models/m/infer", &inference(""));
        assert_eq!((reply.status, reply.error()), (status, error), "{}", reply.text());
        assert_eq!(reply.header("retry-after"), retry_after);
    }
}

#[test]
fn questions_about_a_model_have_the_same_answer_each_time() {
    // The versions take different inputs; two thirds of the requests go to v2.
    let file = |name: &str| repository(&format!("config/models/{name}/model.onnx"));
    let gateway = Gateway::start(&format!(
        "[models.m]\ntraffic = {{ v1 = \"40%\", v2 = \"60%\" }}\naliases = {{ prod = \"v1\" }}\n\
         [models.m.versions]\nv1 = {{ onnx = {:?} }}\nv2 = {{ onnx = {:?} }}\n",
        file("iris/v1"),
        file("digits/v1"),
    ));
    for _ in 0..12 {
        let all = get(&gateway, "/v2/models/m").json();
        assert_eq!(
            (&all["versions"], &all["inputs"][0]["shape"]),
            (&json!(["v1", "v2"]), &json!([-1, 64]))
        );
        let states = get(&gateway, "/v1/models/m").json();
        let states = states["model_version_status"].as_array().unwrap().iter();
        assert_eq!(states.map(|one| &one["version"]).collect::<Vec<_>>(), ["v1", "v2"]);
    }
    for version in ["v1", "prod"] {
        let one = get(&gateway, &format!("/v2/models/m/versions/{version}")).json();
        assert_eq!(
            (&one["versions"], &one["inputs"][0]["shape"]),
            (&json!(["v1"]), &json!([-1, 4]))
        );
    }
    let states = get(&gateway, "/v1/models/m/versions/v2").json();
    assert_eq!(states["model_version_status"].as_array().unwrap().len(), 1);
}

#[test]
fn statistics_and_configuration_are_those_of_triton() {
    let gateway = Gateway::start(&format!("{}[log]\ndurability = \"os\"\n", two()));
    for _ in 0..3 {
        assert_eq!(gateway.post("/v2/models/iris/infer", IRIS_BODY).status, 200);
    }
    assert_eq!(gateway.post("/v2/models/iris/infer", "{bad").status, 400);
    let stats = get(&gateway, "/v2/models/iris/versions/v1/stats").json();
    let version = &stats["model_stats"][0];
    assert_eq!((version["name"].as_str(), version["version"].as_str()), (Some("iris"), Some("v1")));
    assert_eq!(version["inference_stats"]["success"]["count"], 3);
    assert_eq!(version["inference_stats"]["fail"]["count"], 1);
    assert_eq!(version["inference_stats"]["compute_infer"]["count"], 3);
    assert_eq!(
        (version["inference_count"].as_u64(), version["execution_count"].as_u64()),
        (Some(3), Some(3))
    );
    assert!(version["last_inference"].as_u64().unwrap() > 1_600_000_000_000);
    let all = get(&gateway, "/v2/models/stats").json();
    assert_eq!(all["model_stats"].as_array().unwrap().len(), 2);
    let config = get(&gateway, "/v2/models/iris/config").json();
    assert_eq!(config["input"][0]["data_type"], "TYPE_FP32");
    assert_eq!(
        (&config["max_batch_size"], &config["platform"]),
        (&json!(1024), &json!("onnx_onnxv1"))
    );
    assert_eq!(version["inference_stats"]["queue"]["count"], 3, "they waited for no time");
    assert_eq!(get(&gateway, "/v2/models/nope/config").error(), "unknown_model");
    assert_eq!(get(&gateway, "/v2/logging").status, 501);
}

#[test]
fn a_request_that_names_two_versions_is_refused() {
    let file = |version: &str| repository(&format!("config/models/iris/{version}/model.onnx"));
    let gateway = Gateway::start(&format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\" }}\naliases = {{ prod = \"v1\" }}\n\
         [models.iris.versions]\nv1 = {{ onnx = {:?} }}\nv2 = {{ onnx = {:?} }}\n",
        file("v1"),
        file("v2"),
    ));
    let asked = |path: &str, version: &str| {
        let header = format!("x-pointsman-version: {version}\r\n");
        gateway.request(&post(path, &header, IRIS_BODY))
    };
    let path = "/v2/models/iris/versions/v1/infer";
    let refused = asked(path, "v2");
    assert_eq!((refused.status, refused.error()), (400, "two_versions"), "{}", refused.text());
    assert_eq!(asked(path, "prod").status, 200);
    assert_eq!(asked("/v2/models/iris/infer", "v2").header("x-pointsman-version"), Some("v2"));
}

#[test]
fn the_columns_of_a_data_frame_go_where_the_card_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.onnx");
    std::fs::copy(repository("config/models/iris/v1/model.onnx"), &model).unwrap();
    let card = "[inputs.input]\nnames = [\"sl\", \"sw\", \"pl\", \"pw\"]\n";
    std::fs::write(dir.path().join("model.toml"), card).unwrap();
    let gateway = Gateway::start(&format!("[models.iris.versions.v1]\nonnx = {model:?}\n"));
    let asked = |columns: &str, row: &str| {
        let body = format!(r#"{{"dataframe_split":{{"columns":[{columns}],"data":[[{row}]]}}}}"#);
        gateway.request(&post("/models/iris/invoke", "content-type: application/json\r\n", &body))
    };
    let straight = asked(r#""sl","sw","pl","pw""#, "5.1,3.5,1.4,0.2");
    assert_eq!(straight.status, 200, "{}", straight.text());
    let turned = asked(r#""pw","pl","sw","sl""#, "0.2,1.4,3.5,5.1");
    assert_eq!(turned.text(), straight.text());
    for columns in [r#""sl","sw","pl""#, r#""a","b","c","d""#] {
        let refused = asked(columns, "5.1,3.5,1.4,0.2");
        assert_eq!((refused.status, refused.error()), (400, "bad_input"), "{}", refused.text());
    }
}
