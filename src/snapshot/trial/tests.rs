//! What the counts promise: nothing is lost between workers, steps and looks.

use super::*;
use crate::domain::ids::{Entropy, VersionName};
use crate::domain::lifecycle::evidence::Metric;
use crate::domain::trial::pairs::PairOutcome;

fn canary(slow_after: Option<Duration>) -> Trial {
    Trial::new(TrialKind::Canary { error_rate: None, slow_after }, 3, Steady(7))
}

fn answered(failed: bool) -> Answered {
    Answered { failed, took: Duration::from_millis(20), invalid: Some(false) }
}

/// One request of `arm` on `worker`, with its response.
fn serve(trial: &Trial, worker: usize, arm: Arm, answered: &Answered) {
    let canary = trial.as_canary().expect("a trial on requests");
    canary.draw(worker, arm, None);
    canary.answer(worker, arm, answered);
}

#[test]
fn the_counts_of_all_workers_become_evidence_and_the_rest_is_not_counted() {
    let trial = canary(Some(Duration::from_millis(10)));
    for n in 0..300 {
        serve(&trial, n % 5, Arm::Candidate, &answered(n % 10 == 9));
        serve(&trial, n % 4, Arm::Control, &answered(false));
        serve(&trial, n % 3, Arm::Rest, &answered(true));
    }
    let evidence = trial.canary();
    assert_eq!((evidence.began, evidence.responses), (Steady(7), 300));
    let rate = |metric| {
        let rate = evidence.rate(metric).expect("compared");
        (rate.bad, rate.n, rate.control_bad, rate.control_n)
    };
    assert_eq!(rate(Metric::Errors), (30, 300, 0, 300));
    assert_eq!(rate(Metric::Slow), (300, 300, 300, 300));
    assert_eq!(rate(Metric::Invalid), (0, 300, 0, 300));
    assert_eq!(evidence.failed_from_start, 0);
    assert!(evidence.sample_ratio.is_some_and(|chance| chance > 0.5));
    assert_eq!(trial.shadow(), ShadowEvidence::default(), "it is no trial on copies");
}

#[test]
fn failures_from_the_start_end_with_the_first_good_response() {
    let trial = canary(None);
    for failed in [true, true, true, false, true, true] {
        serve(&trial, 0, Arm::Candidate, &answered(failed));
    }
    assert_eq!(trial.canary().failed_from_start, 3);
}

#[test]
fn steps_begin_once_and_crashes_keep_their_first_cause() {
    let trial = canary(None);
    trial.begin_step(0, Steady(8));
    serve(&trial, 0, Arm::Candidate, &answered(false));
    trial.begin_step(0, Steady(9));
    assert_eq!((trial.canary().began, trial.canary().responses), (Steady(7), 1));
    trial.begin_step(1, Steady(20));
    serve(&trial, 1, Arm::Candidate, &answered(false));
    trial.begin_step(1, Steady(30));
    let evidence = trial.canary();
    assert_eq!((evidence.began, evidence.responses), (Steady(20), 1));
    assert_eq!(evidence.rate(Metric::Errors).map(|rate| rate.n), Some(2));
    trial.crash("the model panicked");
    trial.crash("all its backends are gone");
    assert_eq!(trial.canary().crashed.as_deref(), Some("the model panicked"));
}

#[test]
fn a_caller_is_one_draw_however_often_it_asks() {
    let trial = canary(None);
    let counts = trial.as_canary().expect("a trial on requests");
    for request in 0..20_000u64 {
        // One busy caller on one side, as many callers on the other.
        let busy = if request % 100 == 0 { request / 100 } else { 0 };
        let hash = |caller: u64| caller.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        counts.draw(0, Arm::Candidate, Some(hash(busy)));
        if request % 100 == 0 {
            counts.draw(1, Arm::Control, Some(hash(request / 100 + 1_000_000)));
        }
    }
    let arms = counts.arms();
    let near = |draws: u64| (195..=200).contains(&draws);
    assert!(near(arms.candidate.draws) && near(arms.control.draws), "{arms:?}");
    assert!(trial.canary().sample_ratio.is_some_and(|chance| chance > 0.5));
    assert_eq!(counts.requests(), [20_000, 200]);
}

#[test]
fn threads_lose_nothing() {
    let trial = canary(None);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let trial = &trial;
            scope.spawn(move || {
                for n in 0..5000 {
                    serve(trial, worker, Arm::Candidate, &answered(n % 50 == 1));
                    serve(trial, worker, Arm::Control, &answered(n % 50 == 2));
                }
            });
            scope.spawn(move || (0..200).for_each(|_| drop(trial.canary())));
        }
    });
    let evidence = trial.canary();
    let errors = evidence.rate(Metric::Errors).expect("compared");
    assert_eq!((errors.bad, errors.n), (400, 20_000));
    assert_eq!((errors.control_bad, errors.control_n), (400, 20_000));
    assert!(errors.ln_e < 3.0, "equal versions: {}", errors.ln_e);
}

#[test]
fn pairs_and_drops_become_evidence() {
    let spec = ShadowSpec::new(VersionName::new("v2"));
    let trial = Trial::new(TrialKind::Shadow(spec), 2, Steady(4));
    let shadow = trial.as_shadow().expect("a trial on copies");
    let now = std::time::Instant::now() + Duration::from_secs(1);
    for n in 0..10u64 {
        let pass = shadow.gate.choose(now + Duration::from_secs(n), Entropy(n));
        assert!(pass.is_some());
        let times = Some((Duration::from_millis(5), Duration::from_millis(6)));
        shadow.compare(&Pair { likeness: PairOutcome::Agrees.into(), times, replayed: false });
    }
    shadow.gate.drop_one(Dropped::Late);
    shadow.miss();
    let evidence = trial.shadow();
    assert_eq!((evidence.began, evidence.pairs, evidence.invalid), (Steady(4), 10, 0));
    assert!((evidence.drops - 0.1).abs() < 1e-9);
    assert_eq!(shadow.counts(), (10, 10, 1));
    assert_eq!(trial.canary(), CanaryEvidence::default(), "it is no trial on requests");
}
