//! A version that stands by is known to answer: it gets copies of a few of the champion's requests.

use super::*;

const COPIED: &str = "
[models.m.release]
between = \"0s\"
[models.m.release.shadow]
pairs = 1000000
[models.m.guard]
standby_copies = \"100%\"
";

/// Answers to copies that the standby got, by how they compare with the champion's.
fn pairs(store: &Store, outcome: &str) -> f64 {
    let series =
        format!("pointsman_shadow_pairs{{model=\"m\",version=\"v1\",outcome=\"{outcome}\"}} ");
    let text = store.gateway.metrics();
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0.0)
}

#[test]
fn the_latest_standby_gets_copies_while_nothing_is_on_trial_and_no_client_its_answers() {
    let store = Store::start(COPIED);
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.publish_sum("m/v2", 2.02);
    store.wait_for("v2", "shadow");
    store.ordered("models/m/versions/v2/promote");
    store.wait_for("v1", "standby");
    eventually("the standby is asked", || {
        assert_eq!(store.predict(), (200, Some(20.2), "v2".to_owned()));
        (pairs(&store, "agrees") >= 3.0).then_some(())
    });
    assert_eq!((pairs(&store, "differs"), pairs(&store, "unread")), (0.0, 0.0));
    let copied = eventually("each copy has its client's record", || {
        let rows = store.gateway.records();
        let of = |kind: &str| rows.iter().filter(|row| row["kind"] == kind).collect::<Vec<_>>();
        // Copies for v2 would be those of the trial that the promotion has ended.
        let copies = of("shadow").into_iter().filter(|row| row["model_version"] == "v1");
        let parents = copies.map(|copy| {
            let mut all = of("inference").into_iter();
            let parent = all.find(|row| row["record_id"] == copy["parent_record_id"])?;
            Some(parent["model_version"].clone())
        });
        parents.collect::<Option<Vec<_>>>()
    });
    assert!(!copied.is_empty() && copied.iter().all(|version| version == "v2"), "{copied:?}");

    // A kill switch holds for these copies, too.
    store.ordered("models/m/versions/v1/kill");
    let before = store.gateway.records().iter().filter(|row| row["kind"] == "shadow").count();
    for _ in 0..20 {
        assert_eq!(store.predict().2, "v2");
    }
    let after = store.gateway.records().iter().filter(|row| row["kind"] == "shadow").count();
    assert!(after <= before + 2, "those that were under way: {before}, then {after}");

    // Another candidate has the copies to itself.
    store.ordered("models/m/versions/v1/unkill");
    store.publish_sum("m/v3", 2.01);
    store.wait_for("v3", "shadow");
    eventually("the candidate is asked", || {
        store.predict();
        let series = "pointsman_shadow_pairs{model=\"m\",version=\"v3\",outcome=\"agrees\"} ";
        let text = store.gateway.metrics();
        let asked: f64 = text.lines().find_map(|line| line.strip_prefix(series)?.parse().ok())?;
        (asked >= 3.0).then_some(())
    });
}
