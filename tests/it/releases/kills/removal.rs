//! Versions that go: standby, draining, retired, evicted and within their grace, in the midst of their deletion; and
//! those in quarantine.

use super::*;

impl Matrix {
    /// With `v2` live and `v1` its standby.
    fn with_a_standby(grace: &str) -> Self {
        let matrix = Self::start("pairs = 1000000, limit = \"1h\"", grace);
        matrix.publish("v2", 0);
        matrix.store.wait_for("v2", "shadow");
        matrix.store.ordered("models/m/versions/v2/promote");
        matrix.store.wait_for("v1", "standby");
        matrix
    }
}

#[test]
fn a_kill_of_live_and_standby_brings_both_back_and_a_cut_off_champion_does_not_answer() {
    let mut matrix = Matrix::with_a_standby("1h");
    for _ in 0..6 {
        let before = matrix.ask();
        matrix = matrix.kill("v2", Some(&before)).0;
        assert_eq!(matrix.store.predict().2, "v2", "at once");
        matrix = matrix.kill("v1", Some(&before)).0;
        eventually("the standby is ready", || {
            (matrix.store.version("v1")?["ready"] == true).then_some(())
        });
    }
    matrix.store.ordered("models/m/versions/v2/kill");
    for _ in 0..4 {
        let before = matrix.ask();
        assert!(before.got.iter().all(|(_, version)| version == "v1"), "the standby stands in");
        matrix = matrix.kill("v2", Some(&before)).0;
    }
    matrix.has_killed(&["live", "standby"], 6);
}

#[test]
fn a_kill_on_the_way_out_of_memory_and_back_leaves_no_version_in_between() {
    let mut matrix = Matrix::with_a_standby("1h");
    for _ in 0..5 {
        let before = matrix.ask();
        // A request that v1 holds: it drains for as long as that takes.
        let mut held = matrix.store.gateway.client();
        let head = "POST /v2/models/m/versions/v1/infer HTTP/1.1\r\nhost: a\r\n";
        held.send(&format!("{head}content-length: {}\r\n\r\n{{", BODY.len()));
        eventually("it is held", || (matrix.store.version("v1")?["in_flight"] == 1).then_some(()));
        matrix.store.ordered("models/m/versions/v1/drain");
        matrix.store.wait_for("v1", "draining");
        matrix = matrix.kill("v1", Some(&before)).0;
        matrix.store.wait_for("v1", "retired");
        matrix = matrix.kill("v1", Some(&before)).0;
        matrix.store.forced("models/m/versions/v1/evict");
        matrix = matrix.kill("v1", Some(&before)).0;
        let past = matrix.past();
        matrix.store.ordered("models/m/versions/v1/restore");
        drop(past.until("it warms", |then| matches!(then.stage("v1"), "warming" | "standby")));
        matrix = matrix.kill("v1", Some(&before)).0;
        matrix.store.wait_for("v1", "standby");
    }
    matrix.has_killed(&["draining", "retired", "evicted"], 5);
    assert!(matrix.total() >= 20, "{:?}", matrix.kills);
}

#[test]
fn a_kill_in_the_midst_of_a_deletion_ends_in_a_deletion() {
    let mut matrix = Matrix::start("pairs = 1000000, limit = \"1h\"", "100ms");
    let mut halves = 0;
    for number in 2..10 {
        let version = format!("v{number}");
        matrix.publish(&version, 300);
        matrix.store.wait_for(&version, "shadow");
        matrix.store.ordered(&format!("models/m/versions/{version}/reject"));
        let before = matrix.ask();
        let copies = matrix.store.gateway.dir.path().join(format!("data/models/m/{version}"));
        let path = format!("models/m/versions/{version}/evict");
        matrix.store.ordered(&path);
        eventually("it is being deleted", || {
            (is_under_way(&copies) || !copies.exists()).then_some(())
        });
        matrix = matrix.kill(&version, Some(&before)).0;
        halves += u32::from(matrix.was_half);
        matrix.store.wait_for_words(&version, "was deleted");
        eventually("nothing of it is left", || (!copies.exists()).then_some(()));
        assert!(matrix.store.folder(&format!("m/{version}")).exists(), "the source is not ours");
    }
    assert!(halves >= 2, "{halves} of 8 were killed in the midst of it");
    assert!(matrix.total() >= 8, "{:?}", matrix.kills);
}

#[test]
fn a_kill_does_not_free_what_is_in_quarantine() {
    let mut matrix = Matrix::start("pairs = 0", "1h");
    let (bad, wrong) = (sum_times(7.0), golden(8.0));
    let files: [(&str, &[u8]); 2] = [("model.onnx", &bad), ("golden.jsonl", wrong.as_bytes())];
    matrix.store.publish("m/v2", &files);
    matrix.store.wait_for("v2", "quarantined");
    for number in 3..9 {
        let before = matrix.ask();
        matrix = matrix.kill("v2", Some(&before)).0;
        let by_name = matrix.store.gateway.post("/v2/models/m/versions/v2/infer", BODY);
        assert!([404, 503].contains(&by_name.status), "{}", by_name.text());
        // The same content under another name is known, and not tried.
        matrix.store.publish(&format!("m/v{number}"), &files);
        let again = matrix.store.wait_for(&format!("v{number}"), "quarantined");
        assert!(again["why"].as_str().unwrap().contains("its content is that of v2"), "{again:#}");
    }
    matrix.has_killed(&["quarantined"], 6);
}
