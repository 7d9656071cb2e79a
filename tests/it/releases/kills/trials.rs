//! On trial: in shadow, in canary, and on the way from step to step.

use super::*;

#[test]
fn a_kill_in_shadow_lets_no_client_meet_the_version() {
    let mut matrix = Matrix::start("pairs = 1000000, limit = \"1h\"", "1h");
    matrix.publish("v2", 0);
    matrix.store.wait_for("v2", "shadow");
    for _ in 0..8 {
        let before = matrix.ask();
        assert!(before.got.iter().all(|(_, version)| version == "v1"));
        matrix.pause(Duration::from_millis(100));
        matrix = matrix.kill("v2", Some(&before)).0;
    }
    matrix.has_killed(&["shadow"], 8);
}

#[test]
fn a_kill_in_canary_gives_no_caller_the_candidate_who_did_not_have_it() {
    let mut matrix = Matrix::start("pairs = 0", "1h");
    matrix.publish("v2", 0);
    matrix.store.wait_for("v2", "canary");
    let met = |asked: &Asked| asked.got.iter().filter(|(_, version)| version == "v2").count();
    let first = eventually("the candidate answers its share", || {
        let asked = matrix.ask();
        (met(&asked) > 0).then_some(asked)
    });
    for _ in 0..8 {
        matrix.pause(Duration::from_millis(100));
        matrix = matrix.kill("v2", Some(&first)).0;
        // Not more than before, and no less once it is loaded again: the callers are the same ones.
        eventually("the same callers meet it", || (matrix.ask().got == first.got).then_some(()));
    }
    matrix.has_killed(&["canary"], 8);
}

#[test]
fn kills_all_along_a_rollout_delay_it_and_change_nothing_else() {
    let steps = MATRIX
        .replace("[1000000, 1000000]", "[30, 30]")
        .replace("dwell      = \"1h\"", "dwell      = \"100ms\"\npatience   = 1000")
        .replace("SHADOW", "pairs = 0")
        .replace("GRACE", "1h")
        + "[models.m.guard]\nerror_ratio = { margin = \"60%\" }\n";
    let mut matrix = Matrix::on(Store::start(&steps));
    for version in ["v2", "v3"] {
        let mut before = matrix.ask();
        matrix.publish(version, 0);
        for _ in 0..6 {
            let until = std::time::Instant::now() + Duration::from_millis(40) * (matrix.pauses % 7);
            while std::time::Instant::now() < until {
                before = matrix.ask();
            }
            matrix.pause(Duration::from_millis(30));
            matrix = matrix.kill(version, Some(&before)).0;
        }
        eventually("it becomes live all the same", || {
            let asked = matrix.ask();
            (asked.then.stage(version) == "live").then_some(())
        });
    }
    assert!(matrix.total() >= 12, "{:?}", matrix.kills);
}
