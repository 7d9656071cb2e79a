//! Versions are loaded and unloaded while the gateway serves.

use std::time::{Duration, Instant};

use crate::support::onnx::{FLOAT, Graph, tensor};
use crate::support::{Backend, Client, Gateway, IRIS_BODY, Reply, eventually, repository};

fn gateway() -> Gateway {
    let file = |version: &str| repository(&format!("config/models/iris/{version}/model.onnx"));
    Gateway::start(&format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\" }}\n\
         [models.iris.versions]\nv1 = {{ onnx = {:?} }}\nv2 = {{ onnx = {:?} }}\nv3 = {{ onnx = {:?} }}\n\
         [routes.pinned]\npath = \"/pinned\"\nmodel = \"iris\"\nversion = \"v3\"\n\
         [models.far.versions.v1]\nbackends = [\"http://127.0.0.1:1\"]\n",
        file("v1"),
        file("v2"),
        file("v2"),
    ))
}

fn order(gateway: &Gateway, name: &str, what: &str) -> Reply {
    let mut client = Client::connect(gateway.admin);
    client.send(&format!(
        "POST /api/v1/models/{name}/{what} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    ));
    client.reply()
}

const INFER_V2: &str = "/v2/models/iris/versions/v2/infer";

#[test]
fn a_version_without_traffic_can_be_unloaded_and_loaded_again() {
    let gateway = gateway();
    assert_eq!(gateway.post(INFER_V2, IRIS_BODY).status, 200);
    let memory = "pointsman_model_memory_bytes{model=\"iris\",version=\"v2\"}";
    assert!(gateway.metric(memory) > 0.0);
    let unloaded = order(&gateway, "iris/versions/v2", "unload");
    assert_eq!(unloaded.status, 200, "{}", unloaded.text());
    let gone = gateway.post(INFER_V2, IRIS_BODY);
    assert_eq!((gone.status, gone.error()), (503, "no_ready_version"));
    assert_eq!(gateway.metric(memory).to_bits(), 0);
    assert_eq!(gateway.post("/v2/models/iris/infer", IRIS_BODY).status, 200);
    assert_eq!(order(&gateway, "iris/versions/v2", "unload").status, 200, "it is unloaded");
    for _ in 0..2 {
        assert_eq!(order(&gateway, "iris/versions/v2", "load").status, 200);
    }
    assert_eq!(gateway.post(INFER_V2, IRIS_BODY).status, 200);
}

#[test]
fn what_routing_needs_stays() {
    let gateway = gateway();
    for (name, status, clue) in [
        ("iris/versions/v1", 409, "a share of its model's traffic"),
        ("iris/versions/v3", 409, "route `pinned`"),
        ("far/versions/v1", 409, "does not run in this process"),
        ("iris/versions/v9", 404, "no version `v9`"),
        ("none/versions/v1", 404, "`none` is not configured"),
        ("iris/versions/%2e", 400, "is no name"),
    ] {
        let refused = order(&gateway, name, "unload");
        assert_eq!(refused.status, status, "{name}: {}", refused.text());
        assert!(refused.text().contains(clue), "{name}: {}", refused.text());
    }
    assert_eq!(gateway.post("/v2/models/iris/infer", IRIS_BODY).status, 200);
    assert_eq!(gateway.post("/pinned", IRIS_BODY).status, 200);
}

#[test]
fn a_thousand_loads_and_unloads_take_no_memory() {
    let gateway = gateway();
    // The lowest of several readings: the allocator gives back what threads leave behind in steps.
    let lowest = |rounds: usize| {
        let readings = (0..rounds).map(|_| {
            for _ in 0..50 {
                assert_eq!(order(&gateway, "iris/versions/v2", "unload").status, 200);
                assert_eq!(order(&gateway, "iris/versions/v2", "load").status, 200);
                assert_eq!(gateway.post(INFER_V2, IRIS_BODY).status, 200);
            }
            gateway.metric("process_resident_memory_bytes")
        });
        readings.fold(f64::INFINITY, f64::min)
    };
    let before = lowest(6);
    let after = lowest(14);
    assert!(after < before + 12e6, "{before} bytes grew to {after}");
}

#[test]
fn silent_backends_hold_up_no_order() {
    let silent: Vec<Backend> =
        (0..4).map(|_| Backend::script(|connection| connection.wait_for_close())).collect();
    let addresses: Vec<String> =
        silent.iter().map(|backend| format!("http://{}", backend.address)).collect();
    let file = repository("config/models/iris/v1/model.onnx");
    let gateway = Gateway::start(&format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\" }}\n\
         [models.iris.versions]\nv1 = {{ onnx = {file:?} }}\nv2 = {{ onnx = {file:?} }}\n\
         [models.far.versions.v1]\nbackends = {addresses:?}\ndialect = \"ask\"\n\
         [protocols]\nask_interval = \"1s\"\n",
    ));
    eventually("the backends are asked", || (silent[3].connections() > 0).then_some(()));
    let began = Instant::now();
    for _ in 0..4 {
        for what in ["unload", "load"] {
            let done = order(&gateway, "iris/versions/v2", what);
            assert_eq!(done.status, 200, "{}", done.text());
        }
    }
    // Each of these would wait for a round of questions, of two seconds and more.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn what_a_large_model_took_is_given_back() {
    const COLUMNS: usize = 4_000_000;
    let dir = tempfile::tempdir().unwrap();
    let weights = vec![0x3c; 4 * 4 * COLUMNS];
    let graph = Graph::default()
        .input("x", FLOAT, &["N", "4"])
        .constant(tensor("w", FLOAT, &[4, COLUMNS as i64], weights))
        .node("MatMul", &["x", "w"], "m")
        .node("ReduceMax", &["m"], "y")
        .output("y", FLOAT, &["1", "1"]);
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, graph.encode()).unwrap();
    let gateway = Gateway::start(&format!(
        "[models.large]\ntraffic = {{ small = \"100%\" }}\n\
         [models.large.versions]\nsmall = {{ onnx = {:?} }}\nlarge = {{ onnx = {path:?} }}\n",
        repository("config/models/iris/v1/model.onnx"),
    ));
    let resident = || gateway.metric("process_resident_memory_bytes");
    let unload = || assert_eq!(order(&gateway, "large/versions/large", "unload").status, 200);
    unload();
    let before = eventually("the memory is given back", || {
        let bytes = resident();
        (bytes < 100e6).then_some(bytes)
    });
    assert_eq!(order(&gateway, "large/versions/large", "load").status, 200);
    assert!(resident() > before + 60e6, "64 MB of weights");
    unload();
    eventually("the memory is given back", || (resident() < before + 20e6).then_some(()));
}

/// The versions whose change was told, with the words.
fn changes(gateway: &Gateway) -> Vec<(String, String)> {
    let mut client = Client::connect(gateway.admin);
    client.send("GET /api/v1/events HTTP/1.1\r\nhost: a\r\n\r\n");
    let events = client.reply().json();
    let events = events["events"].as_array().unwrap().iter();
    let text = |event: &serde_json::Value, key: &str| event[key].as_str().unwrap().to_owned();
    let changes = events.filter(|event| event["kind"] == "model.changed");
    changes.map(|event| (text(event, "about"), text(event, "words"))).collect()
}

#[test]
fn a_file_that_changes_under_its_version_is_not_served_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let place = |version: &str, from: &str| {
        let from = repository(&format!("config/models/iris/{from}/model.onnx"));
        std::fs::copy(from, dir.path().join(format!("{version}.onnx"))).unwrap();
    };
    place("v1", "v1");
    place("v2", "v1");
    let config = "[models.iris]\ntraffic = { v1 = \"100%\" }\n\
                  [models.iris.versions]\nv1 = { onnx = \"v1.onnx\" }\nv2 = { onnx = \"v2.onnx\" }\n\
                  [log]\ndurability = \"os\"\n";
    let path = dir.path().to_owned();
    let gateway = Gateway::start_in(dir, config);
    let digest = |gateway: &Gateway| {
        assert_eq!(gateway.post(INFER_V2, IRIS_BODY).status, 200);
        gateway.records().pop().unwrap()["model_digest"].clone()
    };
    let first = digest(&gateway);
    std::fs::copy(repository("config/models/iris/v2/model.onnx"), path.join("v2.onnx")).unwrap();
    let refused = order(&gateway, "iris/versions/v2", "load");
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("a version is one release"), "{}", refused.text());
    assert_eq!(digest(&gateway), first, "it is still the same");
    let told = changes(&gateway);
    assert_eq!((told.len(), told[0].0.as_str()), (1, "iris/v2"), "{told:?}");
    for what in ["unload", "load"] {
        assert_eq!(order(&gateway, "iris/versions/v2", what).status, 200);
    }
    assert!(digest(&gateway) != first, "the operator has said so");
    let told = changes(&gateway);
    assert!(told.len() == 2 && told[1].1.contains("than before"), "{told:?}");
    let dir = gateway.stop();
    std::fs::copy(path.join("v2.onnx"), path.join("v1.onnx")).unwrap();
    let gateway = Gateway::start_in(dir, config);
    let told = changes(&gateway);
    assert_eq!((told.len(), told[2].0.as_str()), (3, "iris/v1"), "also after a restart: {told:?}");
}
