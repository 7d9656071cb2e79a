//! A second version, under load: on copies, on a growing share, live.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use super::*;

/// Short trials.
const SHORT: &str = "
[models.m.release]
between   = \"0s\"
shadow    = { pairs = 60, limit = \"15s\" }
steps     = [\"20%\", \"50%\"]
responses = [40, 60]
dwell     = \"200ms\"
patience  = 60
[models.m.guard]
error_ratio = { margin = \"50%\" }
";

/// Clients that ask one request after the other; every one of them must be answered.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(store: &Store) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let address = store.gateway.data;
        let clients = (0..4).map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
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
                    answered.fetch_add(1, Relaxed);
                    std::thread::park_timeout(std::time::Duration::from_millis(2));
                }
                failures
            })
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    /// Ends it; how many requests were answered, all of them well.
    fn end(self) -> u64 {
        self.stop.store(true, Relaxed);
        for client in self.clients {
            let failures = client.join().unwrap();
            assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), failures.first());
        }
        self.answered.load(Relaxed)
    }
}

#[test]
fn a_second_version_becomes_live_step_by_step_without_a_failed_request() {
    let store = Store::start(SHORT);
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let load = Load::start(&store);
    store.publish_sum("m/v2", 2.02);
    store.wait_for("v2", "live");
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
    let store = Store::start(SHORT);
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let load = Load::start(&store);
    store.publish_sum("m/v2", 9.0);
    let stopped = store.wait_for("v2", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("stopped in shadow") && why.contains("agree"), "{why}");
    load.end();
    let answered = "pointsman_requests_total{model=\"m\",version=\"v2\",pool=\"\",outcome=\"ok\"}";
    let metrics = store.gateway.metrics();
    let of_clients = metrics.lines().find(|line| line.starts_with(answered));
    assert!(of_clients.is_none_or(|line| line.ends_with(" 0")), "{of_clients:?}");
    assert_eq!(store.predict().2, "v1");
}

#[test]
fn a_gateway_that_is_killed_in_a_rollout_goes_on_with_no_more_exposure() {
    let store = Store::start(SHORT);
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let load = Load::start(&store);
    store.publish_sum("m/v2", 2.02);
    store.wait_for_words("v2", "has been in canary");
    // Its clients go first, so that none of them sees the kill.
    load.end();
    let before = store.version("v2").unwrap()["share"].as_f64().unwrap();
    let store = store.killed_and_started_again();
    let after = store.version("v2").unwrap();
    assert!(after["share"].as_f64().unwrap() <= before.max(0.5), "{after:#}");
    assert_eq!(store.wait_for("v1", "live")["ready"], true);
    let load = Load::start(&store);
    store.wait_for("v2", "live");
    assert!(load.end() > 50);
}
