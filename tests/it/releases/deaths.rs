//! A gateway that dies again and again while a version is on trial: SIGKILL right after an answer stands for a model
//! that takes the process with it.

use super::*;
use crate::support::Backend;

/// A rollout that waits on its first step, for half of the requests.
const ON_TRIAL: &str = "
[models.m.release]
between   = \"0s\"
unproven  = true
shadow    = { pairs = 0 }
steps     = [\"50%\"]
responses = [1000000]
dwell     = \"1h\"
";

/// Asks until the candidate has answered.
fn ask_until_answered_by(store: &Store, version: &str) {
    eventually(&format!("{version} answers"), || (store.predict().2 == version).then_some(()));
}

fn words(store: &Store, kind: &str) -> Vec<String> {
    let events = store.events().into_iter().filter(|(found, _)| found == kind);
    events.map(|(_, words)| words).collect()
}

#[test]
fn a_candidate_under_which_the_gateway_dies_twice_is_out_and_the_champion_answers() {
    let mut store = Store::start(ON_TRIAL);
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.publish_sum("m/v2", 2.1);
    store.wait_for("v2", "canary");
    // Ends in good order say nothing about it.
    for _ in 0..3 {
        ask_until_answered_by(&store, "v2");
        store = store.ended_and_started_again();
    }
    assert_eq!(words(&store, "release.died"), [""; 0]);
    for death in 1..=2 {
        assert_eq!(store.wait_for("v2", "canary")["share"], 0.5, "{death}");
        ask_until_answered_by(&store, "v2");
        store = store.killed_and_started_again();
        let died = words(&store, "release.died");
        assert_eq!(died.len(), death, "{died:?}");
        assert!(died[0].contains("m v1 (live), m v2 (canary)"), "{died:?}");
    }
    let out = store.wait_for("v2", "quarantined");
    let why = out["why"].as_str().unwrap();
    assert!(why.contains("stopped for the gateway's sake"), "{why}");
    assert!(why.contains("without a farewell 2 times in a row"), "{why}");
    for _ in 0..40 {
        assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    }
    assert!(words(&store, "release.stopped")[0].contains("v2 is stopped for the gateway's sake"));
    // The live one stays, whatever it was; that it may have been the one is told.
    eventually("it is told", || {
        let told = words(&store, "release.alerted");
        told.iter()
            .any(|words| words.contains("dies again and again while v1 is live"))
            .then_some(())
    });
    let mut store = store.killed_and_started_again();
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    assert_eq!(store.version("v2").unwrap()["stage"], "quarantined");

    // It is not condemned: an operator has it tried again, and it begins anew.
    store.ordered("models/m/versions/v2/restore");
    store.wait_for("v2", "canary");
    ask_until_answered_by(&store, "v2");
    store = store.killed_and_started_again();
    store.wait_for("v2", "canary");
    ask_until_answered_by(&store, "v2");
}

#[test]
fn a_gateway_that_dies_before_it_serves_counts_against_nobody() {
    let mut store = Store::start(ON_TRIAL);
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.publish_sum("m/v2", 2.1);
    store.wait_for("v2", "canary");
    // A source that does not answer keeps a start waiting for a while.
    let silent = Backend::script(|connection| {
        connection.request();
        connection.wait_for_close();
    });
    let Store { gateway, config } = store;
    let slow =
        format!("{config}[discovery.slow]\ncatalogue = \"http://{}/list\"\n", silent.address);
    let mut dir = gateway.stop();
    for _ in 0..3 {
        let again = Gateway::spawn(dir, &slow);
        eventually("it has read its journal", || {
            again.log().contains("the life cycle's journal is read").then_some(())
        });
        dir = again.kill();
    }
    store = Store { gateway: Gateway::start_in(dir, &config), config };
    assert_eq!(words(&store, "release.died"), [""; 0]);
    assert_eq!(store.wait_for("v2", "canary")["share"], 0.5);
}
