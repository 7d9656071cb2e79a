//! Versions at prediction servers that register themselves. The servers are gateways with a model of their own.

use super::rollout::{Load, patiently, stage};
use super::*;

/// A prediction server for `m`, and its registration.
pub(super) fn server(store: &Store, version: &str, factor: f32) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sum.onnx"), sum_times(factor)).unwrap();
    let server = Gateway::start_in(
        dir,
        &format!(
            "[models.m.versions.{version}]\nonnx = \"sum.onnx\"\n[log]\ndurability = \"off\"\n"
        ),
    );
    register(store, server.data, version);
    server
}

/// What a server at `address` says of itself.
pub(super) fn entry(address: std::net::SocketAddr, version: &str) -> Value {
    json!({ "address": format!("http://{address}"), "model": "m", "version": version,
            "dialect": "open_inference" })
}

const REGISTERED: &str = "
[discovery.register]
lease = \"10m\"
[models.m.release]
between = \"0s\"
[models.m.release.shadow]
pairs = 1000000
";

/// The same, and checks are given up after seconds.
fn impatient() -> String {
    let shadow = "[models.m.release.shadow]";
    REGISTERED.replace(shadow, &format!("validating = \"3s\"\n{shadow}"))
}

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
    let store = Store::start(&impatient());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sum.onnx"), sum_times(2.0)).unwrap();
    let other = Gateway::start_in(dir, "[models.other.versions.v1]\nonnx = \"sum.onnx\"\n");
    let body = json!({
        "address": format!("http://{}", other.data), "model": "m", "version": "v1",
        "dialect": "open_inference",
    });
    assert_eq!(store.order("registrations", &body).status, 201);
    let stopped = store.wait_for("v1", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("the model is not ready there"), "{why}");
    assert_eq!(store.predict().0, 503);
}

/// A rollout that waits on its first step, for half of the requests.
pub(super) const ON_TRIAL: &str = "
[discovery.register]
lease = \"10m\"
[models.m.release]
between   = \"0s\"
shadow    = { pairs = 0 }
steps     = [\"50%\"]
responses = [1000000]
dwell     = \"10m\"
";

#[test]
fn clients_see_nothing_of_a_server_that_dies_while_it_answers_a_share() {
    let store = Store::start(ON_TRIAL);
    let _first = server(&store, "v1", 2.0);
    store.approve_first();
    let load = Load::start(&store);
    let second = server(&store, "v2", 2.02);
    patiently("v2 is in canary", || (stage(&store, "v2")? == "canary").then_some(()));
    patiently("v2 answers", || (load.by_second() > 50).then_some(()));
    drop(second.kill());
    let stopped = patiently("v2 is stopped", || {
        let shown = store.version("v2")?;
        matches!(shown["stage"].as_str()?, "retired" | "quarantined").then_some(shown)
    });
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("stopped"), "{why}");
    let (by_second, answered) = (load.by_second(), load.end());
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));

    let rows = eventually("all is recorded", || {
        let rows = store.gateway.records();
        let answers = rows.iter().filter(|row| row["kind"] == "inference").count() as u64;
        (answers == answered + 1).then_some(rows)
    });
    let of = |kind: &str, reason: &str| {
        let is = |row: &&Value| row["kind"] == kind && row["decision_reason"] == reason;
        rows.iter().filter(is).collect::<Vec<_>>()
    };
    let fell_back = of("inference", "fallback");
    assert!(!fell_back.is_empty(), "some fell to the candidate when it was dead");
    assert!(fell_back.iter().all(|row| row["model_version"] == "v1" && row["status"] == 200));
    let tried = of("retry", "candidate");
    for row in &fell_back {
        let its = |tried: &&&Value| tried["parent_record_id"] == row["record_id"];
        assert!(tried.iter().any(|it| its(&it) && it["model_version"] == "v2"), "{row:#}");
    }
    let well = of("inference", "candidate");
    assert_eq!(well.len() as u64, by_second);
    assert!(well.iter().all(|row| row["model_version"] == "v2" && row["status"] == 200));
    let counted = "pointsman_retries_total{reason=\"fallback\"}";
    store.gateway.metric_is(counted, fell_back.len() as f64);
    let failed =
        "pointsman_requests_total{model=\"m\",version=\"v2\",pool=\"\",outcome=\"upstream_error\"}";
    store.gateway.metric_is(failed, fell_back.len() as f64);
}

#[test]
fn what_a_server_says_of_its_version_is_written_down_and_a_mistake_in_it_is_refused() {
    let store = Store::start(REGISTERED);
    let nobody = crate::support::nobody();
    let body = |trained_at: &str| {
        json!({
            "address": format!("http://{}", nobody.address), "model": "m", "version": "v1",
            "publisher": "nightly", "trained_at": trained_at,
        })
    };
    let refused = store.order("registrations", &body("yesterday"));
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("`trained_at` must be a moment such as"), "{}", refused.text());
    assert_eq!(store.order("registrations", &body("2026-01-01T00:00:00Z")).status, 201);
    let shown = eventually("it is sighted", || store.version("v1"));
    assert_eq!(shown["publisher"], "nightly", "{shown:#}");
    assert_eq!(shown["trained_at_ms"], 1_767_225_600_000_u64, "{shown:#}");
    // Another word later does not change what was written down.
    assert_eq!(store.order("registrations", &body("2026-06-01T00:00:00Z")).status, 201);
    let store = store.killed_and_started_again();
    let shown = store.version("v1").unwrap();
    assert_eq!(shown["trained_at_ms"], 1_767_225_600_000_u64, "{shown:#}");
}

/// Registers a server at `address` for `m`.
fn register(store: &Store, address: std::net::SocketAddr, version: &str) {
    let reply = store.order("registrations", &entry(address, version));
    assert_eq!(reply.status, 201, "{}", reply.text());
}

/// Servers that were asked who they are, by what came of it.
fn joins(store: &Store, outcome: &str) -> f64 {
    let series = format!("pointsman_admission_servers_total{{outcome=\"{outcome}\"}} ");
    let text = store.gateway.metrics();
    let value = text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok());
    value.unwrap_or(0.0)
}

/// A prediction server for `m` that is registered nowhere, at an address of its own or at a given one.
fn unregistered(version: &str, factor: f32, address: Option<std::net::SocketAddr>) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("sum.onnx"), sum_times(factor)).unwrap();
    let listen = address.map(|at| format!("listen = \"{at}\"\n")).unwrap_or_default();
    let config = format!(
        "{listen}[models.m.versions.{version}]\nonnx = \"sum.onnx\"\n[log]\ndurability = \"off\"\n"
    );
    Gateway::start_in(dir, &config)
}

#[test]
fn a_server_that_is_not_up_yet_is_checked_once_it_is_and_a_restored_one_is_tried_anew() {
    let store = Store::start(&impatient());
    let late = crate::support::nobody();
    register(&store, late.address, "v1");
    store.wait_for_words("v1", "checks that can be made: it cannot be asked");
    let stopped = store.wait_for("v1", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("for want of evidence"), "{why}");
    // Nobody is there still: what failed before does not count.
    store.ordered("models/m/versions/v1/restore");
    store.wait_for_words("v1", "checks that can be made: it cannot be asked");
    let _server = unregistered("v1", 2.0, Some(late.leave()));
    eventually("whoever restores it lets it go on", || {
        let version = store.version("v1")?;
        // Starting it may have taken longer than the patience of this test's gateway.
        if version["stage"] == "quarantined" {
            store.order("models/m/versions/v1/restore", &json!({ "who": "ann", "why": "up" }));
        }
        (version["stage"] == "live").then_some(())
    });
}

#[test]
fn a_server_that_joins_a_live_version_answers_clients_once_it_has_shown_who_it_is() {
    let store = Store::start(REGISTERED);
    let _first = server(&store, "v1", 2.0);
    store.approve_first();
    // Another model behind the same name.
    let _wrong = server(&store, "v1", 3.0);
    eventually("it is asked", || (joins(&store, "failed") >= 1.0).then_some(()));
    for _ in 0..40 {
        assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    }
    assert!(store.gateway.log().contains("it does not answer as the others do"));
    let joined = joins(&store, "passed");
    let second = server(&store, "v1", 2.0);
    eventually("it joins", || (joins(&store, "passed") > joined).then_some(()));
    let asked = || {
        second
            .metric("pointsman_requests_total{model=\"m\",version=\"v1\",pool=\"\",outcome=\"ok\"}")
    };
    let before = asked();
    eventually("it is asked by clients", || {
        assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
        (asked() > before).then_some(())
    });
    // After a start the servers that were let in answer at once, and the other one does not.
    let store = store.killed_and_started_again();
    eventually("ready", || (store.get("/readyz").status == 200).then_some(()));
    for _ in 0..20 {
        assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    }
}

#[test]
fn a_server_that_becomes_another_at_its_address_is_found_out_and_gets_no_requests_any_more() {
    let store = Store::start(REGISTERED);
    let address = crate::support::nobody();
    let place = address.address;
    let first = unregistered("v1", 2.0, Some(address.leave()));
    register(&store, place, "v1");
    store.approve_first();
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    drop(first.kill());
    assert_ne!(store.predict().0, 200, "it is away");
    // Its registration still holds.
    let other = unregistered("v9", 3.0, Some(place));
    let told = patiently("it is told", || {
        // That clients are failed makes haste.
        store.predict();
        let found = |(kind, _): &(String, String)| kind == "release.server_changed";
        store.events().into_iter().find(found)
    });
    assert!(told.1.contains(&format!("{place} is not m v1 any more")), "{told:?}");
    assert!(told.1.contains("it says that it has v9, and said v1 before"), "{told:?}");
    eventually("it gets no requests", || (store.predict().0 == 503).then_some(()));
    // The one that it was is let in again.
    drop(other.kill());
    let _first = unregistered("v1", 2.0, Some(place));
    patiently("it answers again", || (store.predict().0 == 200).then_some(()));
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
}
