//! Versions that go, and those that stay: with times of seconds.

use super::*;

/// Releases by order, evictions within seconds.
const BRIEF: &str = "
[models.m.release]
between  = \"0s\"
undo     = \"1s\"
unproven = true
proving  = \"0s\"
[models.m.release.shadow]
pairs = 1000000
limit = \"1h\"
[models.m.evict]
idle        = \"1s\"
ttl         = \"2s\"
keep_proven = 1
cool_down   = \"0s\"
grace       = \"500ms\"
[models.m.guard]
golden = \"1s\"
fresh  = \"10m\"
";

/// Publishes a version and makes it live by order.
fn release(store: &Store, version: &str, factor: f32) {
    store.publish_sum(&format!("m/{version}"), factor);
    store.wait_for(version, "shadow");
    store.ordered(&format!("models/m/versions/{version}/promote"));
    store.wait_for(version, "live");
}

#[test]
fn idle_expired_pinned_and_last_good_versions_end_as_the_guard_says() {
    let store = Store::start(BRIEF);
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    release(&store, "v2", 2.1);
    let standby = store.version("v1").unwrap();
    assert_eq!(standby["stage"], "standby", "{standby:#}");
    store.ordered("models/m/versions/v1/pin");
    release(&store, "v3", 2.2);
    release(&store, "v4", 2.3);
    // Pinned: it should go, and says why it does not.
    let why = store.wait_for_words("v1", "pinned by ann");
    assert!(why.contains("standby"), "{why}");
    // Not asked for, or replaced: out of memory, and, once it is old enough, off the disk.
    store.wait_for("v2", "evicted");
    eventually("its artifact is deleted", || {
        store.version("v2")?["why"].as_str()?.contains("was deleted").then_some(())
    });
    // It counts as gone once its deletion has begun.
    let copy = store.gateway.dir.path().join("data/models/m/v2");
    eventually("the copy is gone", || (!copy.exists()).then_some(()));
    assert!(
        store.folder("m/v2").exists(),
        "the pipeline's own folder is not the gateway's to delete"
    );
    // The champion is as old, and stays: nothing can follow it.
    store.wait_for_words("v4", "overdue");
    assert_eq!(store.predict(), (200, Some(23.0), "v4".to_owned()));
    eventually("it is told", || {
        store.events().iter().any(|(_, words)| words.contains("v4 is overdue")).then_some(())
    });
    // What was evicted and is gone cannot be restored, and says so.
    let gone = store.order("models/m/versions/v2/restore", &json!({ "who": "a", "why": "b" }));
    assert_eq!(gone.status, 409, "{}", gone.text());
    assert!(gone.text().contains("publish it again"), "{}", gone.text());
}

#[test]
fn a_rollback_by_order_brings_the_standby_back_in_one_swap() {
    let store = Store::start(&BRIEF.replace("undo     = \"1s\"", "undo     = \"1h\""));
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    release(&store, "v2", 2.1);
    assert_eq!(store.predict().1, Some(21.0));
    let done = store.ordered("models/m/rollback");
    assert!(done["event"].as_str().unwrap().contains("v1 is live again"), "{done}");
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
    let standby = store.version("v2").unwrap();
    assert_eq!(standby["stage"], "standby", "{standby:#}");
    // Within its undo window it is not drained, unless it is forced to.
    let refused = store.order("models/m/versions/v2/drain", &json!({ "who": "a", "why": "b" }));
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("undo"), "{}", refused.text());
    // One that is cut off is no way back: nobody would answer.
    store.ordered("models/m/versions/v2/kill");
    for (order, words) in [("versions/v2/promote", "cut off"), ("rollback", "no earlier champion")]
    {
        let refused = store.order(&format!("models/m/{order}"), &json!({ "who": "a", "why": "b" }));
        assert_eq!(refused.status, 409, "{order}: {}", refused.text());
        assert!(refused.text().contains(words), "{order}: {}", refused.text());
    }
    assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
}
