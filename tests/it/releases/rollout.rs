//! A second version, under load: on copies, on a growing share, live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use super::*;

/// Short trials, with `shadow` for the one on copies.
fn short(shadow: &str) -> String {
    SHORT.replace("SHADOW", shadow)
}

const SHORT: &str = "
[models.m.release]
between   = \"0s\"
shadow    = { SHADOW }
steps     = [\"20%\", \"50%\"]
responses = [40, 60]
dwell     = \"200ms\"
patience  = 60
[models.m.guard]
error_ratio = { margin = \"50%\" }
";

/// Clients that ask one request after the other; every one of them must be answered.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    /// How many of them were answered by `v2`.
    by_second: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub(super) fn start(store: &Store) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (answered, by_second) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let address = store.gateway.data;
        let clients = (0..4).map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let by_second = Arc::clone(&by_second);
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let request = crate::support::client::post("/v2/models/m/infer", "", BODY);
                let mut failures = Vec::new();
                while !stop.load(Relaxed) {
                    client.send(&request);
                    let reply = client.reply();
                    if reply.status != 200 || reply.cut {
                        failures.push(format!("{}: {}", reply.status, reply.text()));
                    }
                    let is_second = reply.header("x-pointsman-version") == Some("v2");
                    by_second.fetch_add(u64::from(is_second), Relaxed);
                    answered.fetch_add(1, Relaxed);
                    std::thread::park_timeout(std::time::Duration::from_millis(2));
                }
                failures
            })
        });
        let clients = clients.collect();
        Self { stop, answered, by_second, clients }
    }

    /// How many requests `v2` has answered.
    pub(super) fn by_second(&self) -> u64 {
        self.by_second.load(Relaxed)
    }

    /// Ends it; how many requests were answered, all of them well.
    pub(super) fn end(self) -> u64 {
        self.stop.store(true, Relaxed);
        for client in self.clients {
            let failures = client.join().unwrap();
            assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), failures.first());
        }
        self.answered.load(Relaxed)
    }
}

/// Waits for longer than most tests do: so many copies take their time.
pub(super) fn patiently<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(std::time::Instant::now() < until, "timed out: {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

pub(super) fn stage(store: &Store, version: &str) -> Option<String> {
    Some(store.version(version)?["stage"].as_str()?.to_owned())
}

#[test]
fn a_second_version_becomes_live_step_by_step_without_a_failed_request() {
    // A machine that is busy drops copies and is slow: what is shown is the way.
    let copies = "pairs = 500, limit = \"2m\", drops = \"100%\", slower = 1000.0";
    let store = Store::start(&short(copies));
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let load = Load::start(&store);
    store.publish_sum("m/v2", 2.02);
    patiently("v2 is live", || (stage(&store, "v2")? == "live").then_some(()));
    assert_eq!(store.wait_for("v1", "standby")["ready"], true, "ready to come back");
    assert_eq!(store.predict(), (200, Some(20.2), "v2".to_owned()));
    assert!(load.end() > 100);
    let told: Vec<String> = store.events().into_iter().map(|(_, words)| words).collect();
    let ways = [
        "gets copies of requests",
        "v2 answers 20% of the requests",
        "goes on to 50%",
        "v2 is live",
    ];
    let at = |words: &str| told.iter().position(|told| told.contains(words));
    let places: Vec<_> = ways.iter().map(|words| at(words)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {told:#?}");
    let shown = store.version("v2").unwrap();
    assert_eq!(shown["proven"], true, "{shown:#}");
}

#[test]
fn a_version_that_disagrees_on_copies_is_stopped_and_clients_see_nothing_of_it() {
    let store = Store::start(&short("pairs = 30, limit = \"2s\""));
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let load = Load::start(&store);
    store.publish_sum("m/v2", 9.0);
    let stopped = store.wait_for("v2", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("of its answers agree with the champion's"), "{why}");
    load.end();
    let answered = "pointsman_requests_total{model=\"m\",version=\"v2\",pool=\"\",outcome=\"ok\"}";
    let metrics = store.gateway.metrics();
    let of_clients = metrics.lines().find(|line| line.starts_with(answered));
    assert!(of_clients.is_none_or(|line| line.ends_with(" 0")), "{of_clients:?}");
    assert_eq!(store.predict().2, "v1");
}

#[test]
fn a_gateway_that_is_killed_in_a_rollout_goes_on_with_no_more_exposure() {
    let store = Store::start(&short("pairs = 0"));
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.publish_sum("m/v2", 2.02);
    // Nobody asks, so that it stays on its first step.
    let before = store.wait_for("v2", "canary")["share"].as_f64().unwrap();
    let store = store.killed_and_started_again();
    let after = store.version("v2").unwrap();
    assert_eq!((&after["stage"], after["share"].as_f64()), (&json!("canary"), Some(before)));
    assert_eq!(store.wait_for("v1", "live")["ready"], true);
    let load = Load::start(&store);
    patiently("v2 is live", || (stage(&store, "v2")? == "live").then_some(()));
    assert!(load.end() > 50);
    assert_eq!(store.predict(), (200, Some(20.2), "v2".to_owned()));
}
