//! Versions are loaded and unloaded while the gateway serves.

use crate::support::{Client, Gateway, IRIS_BODY, Reply, repository};

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
