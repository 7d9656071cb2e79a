//! Models that appear in a directory.

use std::path::PathBuf;

use super::*;
use crate::support::repository;

struct Store {
    gateway: Gateway,
}

impl Store {
    fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("models")).unwrap();
        let config = format!(
            "[discovery.store]\ndirectory = \"models\"\ninterval = \"100ms\"\n{more}\n{}",
            crate::support::iris()
        );
        Self { gateway: Gateway::start_in(dir, &config) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.gateway.dir.path().join("models").join(name)
    }

    /// The sighting of a version.
    fn sighting(&self, model: &str, version: &str) -> Option<Value> {
        let shown = admin(&self.gateway, "GET", "/api/v1/discovery", "").json();
        let versions = shown["versions"].as_array().unwrap();
        let is_it = |one: &&Value| one["model"] == model && one["version"] == version;
        versions.iter().find(is_it).cloned()
    }

    fn wait_for(&self, version: &str, waits_for: Option<&str>) -> Value {
        eventually(&format!("{version} waits for {waits_for:?}"), || {
            let sighting = self.sighting("fraud", version)?;
            let words = sighting["artifact"]["waits_for"].as_str();
            (words == waits_for).then_some(sighting)
        })
    }
}

fn model() -> Vec<u8> {
    std::fs::read(repository("config/models/iris/v1/model.onnx")).unwrap()
}

#[test]
fn a_folder_that_is_copied_waits_until_its_ready_agrees() {
    let store = Store::start("ready = true");
    let bytes = model();
    let folder = store.path("fraud/v1");
    std::fs::create_dir_all(&folder).unwrap();
    store.wait_for("v1", Some("there is no model.onnx"));
    std::fs::write(folder.join("model.onnx"), &bytes[..bytes.len() / 2]).unwrap();
    store.wait_for("v1", Some("there is no READY"));
    // The digest of the whole file, as `sha256sum` says; it is what the gateway says of its copy.
    let status = admin(&store.gateway, "GET", "/api/v1/status", "").json();
    let digest = status["models"]["iris"]["versions"]["v1"]["artifact"]["digest"].clone();
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    std::fs::write(folder.join("READY"), format!("{hex}  model.onnx\n")).unwrap();
    store.wait_for("v1", Some("`model.onnx` is not yet what READY says"));
    std::fs::write(folder.join("model.onnx"), &bytes).unwrap();
    let sighting = store.wait_for("v1", None);
    assert_eq!(sighting["artifact"]["digests"]["model.onnx"], digest);
    let incomplete = "pointsman_discovery_things{source=\"store\",state=\"incomplete\"}";
    assert_eq!(store.gateway.metric(incomplete), 0.0);
}

#[test]
fn a_folder_that_is_renamed_into_place_is_seen_and_an_emptied_store_takes_nothing_away() {
    let store = Store::start("settle = \"0s\"");
    for version in ["v1", "v2"] {
        let next = store.path(&format!("fraud/{version}.tmp"));
        std::fs::create_dir_all(&next).unwrap();
        std::fs::write(next.join("model.onnx"), model()).unwrap();
        std::fs::rename(&next, store.path(&format!("fraud/{version}"))).unwrap();
        store.wait_for(version, None);
    }
    let first = store.sighting("fraud", "v1").unwrap();
    std::fs::rename(store.path("fraud"), store.gateway.dir.path().join("elsewhere")).unwrap();
    eventually("empty", || (source(&store.gateway, "store")["state"] == "empty").then_some(()));
    let kept = store.sighting("fraud", "v1").unwrap();
    assert_eq!((&kept["absent_since_ms"], &kept["trusted"]), (&Value::Null, &json!(false)));
    std::fs::rename(store.gateway.dir.path().join("models"), store.gateway.dir.path().join("away"))
        .unwrap();
    eventually("failed", || (source(&store.gateway, "store")["state"] == "failed").then_some(()));
    assert_eq!(store.sighting("fraud", "v1").unwrap()["first_seen_ms"], first["first_seen_ms"]);
    assert!(
        wait_for_event(&store.gateway, "discovery.doubted")
            .contains("the 2 that are known are kept")
    );
}

#[test]
fn one_folder_of_several_that_is_removed_is_absent_since_then_and_nothing_else() {
    let store = Store::start("settle = \"0s\"");
    for version in ["v1", "v2", "v3"] {
        let folder = store.path(&format!("fraud/{version}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.onnx"), model()).unwrap();
        store.wait_for(version, None);
    }
    std::fs::remove_dir_all(store.path("fraud/v2")).unwrap();
    let gone = eventually("absent", || {
        let sighting = store.sighting("fraud", "v2")?;
        sighting["absent_since_ms"].is_u64().then_some(sighting)
    });
    assert_eq!(gone["trusted"], true);
    assert!(store.sighting("fraud", "v1").unwrap()["absent_since_ms"].is_null());
    assert!(wait_for_event(&store.gateway, "discovery.gone").contains("fraud/v2"));
}

#[test]
fn what_was_complete_is_complete_at_once_after_a_kill() {
    let store = Store::start("settle = \"0s\"");
    let folder = store.path("fraud/v1");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.onnx"), model()).unwrap();
    let before = store.wait_for("v1", None);
    let state = store.gateway.dir.path().join("data/state/discovery.json");
    eventually("it is written", || {
        std::fs::read_to_string(&state).ok().filter(|text| text.contains("\"waits_for\":null"))
    });
    let dir = store.gateway.kill();
    let config = format!(
        "[discovery.store]\ndirectory = \"models\"\nsettle = \"0s\"\n{}",
        crate::support::iris()
    );
    let store = Store { gateway: Gateway::start_in(dir, &config) };
    let after = store.sighting("fraud", "v1").unwrap();
    assert_eq!(after["first_seen_ms"], before["first_seen_ms"]);
    assert!(after["artifact"]["complete"].as_bool().unwrap());
}
