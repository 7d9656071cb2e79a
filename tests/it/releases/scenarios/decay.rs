//! Versions that serve and get worse: one bad look, several, too few, and two versions at once. A clock that runs
//! sixty times as fast closes a minute of the monitor each second.

use super::*;

fn level(store: &Store, version: &str) -> Option<String> {
    let shown = store.version(version)?;
    Some(shown["health"]["signals"]["slo_burn"]["level"].as_str()?.to_owned())
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
