//! Clocks that are set, and what the end of a version's time looks like.

use super::*;

#[test]
fn t23_a_clock_that_is_set_by_a_day_evicts_nothing_and_is_told() {
    let clock = Clock::new();
    let store = Store::start_at(
        &clock,
        "[models.m.release]\nbetween = \"0s\"\nundo = \"0s\"\nunproven = true\nproving = \"0s\"\n\
         shadow = { pairs = 1000000 }\n[models.m.evict]\nttl = \"6h\"\nidle = \"6h\"\nmax_age = \"6h\"\n\
         quarantine = \"6h\"\nkeep_proven = 1\ncool_down = \"0s\"\ngrace = \"0s\"\n",
    );
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    for (version, factor) in [("v2", 2.2), ("v3", 2.3)] {
        store.publish_sum(&format!("m/{version}"), factor);
        store.wait_for(version, "shadow");
        store.ordered(&format!("models/m/versions/{version}/promote"));
    }
    store.publish("m/v4", &[("model.onnx", b"no model")]);
    store.wait_for("v4", "quarantined");
    store.ordered("models/m/versions/v2/pin");
    let stages = |store: &Store| {
        ["v1", "v2", "v3", "v4"].map(|version| store.version(version).unwrap()["stage"].clone())
    };
    store.wait_for("v1", "retired");
    let before = stages(&store);
    let mut store = store;
    for (ahead, told_so_far) in [(86_400.0, 1), (0.0, 2), (-86_400.0, 3)] {
        clock.set(ahead, 1.0);
        eventually("it is told", || {
            (told(&store, "release.clock_set").len() >= told_so_far).then_some(())
        });
        std::thread::park_timeout(Duration::from_millis(1500));
        assert_eq!(stages(&store), before, "{ahead}");
        assert_eq!(store.predict().2, "v3", "{ahead}");
        // And over a restart at the other time.
        let Store { gateway, config } = store;
        let gateway = Gateway::start_by(gateway.kill(), &config, &clock.environment());
        store = Store { gateway, config };
        assert_eq!(stages(&store), before, "{ahead}, after a restart");
        assert_eq!(store.predict().2, "v3", "{ahead}, after a restart");
    }
}

#[test]
fn what_is_idle_expired_pinned_last_good_and_standby_ends_as_the_guard_says_and_explains_itself() {
    let store = Store::start(
        "[models.m.release]\nbetween = \"0s\"\nundo = \"6s\"\nstandbys = 1\nunproven = true\n\
         proving = \"0s\"\nshadow = { pairs = 1000000 }\n[models.m.evict]\nidle = \"1s\"\nttl = \"3s\"\n\
         keep_proven = 3\ncool_down = \"0s\"\ngrace = \"1h\"\n",
    );
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    for (version, factor) in [("v2", 2.1), ("v3", 2.2), ("v4", 2.3), ("v5", 2.4)] {
        store.publish_sum(&format!("m/{version}"), factor);
        store.wait_for(version, "shadow");
        store.ordered(&format!("models/m/versions/{version}/promote"));
        if version == "v2" {
            store.ordered("models/m/versions/v1/pin");
        }
    }
    let explain = |version: &str| {
        let (ok, told) = store.command(&["versions", "explain", "m", version]);
        assert!(ok, "{told}");
        told.lines().next().unwrap_or_default().to_owned()
    };
    let says = |version: &str, words: &[&str]| {
        eventually(&format!("{version}: {words:?}"), || {
            let told = explain(version);
            words.iter().all(|word| told.contains(word)).then_some(told)
        })
    };
    // Standby within its window, which nobody asks for.
    says("v4", &["standby", "to be unloaded, as", "its undo window ends in"]);
    // Pinned: should go for another, and stays.
    says("v1", &["standby", "pinned by ann", "v4 stands by in its place: it is pinned by ann"]);
    // Last good: out of memory, old, and kept.
    says(
        "v3",
        &["retired", "v4 stands by in its place", "it is one of the proven versions that are kept"],
    );
    // Expired: nothing speaks for it.
    says("v2", &["was evicted", "old", "its deletion in"]);
    // The champion is as old, and nothing can follow it.
    says("v5", &["live", "overdue"]);
    // Idle, once its window is over.
    says("v4", &["retired", "nobody has asked for it for"]);
    assert_eq!(store.predict(), (200, Some(24.0), "v5".to_owned()));
    // Restored within its grace, it is as good as before.
    store.ordered("models/m/versions/v2/restore");
    says("v2", &["standby"]);
    assert_eq!(ask_for(&store, "v2").status, 200);
}

/// A version whose card says this of how it came about.
fn publish_with_card(store: &Store, version: &str, model: &[u8], card: &str) {
    let golden = golden(version.strip_prefix('v').unwrap().parse().unwrap());
    let files: [(&str, &[u8]); 3] = [
        ("model.onnx", model),
        ("golden.jsonl", golden.as_bytes()),
        ("model.toml", card.as_bytes()),
    ];
    store.publish(&format!("m/{version}"), &files);
}

#[test]
fn data_that_is_too_old_makes_a_champion_overdue_and_ends_a_version_that_another_follows() {
    let store = Store::start(
        "[models.m.release]\nbetween = \"0s\"\nundo = \"0s\"\nunproven = true\nproving = \"0s\"\n\
         shadow = { pairs = 1000000 }\n[models.m.evict]\nmax_age = \"365d\"\nkeep_proven = 1\n\
         cool_down = \"0s\"\ngrace = \"0s\"\n",
    );
    let old = "trained_at = \"2020-01-01T00:00:00Z\"\n";
    publish_with_card(&store, "v2", &sum_times(2.0), old);
    store.wait_for("v2", "live");
    let why = store.wait_for_words("v2", "overdue");
    assert!(why.contains("it was trained"), "{why}");
    assert_eq!(store.predict(), (200, Some(20.0), "v2".to_owned()), "nothing can follow it yet");
    let fresh = format!("trained_at = \"{}\"\n", jiff::Timestamp::now());
    publish_with_card(&store, "v3", &sum_times(3.0), &fresh);
    store.wait_for("v3", "shadow");
    store.ordered("models/m/versions/v3/promote");
    let gone = store.wait_for("v2", "evicted");
    assert!(gone["why"].as_str().unwrap().contains("it was trained"), "{gone:#}");
    assert_eq!(store.predict(), (200, Some(30.0), "v3".to_owned()));
    let shown = store.version("v3").unwrap();
    assert!(!shown["why"].as_str().unwrap().contains("overdue"), "{shown:#}");
}

#[test]
fn after_two_failures_of_one_publisher_its_next_release_waits_and_that_of_another_does_not() {
    let store = Store::start(
        "[models.m.release]\nbetween = \"0s\"\nshadow = { pairs = 1000000, limit = \"1h\" }\n",
    );
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    let nightly = "publisher = \"nightly\"\n";
    for version in ["v2", "v3"] {
        publish_with_card(&store, version, format!("no model, {version}").as_bytes(), nightly);
        store.wait_for(version, "quarantined");
    }
    publish_with_card(&store, "v4", &sum_times(4.0), nightly);
    let why = store.wait_for_words("v4", "an operator's approval");
    assert!(why.contains("the last 2 releases of nightly failed"), "{why}");
    eventually("it is told", || {
        let alerts = told(&store, "release.alerted");
        alerts.iter().any(|words| words.contains("nightly")).then_some(())
    });
    store.ordered("models/m/versions/v4/approve");
    store.wait_for("v4", "shadow");
    publish_with_card(&store, "v5", &sum_times(5.0), "publisher = \"weekly\"\n");
    store.wait_for("v5", "shadow");
}

#[test]
fn releases_that_name_no_publisher_are_held_as_those_of_their_source_and_model() {
    let store = Store::start(
        "[models.m.release]\nbetween = \"0s\"\nshadow = { pairs = 1000000, limit = \"1h\" }\n",
    );
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    for version in ["v2", "v3"] {
        let broken = format!("no model, {version}");
        store.publish(&format!("m/{version}"), &[("model.onnx", broken.as_bytes())]);
        store.wait_for(version, "quarantined");
    }
    store.publish_sum("m/v4", 4.0);
    let why = store.wait_for_words("v4", "an operator's approval");
    assert!(why.contains("the last 2 releases of store/m failed"), "{why}");
    store.ordered("models/m/versions/v4/approve");
    store.wait_for("v4", "shadow");
}
