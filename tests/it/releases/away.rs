//! A live version that cannot answer: somebody is told at once, and who can answer does.

use std::time::Duration;

use super::rollout::patiently;
use super::servers::{ON_TRIAL, entry, server};
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
    store.approve_first();
    assert_eq!(store.order("registrations", &two.entry()).status, 201);
    store.wait_for("v2", "canary");
    eventually("v2 answers", || (store.predict().2 == "v2").then_some(()));

    leave(&store, &id);
    eventually("it is away", || (store.version("v1")?["ready"] == false).then_some(()));
    let counted = || store.version("v2").unwrap()["canary"]["responses"].clone();
    std::thread::park_timeout(LOOK);
    let before = counted();
    // Its server is there still, and answers those who ask it.
    let by_second = (0..200).filter(|_| store.predict().2 == "v2").count();
    assert!((60..=140).contains(&by_second), "{by_second} of 200 by v2");
    std::thread::park_timeout(LOOK);
    assert_eq!(counted(), before, "there is nobody to compare it with");
    let words = patiently("it is told", || told(&store).into_iter().next());
    let instead = "none of its servers is there; v2, on trial, is asked in its place";
    assert!(words.contains(instead), "{words}");
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

/// Champions that may be gone for seconds, and candidates whose trial does not end by itself.
fn impatient(trial: &str) -> String {
    ON_TRIAL.replace("shadow    = { pairs = 0 }", &format!("absence   = \"5s\"\n{trial}"))
}

/// Takes a server out of those that are registered.
fn sign_off(store: &Store, address: std::net::SocketAddr, version: &str) {
    let known = store.order("registrations", &entry(address, version));
    assert_eq!(known.status, 200, "{}", known.text());
    leave(store, known.json()["id"].as_str().unwrap());
}

/// Ends a registration.
fn leave(store: &Store, id: &str) {
    let mut client = Client::connect(store.gateway.admin);
    client.send(&format!("DELETE /api/v1/registrations/{id} HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(client.reply().status, 200);
}

/// Waits until `v2` has taken the place of `v1`, while `asks` is called again and again; why it has.
fn takes_over(store: &Store, asks: impl Fn()) -> String {
    let live = patiently("v2 is live", || {
        asks();
        store.version("v2").filter(|shown| shown["stage"] == "live")
    });
    assert_eq!(store.version("v1").unwrap()["stage"], "standby");
    assert_eq!(store.predict(), (200, Some(20.0), "v2".to_owned()));
    live["why"].as_str().unwrap().to_owned()
}

#[test]
fn clients_of_a_champion_that_is_gone_for_good_are_answered_and_its_candidate_takes_its_place() {
    let store = Store::start(&impatient("shadow = { pairs = 0 }"));
    let one = server(&store, "v1", 2.0);
    store.approve_first();
    let _two = server(&store, "v2", 2.0);
    store.wait_for("v2", "canary");
    // It is shut down, and nobody has said so yet.
    let address = one.data;
    drop(one.kill());
    let answered = || assert_eq!(store.predict(), (200, Some(20.0), "v2".to_owned()));
    (0..100).for_each(|_| answered());
    let evidence = eventually("all that fell to either by its share are counted", || {
        let canary = store.version("v2")?["canary"].clone();
        let errors = canary["rates"].as_array()?.iter().find(|rate| rate["metric"] == "errors");
        let errors = errors?.clone();
        let of = |name: &str| errors[name].as_u64().unwrap_or(0);
        (of("n") + of("control_n") >= 100)
            .then(|| [of("n"), of("bad"), of("control_n"), of("control_bad")])
    });
    let [by_second, bad, control, control_bad] = evidence;
    assert_eq!(
        (by_second + control, bad, control_bad),
        (100, 0, control),
        "each counts for its own"
    );
    let fallbacks = "pointsman_retries_total{reason=\"fallback\"}";
    store.gateway.metric_is(fallbacks, control as f64);

    sign_off(&store, address, "v1");
    let why = takes_over(&store, answered);
    assert!(
        why.contains("unproven: v2 is live, unproven, by the absence of its champion"),
        "{why}"
    );
    assert!(why.contains("v1 has given no answer for "), "{why}");
    assert!(why.contains("as none of its servers is there"), "{why}");
    let told = store.events().into_iter().map(|(_, words)| words);
    assert_eq!(told.filter(|words| words.contains("the absence of its champion")).count(), 1);
}

#[test]
fn a_version_in_shadow_takes_the_place_of_a_champion_that_is_gone_for_good() {
    let store = Store::start(&impatient("shadow = { pairs = 1000000 }"));
    let one = server(&store, "v1", 2.0);
    store.approve_first();
    let _two = server(&store, "v2", 2.0);
    store.wait_for("v2", "shadow");
    let address = one.data;
    drop(one.kill());
    sign_off(&store, address, "v1");
    let why = store.wait_for_words("v2", "to take the place of v1, its control");
    assert!(why.contains("which has not answered for"), "{why}");
    // It would have answered nobody, and nobody has asked.
    std::thread::park_timeout(Duration::from_secs(7));
    assert_eq!(store.version("v2").unwrap()["stage"], "shadow");
    assert!(store.wait_for_words("v2", "a client that it gives no answer").contains("its control"));
    let why = takes_over(&store, || drop(store.predict()));
    assert!(why.contains("by the absence of its champion"), "{why}");
}
