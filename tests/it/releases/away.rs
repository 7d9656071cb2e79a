//! A live version that cannot answer: somebody is told at once, and who can answer does.

use std::time::Duration;

use super::rollout::patiently;
use super::servers::ON_TRIAL;
use super::told::{receiver, sentences};
use super::*;

/// What was told of live versions that cannot answer.
fn told(store: &Store) -> Vec<String> {
    let events = store.events().into_iter();
    let words = events.filter(|(kind, _)| kind == "release.alerted").map(|(_, words)| words);
    words.filter(|words| words.contains("is live and cannot answer")).collect()
}

#[test]
fn a_live_version_that_cannot_be_loaded_is_critical_until_it_answers_again() {
    let (backend, alerts, _down) = receiver();
    let store = Store::start(&format!(
        "[models.m.release]\n[alarms]\nwebhook = \"http://{}/hook\"\nbackoff = \"100ms\"\n",
        backend.address
    ));
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    // Its copy is damaged, and there is no other.
    let elsewhere = store.gateway.dir.path().join("elsewhere");
    std::fs::rename(store.folder("m"), &elsewhere).unwrap();
    let copies = store.gateway.dir.path().join("data/models/m/v1");
    let copy = std::fs::read_dir(copies).unwrap().next().unwrap().unwrap().path();
    std::fs::write(copy.join("model.onnx"), sum_times(9.0)).unwrap();
    let store = store.killed_and_started_again();
    assert_eq!(store.predict().0, 503);
    let words = patiently("it is told", || told(&store).into_iter().next());
    assert!(words.contains("m: began: v1 is live and cannot answer: for "), "{words}");
    assert!(words.contains("is not what was fetched"), "{words}");
    assert!(words.contains("nobody answers in its place"), "{words}");
    store.gateway.metric_is("pointsman_release_alerts{model=\"m\"}", 1.0);
    store.wait_for_words("v1", "unable to answer for");
    eventually("the webhook has it", || {
        let called = sentences(&alerts).into_iter().any(|(_, told)| told == words);
        called.then_some(())
    });
    let severity = alerts.lock().iter().find_map(|alert| {
        let is_it = alert["annotations"]["summary"] == *words;
        is_it.then(|| alert["labels"]["severity"].clone())
    });
    assert_eq!(severity, Some(json!("critical")));
    // Its source is back, and with it the version.
    std::fs::rename(&elsewhere, store.folder("m")).unwrap();
    patiently("it answers again", || (store.predict().0 == 200).then_some(()));
    patiently("that is told, too", || {
        told(&store).iter().any(|words| words.contains("m: ended:")).then_some(())
    });
    store.gateway.metric_is("pointsman_release_alerts{model=\"m\"}", 0.0);
}

#[test]
fn a_live_version_that_the_configuration_names_no_more_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    std::fs::write(dir.path().join("sum.onnx"), sum_times(4.0)).unwrap();
    let with = "[models.m.release]\n[models.m.versions.v1]\nonnx = \"sum.onnx\"\n";
    let store = Store::start_in(dir, with);
    store.wait_for("v1", "live");
    let store = Store::start_in(store.gateway.stop(), "[models.m.release]\n");
    assert_eq!(store.predict().0, 503);
    let words = patiently("it is told", || told(&store).into_iter().next());
    assert!(words.contains("the configuration does not name it any more"), "{words}");
    let store = Store::start_in(store.gateway.stop(), with);
    assert_eq!(store.predict(), (200, Some(40.0), "v1".to_owned()));
    patiently("that is told, too", || {
        told(&store).iter().any(|words| words.contains("m: ended:")).then_some(())
    });
}

/// Longer than any version goes without a look.
const LOOK: Duration = Duration::from_millis(1500);

#[test]
fn a_champion_that_is_away_takes_no_healthy_candidates_share_with_it() {
    let (one, two) = (Server::start("v1", 2.0), Server::start("v2", 2.0));
    let store = Store::start(ON_TRIAL);
    let granted = store.order("registrations", &one.entry());
    assert_eq!(granted.status, 201, "{}", granted.text());
    let id = granted.json()["id"].as_str().unwrap().to_owned();
    store.wait_for_words("v1", "an operator's approval");
    store.ordered("models/m/versions/v1/approve");
    store.wait_for("v1", "live");
    assert_eq!(store.order("registrations", &two.entry()).status, 201);
    store.wait_for("v2", "canary");
    eventually("v2 answers", || (store.predict().2 == "v2").then_some(()));

    let mut client = Client::connect(store.gateway.admin);
    client.send(&format!("DELETE /api/v1/registrations/{id} HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(client.reply().status, 200);
    eventually("it is away", || (store.version("v1")?["ready"] == false).then_some(()));
    let counted = || store.version("v2").unwrap()["canary"]["responses"].clone();
    std::thread::park_timeout(LOOK);
    let before = counted();
    let by_second = (0..200).filter(|_| store.predict().2 == "v2").count();
    assert!((60..=140).contains(&by_second), "{by_second} of 200 by v2");
    std::thread::park_timeout(LOOK);
    assert_eq!(counted(), before, "there is nobody to compare it with");
    let words = patiently("it is told", || told(&store).into_iter().next());
    assert!(words.contains("none of its servers is there; only v2 has its share"), "{words}");
    let why = store.version("v2").unwrap()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("v1, its control, to answer"), "{why}");

    // Once it is back, both are counted again.
    assert_eq!(store.order("registrations", &one.entry()).status, 201);
    patiently("it is back", || (store.version("v1")?["ready"] == true).then_some(()));
    patiently("it is compared", || {
        assert_eq!(store.predict().0, 200);
        (counted() != before).then_some(())
    });
    assert_eq!(store.version("v2").unwrap()["stage"], "canary");
}
