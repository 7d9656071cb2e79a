//! Versions at prediction servers that register themselves. The servers are gateways with a model of their own.

use super::*;

/// A prediction server for `m`, and its registration.
fn server(store: &Store, version: &str, factor: f32) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sum.onnx"), sum_times(factor)).unwrap();
    let server = Gateway::start_in(
        dir,
        &format!(
            "[models.m.versions.{version}]\nonnx = \"sum.onnx\"\n[log]\ndurability = \"off\"\n"
        ),
    );
    let body = json!({
        "address": format!("http://{}", server.data),
        "model": "m",
        "version": version,
        "dialect": "open_inference",
    });
    let reply = store.order("registrations", &body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    server
}

const REGISTERED: &str = "
[discovery.register]
lease = \"10m\"
[models.m.release]
between = \"0s\"
[models.m.release.shadow]
pairs = 1000000
";

#[test]
fn a_server_that_registers_is_checked_and_answers_once_it_is_approved() {
    let store = Store::start(REGISTERED);
    let _first = server(&store, "v1", 2.0);
    store.wait_for_words("v1", "an operator's approval");
    assert_eq!(store.predict().0, 503);
    store.ordered("models/m/versions/v1/approve");
    store.wait_for("v1", "live");
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    let _second = server(&store, "v2", 3.0);
    store.wait_for("v2", "shadow");
    store.ordered("models/m/versions/v2/promote");
    assert_eq!(store.predict(), (200, Some(30.0), "v2".to_owned()));
    store.ordered("models/m/rollback");
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    let store = store.killed_and_started_again();
    eventually("ready", || (store.get("/readyz").status == 200).then_some(()));
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()), "as soon as it is ready");
}

#[test]
fn a_server_of_another_model_is_stopped() {
    let store = Store::start(REGISTERED);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sum.onnx"), sum_times(2.0)).unwrap();
    let other = Gateway::start_in(dir, "[models.other.versions.v1]\nonnx = \"sum.onnx\"\n");
    let body = json!({
        "address": format!("http://{}", other.data), "model": "m", "version": "v1",
        "dialect": "open_inference",
    });
    assert_eq!(store.order("registrations", &body).status, 201);
    let stopped = store.wait_for("v1", "quarantined");
    assert!(stopped["why"].as_str().unwrap().contains("identity"), "{stopped:#}");
    assert_eq!(store.predict().0, 503);
}
