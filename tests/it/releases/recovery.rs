//! What faults leave: the last good version answers.

use super::*;

#[test]
fn a_live_version_answers_again_as_soon_as_a_killed_gateway_is_back() {
    let store = Store::start("[models.m.release]\n");
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let mut store = store;
    for _ in 0..3 {
        store = store.killed_and_started_again();
        eventually("ready", || (store.get("/readyz").status == 200).then_some(()));
        assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()), "at the first request");
    }
    assert!(store.events().iter().any(|(kind, _)| kind == "release.recovered"));
}

#[test]
fn a_version_that_was_on_its_way_goes_on_after_a_kill_at_any_time() {
    for pause_ms in [0, 5, 20, 60, 150, 400] {
        let store = Store::start("[models.m.release]\n");
        store.publish_sum("m/v1", 2.0);
        std::thread::park_timeout(std::time::Duration::from_millis(pause_ms));
        let store = store.killed_and_started_again();
        store.wait_for("v1", "live");
        assert_eq!(store.predict().1, Some(20.0));
    }
}

#[test]
fn an_emptied_store_takes_nothing_away_not_even_over_a_restart() {
    let store =
        Store::start("[models.m.release]\n[models.m.evict]\nttl = \"1s\"\ngrace = \"0s\"\n");
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    std::fs::rename(store.folder("m"), store.gateway.dir.path().join("elsewhere")).unwrap();
    eventually("it is told", || {
        store.events().iter().any(|(kind, _)| kind == "discovery.doubted").then_some(())
    });
    store.wait_for_words("v1", "overdue");
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    let store = store.killed_and_started_again();
    eventually("ready", || (store.get("/readyz").status == 200).then_some(()));
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()), "from its own copy");
}
