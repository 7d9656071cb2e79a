use super::*;
use crate::control::admission::runner::{RunError, run_here};

fn champion() -> Folder {
    Folder::new(&classifier(1.0))
        .with("baseline.json", BASELINE)
        .with("golden.jsonl", &golden(400, true))
}

#[tokio::test]
async fn an_equal_version_passes_every_check() {
    let (old, new) = (champion(), champion());
    let found = checked(&new.subject("v2"), Some(&old.subject("v1"))).await;
    assert_eq!(found.that(Outcome::Passed).len(), 10, "{found:#?}");
    let (_, detail) = found.of(CheckKind::GoldenMetric);
    assert!(detail.starts_with("accuracy 1.0000 against the champion's 1.0000"), "{detail}");
    let (_, detail) = found.of(CheckKind::Interface);
    assert_eq!(detail, "it takes and returns what v1 does: 1 inputs and 1 outputs");
}

#[tokio::test]
async fn the_first_version_needs_no_champion_and_nothing_beside_it() {
    let alone = Folder::new(&classifier(1.0)).subject("v1");
    let found = checked(&alone, None).await;
    assert_eq!(found.that(Outcome::Failed), [], "{found:#?}");
    use CheckKind::{Baseline, Collapse, Golden, GoldenMetric};
    assert_eq!(found.that(Outcome::Skipped), [Golden, GoldenMetric, Collapse, Baseline]);
}

#[tokio::test]
async fn a_collapsed_version_is_found_by_its_answers() {
    let (old, new) =
        (champion(), Folder::new(&weighted(&[0.0; 4])).with("baseline.json", BASELINE));
    let found = checked(&new.subject("v2"), Some(&old.subject("v1"))).await;
    let (outcome, detail) = found.of(CheckKind::Collapse);
    assert_eq!(outcome, Outcome::Failed, "{found:#?}");
    assert!(detail.contains("golden rows are right"), "{detail}");
    let alone = Folder::new(&weighted(&[0.0; 4])).with("baseline.json", BASELINE);
    let found = checked(&alone.subject("v1"), None).await;
    let (outcome, detail) = found.of(CheckKind::Collapse);
    assert_eq!((outcome, detail), (Outcome::Failed, "all 35 probe rows have the same answer"));
}

#[tokio::test]
async fn a_version_that_guesses_is_at_chance() {
    // It looks at the sum, which says nothing about which of the two is larger.
    let guesses = Folder::new(&weighted(&[SHARP, -SHARP, SHARP, -SHARP]));
    let set = golden(400, false);
    let found = checked(&guesses.with("golden.jsonl", &set).subject("v1"), None).await;
    let (outcome, detail) = found.of(CheckKind::Collapse);
    assert_eq!(outcome, Outcome::Failed, "{found:#?}");
    assert!(detail.contains("would be by chance"), "{detail}");
}

#[tokio::test]
async fn five_points_less_accuracy_fail_on_the_champions_golden_set_as_on_ones_own() {
    let old = champion();
    let worse = || Folder::new(&classifier(1.0 / 0.9));
    for new in [worse(), worse().with("golden.jsonl", &golden(400, false))] {
        let found = checked(&new.subject("v2"), Some(&old.subject("v1"))).await;
        assert_eq!(found.that(Outcome::Failed), [CheckKind::GoldenMetric], "{found:#?}");
        let (_, detail) = found.of(CheckKind::GoldenMetric);
        assert!(detail.contains("against the champion's 1.0000 on the same 400 rows"), "{detail}");
        assert!(detail.ends_with("it may be worse by 0.02"), "{detail}");
    }
    let better = checked(&old.subject("v2"), Some(&worse().subject("v1"))).await;
    assert_eq!(better.that(Outcome::Failed), [], "{better:#?}");
}

#[tokio::test]
async fn recorded_answers_that_do_not_come_out_again_fail() {
    let other = Folder::new(&classifier(1.3)).with("golden.jsonl", &golden(50, true));
    let found = checked(&other.subject("v1"), None).await;
    let (outcome, detail) = found.of(CheckKind::Golden);
    assert_eq!(outcome, Outcome::Failed);
    assert!(
        detail.contains("of 50 recorded answers do not come out again: line 1: output 'p'"),
        "{detail}"
    );
    let broken = Folder::new(&classifier(1.0)).with("golden.jsonl", "{\"inputs\": []}\n");
    let found = checked(&broken.subject("v1"), None).await;
    let (outcome, detail) = found.of(CheckKind::Golden);
    assert_eq!(outcome, Outcome::Failed);
    assert!(detail.starts_with("line 1 of ") && detail.ends_with("write it again"), "{detail}");
}

#[tokio::test]
async fn another_interface_fails_unless_it_is_declared() {
    let old = champion().with("model.toml", "interface = 1");
    let wider = Graph::default()
        .input("x", FLOAT, &["N", "3"])
        .floats("w", &[3, 2], &[1.0, -1.0, -1.0, 1.0, 0.5, 0.5])
        .node("MatMul", &["x", "w"], "p")
        .output("p", FLOAT, &["N", "2"])
        .encode();
    let silent = Folder::new(&wider).with("model.toml", "interface = 1");
    let found = checked(&silent.subject("v2"), Some(&old.subject("v1"))).await;
    let (outcome, detail) = found.of(CheckKind::Interface);
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(detail, "input 'x' (FP32 [-1, 3]) was 'x' (FP32 [-1, 2])");
    let declared = Folder::new(&wider).with("model.toml", "interface = 2");
    let found = checked(&declared.subject("v2"), Some(&old.subject("v1"))).await;
    let (outcome, detail) = found.of(CheckKind::Interface);
    assert_eq!(outcome, Outcome::NeedsApproval);
    assert!(
        detail.starts_with("`interface` of model.toml is 2, and 1 in v1: input 'x'"),
        "{detail}"
    );
    assert_eq!(found.that(Outcome::Failed), [], "{found:#?}");
}

#[tokio::test]
async fn not_a_number_on_two_rows_of_a_hundred_is_found() {
    let old = champion();
    let nan = Folder::new(&fragile(0.02)).with("golden.jsonl", &golden(400, false));
    let found = checked(&nan.subject("v2"), Some(&old.subject("v1"))).await;
    let (outcome, detail) = found.of(CheckKind::Probes);
    assert_eq!(outcome, Outcome::Failed, "{found:#?}");
    assert!(
        detail.contains("of 400 golden cases are not answered with finite numbers"),
        "{detail}"
    );
    // What the champion does as well is not held against its successor.
    let found = checked(&nan.subject("v3"), Some(&nan.subject("v2"))).await;
    assert_eq!(found.of(CheckKind::Probes).0, Outcome::Passed, "{found:#?}");
    let probed = Folder::new(&fragile(0.02)).with("baseline.json", BASELINE);
    let found = checked(&probed.subject("v2"), Some(&old.subject("v1"))).await;
    let (outcome, detail) = found.of(CheckKind::Probes);
    assert_eq!(outcome, Outcome::Failed);
    assert!(detail.contains("for the row of smallest values, output 'p' has NaN"), "{detail}");
}

#[tokio::test]
async fn a_slow_version_fails_beside_the_champion_and_over_a_budget() {
    let (old, new) = (champion(), Folder::new(&slow(384, 36)).with("baseline.json", BASELINE));
    let found = checked(&new.subject("v2"), Some(&old.subject("v1"))).await;
    assert_eq!(found.that(Outcome::Failed), [CheckKind::Latency], "{found:#?}");
    let (_, detail) = found.of(CheckKind::Latency);
    assert!(detail.ends_with("at most 2 times as long is allowed"), "{detail}");
    let limits = Limits { latency: Some((Duration::from_nanos(100), 0.99)), ..Limits::default() };
    let checks =
        admission(limits).check(&old.subject("v1"), None, Steady(0)).await.expect("checks");
    let found = Found(checks.checks.checks);
    let (outcome, detail) = found.of(CheckKind::Latency);
    assert_eq!(outcome, Outcome::Failed);
    assert!(detail.contains("over the budget"), "{detail}");
}

#[tokio::test]
async fn a_version_that_mixes_its_rows_fails() {
    let mixes = Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .node_with(
            "ReduceMean",
            &["x"],
            "mean",
            vec![onnx::ints("axes", &[0]), onnx::int("keepdims", 1)],
        )
        .node("Sub", &["x", "mean"], "p")
        .output("p", FLOAT, &["N", "2"])
        .encode();
    let found =
        checked(&Folder::new(&mixes).with("baseline.json", BASELINE).subject("v1"), None).await;
    let (outcome, detail) = found.of(CheckKind::Batch);
    assert_eq!(outcome, Outcome::Failed, "{found:#?}");
    assert!(detail.contains("together is not what it is alone: output 'p'"), "{detail}");
}

#[tokio::test]
async fn a_baseline_of_another_artifact_fails() {
    let other = BASELINE.replacen('{', &format!("{{\"digest\":\"sha256:{}\",", "0".repeat(64)), 1);
    let found =
        checked(&Folder::new(&classifier(1.0)).with("baseline.json", &other).subject("v1"), None)
            .await;
    let (outcome, detail) = found.of(CheckKind::Baseline);
    assert_eq!(outcome, Outcome::Failed);
    assert!(detail.contains("sha256:0000"), "{detail}");
    let digest = OnnxSpec { digest: Some([0; 32]), ..OnnxSpec::new("model.onnx") };
    let mut subject = Folder::new(&classifier(1.0)).subject("v1");
    if let Where::Local { spec, .. } = &mut subject.place {
        spec.digest = digest.digest;
    }
    let found = checked(&subject, None).await;
    assert_eq!(found.of(CheckKind::Identity).0, Outcome::Failed);
}

#[tokio::test]
async fn a_warm_up_settles_and_a_look_runs_the_golden_set() {
    let sound = champion();
    let admission = admission(Limits::default());
    let warmth = admission.warm(&sound.subject("v1"), Steady(3)).await.expect("warm");
    assert!(warmth.runs >= 20 && warmth.settled && warmth.bytes > 0, "{warmth:?}");
    assert_eq!(warmth.began, Steady(3));
    let looked = admission.look(&sound.subject("v1"), Steady(4)).await.expect("a look");
    let look = &looked.look;
    assert!(
        looked.golden
            && look.found == LookFound::Sound
            && look.how.starts_with("golden answers: 200 recorded answers"),
        "{look:?}"
    );
    let spoilt = Folder::new(&classifier(1.3)).with("golden.jsonl", &golden(50, true));
    let looked = admission.look(&spoilt.subject("v1"), Steady(4)).await.expect("a look");
    let look = &looked.look;
    assert!(look.failed() && look.how.contains("do not come out again"), "{look:?}");
    let bare = Folder::new(&classifier(1.0));
    let looked = admission.look(&bare.subject("v1"), Steady(4)).await.expect("a look");
    let look = &looked.look;
    assert!(look.found == LookFound::Sound && look.how.starts_with("probe rows: "), "{look:?}");
}

#[tokio::test]
async fn checks_are_counted_by_how_they_ended() {
    let registry = Arc::new(Registry::new(1));
    let admission = Admission::new(Limits::default(), None, Arc::clone(&registry));
    let sound = champion();
    admission.check(&sound.subject("v1"), None, Steady(0)).await.expect("checks");
    let text = registry.render();
    let line = "pointsman_admission_checks_total{check=\"golden\",outcome=\"passed\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn where_runs_that_hang_have_taken_all_threads_nothing_is_said_of_a_version() {
    static NO_ROOM: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);
    let Where::Local { model, .. } = champion().subject("v1").place else { panic!("it is here") };
    let ran = run_here(model, Vec::new(), Duration::from_secs(1), &NO_ROOM).await;
    let Err(RunError::Unreachable(why)) = ran else { panic!("it is another's fault: {ran:?}") };
    assert!(why.contains("restart the gateway"), "{why}");
}
