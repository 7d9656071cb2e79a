//! Versions that serve and get worse: one bad look, several, too few, and two versions at once. A clock that runs
//! sixty times as fast closes a minute of the monitor each second.

use super::*;
use crate::drift::Numbers;

fn level(store: &Store, version: &str) -> Option<String> {
    level_of(store, version, "slo_burn")
}

fn level_of(store: &Store, version: &str, signal: &str) -> Option<String> {
    let shown = store.version(version)?;
    Some(shown["health"]["signals"][signal]["level"].as_str()?.to_owned())
}

const MODEL: &str = "/v2/models/m/infer";
const STANDBY: &str = "/v2/models/m/versions/v1/infer";

/// `v2` live and `v1` standby, a minute a second.
fn fast(more: &str) -> (Clock, Store, Server, Server) {
    let clock = Clock::new();
    let (one, two) = (Server::start("v1", 2.0), Server::start("v2", 3.0));
    let store = Store::start_at(&clock, &format!("{SERVERS}{more}[monitor]\ncpu = \"100%\"\n"));
    first(&store, &one);
    second(&store, &two);
    clock.set(0.0, 60.0);
    (clock, store, one, two)
}

#[test]
fn t8_one_dip_changes_nothing_and_a_lasting_one_is_rolled_back_once() {
    let (_clock, store, _one, two) = fast("");
    under_load(
        &store,
        &[MODEL],
        |_| {},
        || {
            eventually("windows come", || (level(&store, "v2")? == "healthy").then_some(()));
            two.set(Mood::FailsEvery(7));
            eventually("the dip is seen", || (level(&store, "v2")? == "suspect").then_some(()));
            two.set(Mood::Well);
            eventually("it passes", || (level(&store, "v2")? == "healthy").then_some(()));
            assert_eq!(store.version("v2").unwrap()["stage"], "live");
            assert_eq!(told(&store, "release.stopped"), [""; 0]);
            two.set(Mood::FailsEvery(7));
            store.wait_for("v2", "quarantined");
            store.wait_for("v1", "live");
            std::thread::park_timeout(Duration::from_secs(3));
        },
    );
    let stopped = told(&store, "release.stopped");
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    assert!(stopped[0].contains("errors and slow responses speaks against v2"), "{stopped:?}");
    assert!(stopped[0].contains("v1 is live again"), "{stopped:?}");
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
}

#[test]
fn t7_too_few_samples_and_labels_that_never_come_evict_nothing() {
    let more = "[models.m.guard]\nsamples = 1000000\n[models.m.labels]\nclasses = [\"a\", \"b\"]\n\
                predicted = \"/outputs/0/data/0\"\n[models.m.alarms]\nquality = { accuracy = \"90%\" }\n";
    let (_clock, store, _one, two) = fast(more);
    two.set(Mood::FailsEvery(2));
    under_load(&store, &[MODEL], |_| {}, || std::thread::park_timeout(Duration::from_secs(8)));
    let shown = store.version("v2").unwrap();
    assert_eq!(shown["stage"], "live", "{shown:#}");
    for (_, reading) in shown["health"]["signals"].as_object().unwrap() {
        assert_eq!(reading["level"], "healthy", "{shown:#}");
    }
    assert_eq!(store.version("v1").unwrap()["stage"], "standby");
    assert_eq!(told(&store, "release.stopped"), [""; 0]);
}

#[test]
fn t9_two_versions_that_degrade_together_both_stay_and_an_alert_says_so() {
    // A minute closes for both alike, however few they answer in it: all of that fails.
    let (clock, store, one, two) = fast("[models.m.guard]\nsamples = 1\n");
    one.set(Mood::FailsEvery(1));
    two.set(Mood::FailsEvery(1));
    std::thread::park_timeout(clock.to_the_next_minute());
    under_load(
        &store,
        &[MODEL, STANDBY],
        |_| {},
        || {
            eventually("it is told", || {
                let alerts = told(&store, "release.alerted");
                alerts.iter().any(|words| words.contains("are degraded together")).then_some(())
            });
            std::thread::park_timeout(Duration::from_secs(2));
        },
    );
    assert_eq!(store.version("v2").unwrap()["stage"], "live");
    assert_eq!(store.version("v1").unwrap()["stage"], "standby");
    let why = store.version("v2").unwrap()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("someone to look at the input or the host"), "{why}");
    let refused = store.order("models/m/versions/v1/drain", &json!({ "who": "a", "why": "b" }));
    assert!(refused.text().contains("the input or the host is at fault"), "{}", refused.text());
    one.set(Mood::Well);
    two.set(Mood::Well);
    assert_eq!(store.predict(), (200, Some(30.0), "v2".to_owned()));
}

/// Rows with a length of about forty metres and three other numbers.
fn lengths(seed: u64, count: usize) -> impl Iterator<Item = [f64; 4]> {
    let mut numbers = Numbers(seed);
    (0..count).map(move |_| [40.0, 2.0, 3.0, 4.0].map(|mean| mean * (1.0 + 0.1 * numbers.next())))
}

/// The baseline that `pointsman baseline` makes of such lengths.
fn baseline_of_lengths() -> Value {
    let dir = tempfile::tempdir().unwrap();
    let lines =
        lengths(1, 3000).map(|row| format!("{},{},{},{}\n", row[0], row[1], row[2], row[3]));
    let rows: String = lines.collect();
    let file = dir.path().join("data.csv");
    std::fs::write(&file, format!("x[0],x[1],x[2],x[3]\n{rows}")).unwrap();
    let file = file.display().to_string();
    let made = command_in(dir.path(), &["baseline", "m", "v1", "--data", &file]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    serde_json::from_slice(&made.stdout).unwrap()
}

#[test]
fn t14_a_field_in_yards_instead_of_metres_is_told_and_no_version_is_blamed_for_it() {
    let clock = Clock::new();
    let store = Store::start_at(
        &clock,
        "[models.m.release]\nbetween = \"0s\"\nundo = \"1h\"\n\
         shadow = { pairs = 1000000, limit = \"1h\", drops = \"100%\" }\n\
         [monitor.drift]\nwindow = \"minute\"\n[monitor]\ncpu = \"100%\"\n",
    );
    let mut baseline = baseline_of_lengths();
    for (version, factor) in [("v1", 2.0), ("v2", 2.1)] {
        baseline["version"] = json!(version);
        let (golden, baseline) = (golden(factor), baseline.to_string());
        let files: [(&str, &[u8]); 3] = [
            ("model.onnx", &sum_times(factor)),
            ("golden.jsonl", golden.as_bytes()),
            ("baseline.json", baseline.as_bytes()),
        ];
        store.publish(&format!("m/{version}"), &files);
        store.wait_for(version, if version == "v1" { "live" } else { "shadow" });
    }
    clock.set(0.0, 60.0);
    let body = |scale: f64, row: [f64; 4]| {
        let row = [row[0] * scale, row[1], row[2], row[3]];
        let input = json!({ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": row });
        let body = json!({ "inputs": [input] }).to_string();
        crate::support::client::post("/v2/models/m/infer", "", &body)
    };
    let [metres, yards] = [1.0, 1.09]
        .map(|scale| lengths(2, 1009).map(|row| body(scale, row)).collect::<Vec<String>>());
    let in_yards = AtomicBool::new(false);
    let request = |client: usize, number: usize| {
        let requests = if in_yards.load(Relaxed) { &yards } else { &metres };
        requests[(number * 4 + client) % requests.len()].clone()
    };
    let answered = |reply: &Reply| {
        assert_eq!((reply.status, reply.header("x-pointsman-version")), (200, Some("v1")));
    };
    let drifts = || {
        let shown = store.get("/api/v1/alarms").json();
        let active = shown["active"].as_array().unwrap();
        active.iter().find(|alarm| alarm["alarm"] == "drift").cloned()
    };
    asked_by(&store, 4, request, answered, || {
        eventually("metres are as in the baseline", || {
            (level_of(&store, "v1", "input_drift")? == "healthy").then_some(())
        });
        assert_eq!(drifts(), None);
        in_yards.store(true, Relaxed);
        let alarm = eventually("an alarm", drifts);
        assert_eq!(alarm["model"], "m", "{alarm:#}");
        assert!(alarm["evidence"].to_string().contains("x[0]"), "{alarm:#}");
        eventually("the version shows it", || {
            (level_of(&store, "v1", "input_drift")? == "degraded").then_some(())
        });
        std::thread::park_timeout(Duration::from_secs(2));
    });
    // All versions see the same inputs: neither the champion nor the candidate is to blame.
    assert_eq!(store.version("v1").unwrap()["stage"], "live");
    assert_eq!(store.version("v2").unwrap()["stage"], "shadow");
    assert_eq!(told(&store, "release.stopped"), [""; 0]);
}
