//! Orders of operators: over the admin API and the command line.

use super::*;

#[test]
fn a_kill_switch_acts_at_once_and_survives_a_kill_of_the_process() {
    let store = Store::start(
        "[models.m.release]\n[models.other.versions.v1]\nbackends = [\"http://127.0.0.1:1\"]\n",
    );
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.ordered("models/m/kill");
    assert_eq!(store.predict().0, 503, "no request passes once the order is answered");
    let store = store.killed_and_started_again();
    assert_eq!(store.predict().0, 503);
    let why = store.version("v1").unwrap()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("its model cut off by ann (\"a test\")"), "{why}");
    assert_eq!(store.order("models/m/kill", &json!({ "who": "a", "why": "b" })).status, 409);
    store.ordered("models/m/unkill");
    assert_eq!(store.predict().0, 200);
    for (on, off) in
        [("models/m/versions/v1/kill", "models/m/versions/v1/unkill"), ("kill", "unkill")]
    {
        store.ordered(on);
        assert_eq!(store.predict().0, 503, "{on}");
        store.ordered(off);
        assert_eq!(store.predict().0, 200, "{off}");
    }
    // A model whose versions are those of the configuration can be cut off as well.
    store.ordered("models/other/kill");
    let killed = store.gateway.post("/v2/models/other/infer", "{}");
    assert_ne!(killed.error(), "connect_failed", "{}", killed.text());
    assert_eq!(killed.status, 503, "{}", killed.text());
    store.ordered("models/other/unkill");
}

#[test]
fn an_order_says_who_and_why_and_fits_what_is_there() {
    let store = Store::start("[models.m.release]\n");
    store.publish_sum("m/v1", 2.0);
    let live = store.wait_for("v1", "live");
    let signed = |more: Value| {
        let mut body = json!({ "who": "ann", "why": "a test" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let generation = live["generation"].as_u64().unwrap();
    let cases = [
        (
            "models/m/versions/v1/pin",
            json!({ "who": "ann", "why": " " }),
            400,
            "who gives it and why",
        ),
        ("models/m/versions/v1/pin", json!({ "who": "ann" }), 400, "no order"),
        ("models/m/versions/v9/pin", signed(json!({})), 404, "no version v9"),
        ("models/x/versions/v1/pin", signed(json!({})), 404, "no model x"),
        ("models/m/versions/v1/fly", signed(json!({})), 404, "no such order"),
        ("models/m/versions/v1/drain", signed(json!({})), 409, "promote another version first"),
        ("models/m/versions/v1/evict", signed(json!({ "force": true })), 409, "promote another"),
        ("models/m/rollback", signed(json!({})), 409, "no earlier champion is loaded"),
        (
            "models/m/versions/v1/pin",
            signed(json!({ "expected_generation": 1 })),
            409,
            "look again",
        ),
    ];
    for (path, body, status, words) in cases {
        let reply = store.order(path, &body);
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        assert!(reply.text().contains(words), "{path}: {}", reply.text());
    }
    let body = signed(json!({ "expected_generation": generation }));
    let done = store.order("models/m/versions/v1/pin", &body);
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(done.json()["generation"], generation + 1);
    let pinned = store.version("v1").unwrap();
    assert_eq!(pinned["pinned"], true);
    assert!(pinned["why"].as_str().unwrap().contains("pinned by ann (\"a test\")"), "{pinned:#}");
}

#[test]
fn the_command_line_lists_shows_and_directs() {
    let store = Store::start("[models.m.release]\n");
    store.publish("m/v1", &[("model.onnx", &sum_times(3.0))]);
    store.wait_for_words("v1", "an operator's approval");
    let signed = ["--who", "ann", "--why", "it is good"];
    let (ok, told) =
        store.command(&[&["versions", "approve", "m", "v1"][..], &signed[..]].concat());
    assert!(ok && told.contains("m v1 was approved (by ann: it is good)."), "{told}");
    store.wait_for("v1", "live");
    let (ok, listed) = store.command(&["versions", "list"]);
    assert!(
        ok && listed.contains("m (generation") && listed.contains("v1 has been live"),
        "{listed}"
    );
    let (ok, shown) = store.command(&["versions", "show", "m", "v1"]);
    assert!(ok && shown.starts_with("v1 has been live for") && shown.contains("digest"), "{shown}");
    assert!(
        shown.contains("the first of its model") && shown.contains("(event "),
        "it says why: {shown}"
    );
    let (ok, json) = store.command(&["versions", "list", "m", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(ok && json["versions"][0]["stage"] == "live", "{json}");
    let (ok, refused) =
        store.command(&[&["versions", "promote", "m", "v1"][..], &signed[..]].concat());
    assert!(!ok && refused.contains("it is so already"), "{refused}");
    let (ok, usage) = store.command(&["versions", "pin", "m", "v1", "--who", "ann"]);
    assert!(!ok && usage.contains("--why"), "{usage}");
}

#[test]
fn a_manual_model_waits_for_its_operator_and_a_rejected_version_never_answers() {
    let store = Store::start("[models.m.release]\nmode = \"manual\"\nbetween = \"0s\"\n");
    store.publish_sum("m/v1", 2.0);
    store.wait_for_words("v1", "it waits for an operator's approval");
    let done = store.ordered("models/m/versions/v1/reject");
    assert!(done["event"].as_str().unwrap().contains("quarantined by an operator"), "{done}");
    assert_eq!(store.predict().0, 503);
    store.publish_sum("m/v2", 2.5);
    store.wait_for_words("v2", "it waits for an operator's approval");
    store.ordered("models/m/versions/v2/approve");
    store.wait_for("v2", "live");
    assert_eq!(store.predict(), (200, Some(25.0), "v2".to_owned()));
}

#[test]
fn a_version_without_a_life_cycle_has_a_kill_switch_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    for (version, factor) in [("v1", 2.0), ("v2", 3.0)] {
        std::fs::write(dir.path().join(format!("{version}.onnx")), sum_times(factor)).unwrap();
    }
    let config = "[models.m]\ntraffic = { v1 = \"100%\" }\n[models.m.versions.v1]\nonnx = \"v1.onnx\"\n\
                  [models.m.versions.v2]\nonnx = \"v2.onnx\"\n";
    let store = Store::start_in(dir, config);
    let by_name = |store: &Store, version: &str| {
        store.gateway.post(&format!("/v2/models/m/versions/{version}/infer"), BODY).status
    };
    assert_eq!((by_name(&store, "v1"), by_name(&store, "v2")), (200, 200));
    store.ordered("models/m/versions/v2/kill");
    assert_eq!((by_name(&store, "v1"), by_name(&store, "v2")), (200, 503));
    let store = store.killed_and_started_again();
    eventually("ready", || (store.get("/readyz").status == 200).then_some(()));
    assert_eq!((by_name(&store, "v1"), by_name(&store, "v2")), (200, 503));
    let unknown = store.order("models/m/versions/v9/kill", &json!({ "who": "a", "why": "b" }));
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    store.ordered("models/m/versions/v2/unkill");
    assert_eq!(by_name(&store, "v2"), 200);
}

#[test]
fn a_web_page_gives_no_orders() {
    let store = Store::start("[models.m.release]\n");
    let body = r#"{"who":"a page","why":"mischief"}"#;
    let send = |path: &str, host: &str, headers: &str| {
        let mut client = Client::connect(store.gateway.admin);
        let length = body.len();
        client.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ));
        client.reply()
    };
    let json = "content-type: application/json\r\n";
    for (headers, status) in [
        (String::new(), 415),
        ("content-type: text/plain\r\n".to_owned(), 415),
        (format!("{json}origin: http://evil.example\r\n"), 403),
        // A name that was made to point here.
        (format!("{json}origin: http://a\r\n"), 403),
    ] {
        let reply = send("/api/v1/kill", "a", &headers);
        assert_eq!(reply.status, status, "{headers}: {}", reply.text());
    }
    let admin = store.gateway.admin.to_string();
    let own = format!("{json}origin: http://{admin}\r\n");
    assert_eq!(send("/api/v1/kill", &admin, &own).status, 200);
    // Nor does it register a server of its own, or load a model.
    for path in ["/api/v1/registrations", "/api/v1/models/m/versions/v1/load"] {
        let reply = send(path, "a", "origin: http://evil.example\r\n");
        assert_eq!(reply.status, 403, "{path}: {}", reply.text());
    }
}
