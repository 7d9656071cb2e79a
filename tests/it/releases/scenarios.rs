//! Scenarios that the pages about the patterns tell, as they happen to a gateway. The table in
//! `src/docs/releases.md` says which test proves which; names begin with the number of the scenario.

mod decay;
mod sources;
mod time;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::rollout::Load;
use super::*;

/// Servers that register themselves, and a trial on copies that only an order ends.
pub(super) const SERVERS: &str = "
[discovery.register]
lease = \"10m\"
[models.m.release]
between = \"0s\"
undo    = \"1h\"
[models.m.release.shadow]
pairs = 1000000
limit = \"1h\"
";

pub(super) fn register(store: &Store, server: &Server) {
    let reply = store.order("registrations", &server.entry());
    assert_eq!(reply.status, 201, "{}", reply.text());
}

/// `v1` is approved and live.
pub(super) fn first(store: &Store, server: &Server) {
    register(store, server);
    store.approve_first();
}

/// `v2` takes its place, and `v1` stands by.
fn second(store: &Store, server: &Server) {
    register(store, server);
    store.wait_for("v2", "shadow");
    store.ordered("models/m/versions/v2/promote");
    store.wait_for("v1", "standby");
}

/// What was told of this kind.
fn told(store: &Store, kind: &str) -> Vec<String> {
    let events = store.events().into_iter().filter(|(found, _)| found == kind);
    events.map(|(_, words)| words).collect()
}

/// A request for one version by its name.
fn ask_for(store: &Store, version: &str) -> Reply {
    store.gateway.post(&format!("/v2/models/m/versions/{version}/infer"), BODY)
}

/// Clients that ask for as long as `work` takes: some 200 requests a second for each path.
fn under_load<T>(
    store: &Store,
    paths: &[&str],
    check: impl Fn(&Reply) + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let request =
        |client: usize, _number| crate::support::client::post(paths[client / 2], "", BODY);
    asked_by(store, 2 * paths.len(), request, check, work)
}

/// So many clients that ask for as long as `work` takes; `request` is given the client and how often it has asked.
fn asked_by<T>(
    store: &Store,
    clients: usize,
    request: impl Fn(usize, usize) -> String + Sync,
    check: impl Fn(&Reply) + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let (stop, check, address) = (&AtomicBool::new(false), &check, store.gateway.data);
    let request = &request;
    std::thread::scope(|scope| {
        for client in 0..clients {
            scope.spawn(move || {
                let mut connection = Client::connect(address);
                for number in 0.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    connection.send(&request(client, number));
                    check(&connection.reply());
                    std::thread::park_timeout(Duration::from_millis(10));
                }
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn t1_a_version_that_appears_under_load_answers_within_seconds_and_no_request_fails() {
    let store = Store::start(
        "[models.m.release]\nbetween = \"0s\"\nshadow = { pairs = 0 }\nsteps = [\"50%\"]\nresponses = [50]\n\
         dwell = \"100ms\"\npatience = 1000\n[models.m.guard]\nerror_ratio = { margin = \"60%\" }\n",
    );
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let load = Load::start(&store);
    let published = Instant::now();
    store.publish_sum("m/v2", 2.1);
    eventually("it can be asked for", || (ask_for(&store, "v2").status == 200).then_some(()));
    assert!(published.elapsed() < Duration::from_secs(10), "{:?}", published.elapsed());
    store.wait_for("v2", "live");
    assert!(load.end() > 50);
    assert_eq!(store.predict(), (200, Some(21.0), "v2".to_owned()));
}

#[test]
fn t2_an_expired_version_that_nothing_can_follow_stays_and_an_alert_says_so() {
    let store =
        Store::start("[models.m.release]\n[models.m.evict]\nttl = \"1s\"\ngrace = \"0s\"\n");
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let why = store.wait_for_words("v1", "overdue");
    assert!(why.contains("old"), "{why}");
    eventually("it is told", || {
        told(&store, "release.alerted")
            .iter()
            .any(|words| words.contains("v1 is overdue"))
            .then_some(())
    });
    assert_eq!(store.gateway.metric("pointsman_release_alerts{model=\"m\"}"), 1.0);
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    for order in ["drain", "evict"] {
        let path = format!("models/m/versions/v1/{order}");
        let refused = store.order(&path, &json!({ "who": "a", "why": "b", "force": true }));
        assert_eq!(refused.status, 409, "{order}: {}", refused.text());
    }
}

#[test]
fn t3_a_version_whose_time_is_over_ends_the_requests_that_it_has() {
    let store = Store::start(
        "[models.m.release]\nbetween = \"0s\"\nundo = \"0s\"\nunproven = true\nproving = \"0s\"\n\
         shadow = { pairs = 1000000 }\n[models.m.evict]\nttl = \"3s\"\nkeep_proven = 1\ncool_down = \"0s\"\n\
         grace = \"0s\"\n",
    );
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.publish_sum("m/v2", 2.1);
    store.wait_for("v2", "shadow");
    store.ordered("models/m/versions/v2/promote");
    let mut held = store.gateway.client();
    let (begin, rest) = BODY.split_at(10);
    let head = "POST /v2/models/m/versions/v1/infer HTTP/1.1\r\nhost: a\r\n";
    held.send(&format!("{head}content-length: {}\r\n\r\n{begin}", BODY.len()));
    let draining = store.wait_for("v1", "draining");
    assert_eq!(draining["in_flight"], 1, "{draining:#}");
    assert!(draining["why"].as_str().unwrap().contains("the end of its 1 requests"));
    assert_ne!(ask_for(&store, "v1").status, 200, "no further ones");
    held.send(rest);
    let reply = held.reply();
    assert_eq!((reply.status, reply.header("x-pointsman-version")), (200, Some("v1")));
    assert!(reply.text().contains("20"), "{}", reply.text());
    store.wait_for("v1", "evicted");
    assert_eq!(store.predict(), (200, Some(21.0), "v2".to_owned()));
}

#[test]
fn t4_t5_a_collapsed_model_and_one_with_another_interface_are_refused_before_any_request() {
    let store = Store::start("[models.m.release]\nbetween = \"0s\"\n");
    let classes = |count: usize| {
        let weights: Vec<f32> = (0..4 * count).map(|at| at as f32 / 7.0).collect();
        let count = i64::try_from(count).unwrap();
        Graph::default()
            .input("x", FLOAT, &["N", "4"])
            .floats("w", &[4, count], &weights)
            .node("MatMul", &["x", "w"], "s")
            .node("Softmax", &["s"], "p")
            .output("p", FLOAT, &["N", &count.to_string()])
            .encode()
    };
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    // Its recorded answers are its own, and they are all the same.
    store.publish_sum("m/v2", 0.0);
    let collapsed = store.wait_for("v2", "quarantined");
    assert!(collapsed["why"].as_str().unwrap().contains("collapse:"), "{collapsed:#}");
    // Two classes where the champion has a number.
    store.publish("m/v3", &[("model.onnx", &classes(2))]);
    let other = store.wait_for("v3", "quarantined");
    assert!(other["why"].as_str().unwrap().contains("interface:"), "{other:#}");
    for version in ["v2", "v3"] {
        assert_ne!(ask_for(&store, version).status, 200, "{version}");
    }
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
}

#[test]
fn t16_after_a_kill_switch_no_request_reaches_the_version() {
    let (one, two) = (Server::start("v1", 2.0), Server::start("v2", 3.0));
    let store = Store::start(SERVERS);
    first(&store, &one);
    second(&store, &two);
    let answered = |reply: &Reply| assert_eq!(reply.status, 200, "{}", reply.text());
    under_load(&store, &["/v2/models/m/infer"; 2], answered, || {
        eventually("it answers", || (two.asked() > 50).then_some(()));
        store.ordered("models/m/versions/v2/kill");
        // Requests that had passed the gate by then, one for each client at most.
        let (of_one, of_two) = (one.asked(), two.asked());
        eventually("the standby answers", || (one.asked() > of_one + 100).then_some(()));
        assert!(two.asked() <= of_two + 4, "{of_two} and then {}", two.asked());
        let settled = two.asked();
        assert_ne!(ask_for(&store, "v2").status, 200);
        assert_eq!(two.asked(), settled, "not by its name either");
    });
    store.ordered("models/m/kill");
    let (of_one, of_two) = (one.asked(), two.asked());
    for _ in 0..20 {
        assert_eq!(store.predict().0, 503);
    }
    assert_eq!((one.asked(), two.asked()), (of_one, of_two));
}

#[test]
fn t20_a_shadow_that_hangs_delays_no_client_and_its_answers_are_kept_once_it_lives() {
    let (one, two) = (Server::start("v1", 2.0), Server::start("v2", 2.0));
    let store = Store::start(SERVERS);
    first(&store, &one);
    register(&store, &two);
    store.wait_for("v2", "shadow");
    two.set(Mood::Silent);
    let slowest = |count: u32| {
        let mut client = store.gateway.client();
        let request = crate::support::client::post("/v2/models/m/infer", "", BODY);
        let mut times: Vec<Duration> = (0..count)
            .map(|_| {
                let began = Instant::now();
                client.send(&request);
                let reply = client.reply();
                assert_eq!((reply.status, reply.header("x-pointsman-version")), (200, Some("v1")));
                began.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() * 99 / 100]
    };
    let hanging = slowest(400);
    eventually("copies were sent", || (two.asked() > 0).then_some(()));
    // A copy waits for seconds; a client that waited for one would, too.
    assert!(hanging < Duration::from_millis(500), "p99 {hanging:?}");
    two.set(Mood::Well);
    eventually("answers to copies are recorded", || {
        slowest(20);
        let records = store.gateway.records();
        let copy = records.iter().find(|one| one["kind"] == "shadow" && one["status"] == 200)?;
        assert_eq!(copy["model_version"], "v2");
        records.iter().any(|one| one["record_id"] == copy["parent_record_id"]).then_some(())
    });
    assert_eq!(store.version("v2").unwrap()["stage"], "shadow");
}

#[test]
fn t21_a_server_that_answers_in_any_name_and_a_file_with_another_digest_are_refused() {
    let lenient = Server::lenient("v1", 2.0);
    let store = Store::start(SERVERS);
    register(&store, &lenient);
    let stopped = store.wait_for("v1", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("a model that nobody has"), "{why}");
    assert_eq!(store.predict().0, 503);

    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    std::fs::write(dir.path().join("sum.onnx"), sum_times(4.0)).unwrap();
    let digest = "0".repeat(64);
    let store = Store::start_in(
        dir,
        &format!(
            "[models.m.release]\n[models.m.versions.v1]\nonnx = \"sum.onnx\"\ndigest = \"sha256:{digest}\"\n"
        ),
    );
    let stopped = store.wait_for("v1", "quarantined");
    assert!(stopped["why"].as_str().unwrap().contains("identity"), "{stopped:#}");
    assert_eq!(store.predict().0, 503);
}

#[test]
fn t22_pins_kill_switches_clocks_and_quarantine_survive_a_restart() {
    let store = Store::start(
        "[models.m.release]\nbetween = \"0s\"\nundo = \"1h\"\nshadow = { pairs = 1000000 }\n\
         [models.m.evict]\nttl = \"1h\"\n",
    );
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.publish_sum("m/v2", 2.1);
    store.wait_for("v2", "shadow");
    store.ordered("models/m/versions/v2/promote");
    store.ordered("models/m/versions/v1/pin");
    store.ordered("models/m/versions/v2/kill");
    store.publish("m/v3", &[("model.onnx", b"no model")]);
    store.wait_for("v3", "quarantined");
    let state = |store: &Store, version: &str| {
        let shown = store.version(version).unwrap();
        let marks = ["stage", "pinned", "held", "killed", "digest"].map(|key| shown[key].clone());
        (marks, shown["for_seconds"].as_f64().unwrap(), shown["verdict"].clone())
    };
    let versions = ["v1", "v2", "v3"];
    let before = versions.map(|version| state(&store, version));
    let check = |store: &Store, how: &str| {
        for (version, (marks, age, verdict)) in versions.iter().zip(&before) {
            let (after, later, same) = state(store, version);
            assert_eq!((&after, &same), (marks, verdict), "{how}: {version}");
            assert!(later >= *age, "{how}: {version}: {age} and now {later}");
        }
        assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()), "{how}");
    };
    let store = store.killed_and_started_again();
    check(&store, "SIGKILL");
    let Store { gateway, config } = store;
    let store = Store { gateway: Gateway::start_in(gateway.stop(), &config), config };
    check(&store, "SIGTERM");
    // The same content is not tried again.
    store.publish("m/v4", &[("model.onnx", b"no model")]);
    let again = store.wait_for("v4", "quarantined");
    assert!(again["why"].as_str().unwrap().contains("its content is that of v3"), "{again:#}");
}
