use std::time::Duration;

use proptest::prelude::*;

use super::evidence::{CanaryEvidence, Metric, RateEvidence, ShadowEvidence, Shift};
use super::guard::{Aim, Defence, Ground, Refusal, may_evict};
use super::observed::Capacity;
use super::policy::{GuardPolicy, Policy, ShadowPolicy, Step};
use super::proof::{self, Gate, Stop};
use crate::domain::ids::Permille;

/// Nothing speaks for the version.
fn defenceless(aim: Aim, ground: Ground) -> Defence {
    Defence {
        aim,
        ground,
        users: Vec::new(),
        in_flight: 0,
        pinned: None,
        held: None,
        undo_left: None,
        last_loaded: false,
        proven_left: 3,
        kept_proven: false,
        rollout: false,
        capacity: None,
        listing_doubt: None,
        cool_down_left: None,
        rate_limited: false,
        lease_taken: false,
        correlated: false,
        evaluator_stale: None,
        short_of_samples: None,
        clock_doubt: None,
    }
}

/// One ground after the other on which a version stays.
type Plea = (&'static str, fn(&mut Defence));

fn pleas() -> Vec<Plea> {
    vec![
        ("in use", |d| d.users.push("alias `prod`".to_owned())),
        ("requests in flight", |d| d.in_flight = 2),
        ("pinned", |d| d.pinned = Some("alice".to_owned())),
        ("held", |d| d.held = Some("alice".to_owned())),
        ("undo window", |d| d.undo_left = Some(Duration::from_secs(60))),
        ("last loaded", |d| d.last_loaded = true),
        ("last proven", |d| (d.kept_proven, d.proven_left) = (true, 0)),
        ("kept proven", |d| d.kept_proven = true),
        ("rollout", |d| d.rollout = true),
        ("capacity", |d| d.capacity = Some(Capacity { needed: 90.0, others: 80.0 })),
        ("capacity unknown", |d| d.capacity = Some(Capacity { needed: 90.0, others: f64::NAN })),
        ("listing", |d| d.listing_doubt = Some("it was empty".to_owned())),
        ("cool-down", |d| d.cool_down_left = Some(Duration::from_secs(60))),
        ("rate limit", |d| d.rate_limited = true),
        ("lease", |d| d.lease_taken = true),
        ("correlated", |d| d.correlated = true),
        ("evaluator stale", |d| d.evaluator_stale = Some(Duration::from_secs(3600))),
        ("short of samples", |d| d.short_of_samples = Some(7)),
        ("clock", |d| d.clock_doubt = Some(Duration::from_secs(60))),
    ]
}

fn grounds() -> Vec<Ground> {
    let day = Duration::from_secs(86_400);
    vec![
        Ground::Ttl(day),
        Ground::MaxAge(day),
        Ground::Idle(day),
        Ground::Disk(2, 1),
        Ground::Memory(2, 1),
        Ground::Quarantine(day),
        Ground::Degraded("errors".to_owned()),
        Ground::Order { force: false },
        Ground::Order { force: true },
    ]
}

#[test]
fn each_ground_alone_keeps_an_expired_version_from_deletion() {
    let ttl = Ground::Ttl(Duration::from_secs(86_400));
    assert_eq!(may_evict(&defenceless(Aim::Delete, ttl.clone())), Ok(()));
    for (name, plead) in pleas() {
        let degraded = ["evaluator stale", "short of samples"].contains(&name);
        let ground = if degraded { Ground::Degraded("errors".to_owned()) } else { ttl.clone() };
        let mut defence = defenceless(Aim::Delete, ground);
        plead(&mut defence);
        let refusals = may_evict(&defence).expect_err(name);
        assert!(!refusals.is_empty() && !super::guard::told(&refusals).is_empty(), "{name}");
    }
}

#[test]
fn an_order_need_not_wait_until_it_is_known_what_the_others_must_take() {
    for (ground, refused) in
        [(Ground::Order { force: false }, false), (Ground::Idle(Duration::from_secs(86_400)), true)]
    {
        let mut defence = defenceless(Aim::Unload, ground);
        defence.capacity = Some(Capacity::UNKNOWN);
        assert_eq!(may_evict(&defence).is_err(), refused);
    }
}

#[test]
fn a_forced_order_overrules_everything_but_use() {
    for (name, plead) in pleas() {
        let mut defence = defenceless(Aim::Delete, Ground::Order { force: true });
        plead(&mut defence);
        let absolute = ["in use", "requests in flight"].contains(&name);
        assert_eq!(may_evict(&defence).is_err(), absolute, "{name}");
    }
}

proptest! {
    #[test]
    fn what_speaks_for_a_version_never_helps_to_remove_it(
        chosen in proptest::collection::vec(any::<bool>(), 19),
        extra in 0usize..19,
        ground in 0usize..9,
        deletes: bool,
    ) {
        let aim = if deletes { Aim::Delete } else { Aim::Unload };
        let mut defence = defenceless(aim, grounds()[ground].clone());
        let pleas = pleas();
        for ((_, plead), _) in pleas.iter().zip(&chosen).filter(|(_, chosen)| **chosen) {
            plead(&mut defence);
        }
        let before = may_evict(&defence);
        (pleas[extra].1)(&mut defence);
        let after = may_evict(&defence);
        let kinds = |result: &Result<(), Vec<Refusal>>| {
            let refusals = result.as_ref().err().cloned().unwrap_or_default();
            let mut kinds: Vec<_> = refusals.iter().map(std::mem::discriminant).collect();
            kinds.dedup();
            kinds
        };
        let (before, after) = (kinds(&before), kinds(&after));
        prop_assert!(before.iter().all(|kind| after.contains(kind)), "{before:?} {after:?}");
    }
}

/// Evidence of a candidate that does as well as its control.
fn good() -> CanaryEvidence {
    CanaryEvidence {
        responses: 500,
        rates: vec![RateEvidence {
            metric: Metric::Errors,
            n: 1000,
            bad: 10,
            control_n: 1000,
            control_bad: 11,
            ln_e: -0.3,
            excess_high: Some(0.012),
        }],
        sample_ratio: Some(0.7),
        ..CanaryEvidence::default()
    }
}

const STEP: Step = Step { share: Permille::saturating(50), responses: 500 };

fn steps(evidence: &CanaryEvidence) -> Result<(), Stop> {
    let (stayed, dwell) = (Duration::from_secs(600), Duration::from_secs(600));
    proof::may_step(evidence, STEP, stayed, dwell, &GuardPolicy::default()).map(|_stepped| ())
}

fn spoil(how: impl FnOnce(&mut CanaryEvidence)) -> CanaryEvidence {
    let mut evidence = good();
    how(&mut evidence);
    evidence
}

#[test]
fn a_step_waits_for_whatever_is_missing() {
    assert_eq!(steps(&good()), Ok(()));
    let missing = [
        spoil(|e| e.responses = 499),
        spoil(|e| e.sample_ratio = None),
        spoil(|e| e.sample_ratio = Some(1e-5)),
        spoil(|e| e.sample_ratio = Some(f64::NAN)),
        spoil(|e| e.rates.clear()),
        spoil(|e| e.rates[0].control_n = 0),
        spoil(|e| e.rates[0].ln_e = f64::NAN),
        CanaryEvidence::default(),
    ];
    for evidence in missing {
        assert!(matches!(steps(&evidence), Err(Stop::Wait(_))), "{evidence:?}");
    }
}

#[test]
fn a_broken_candidate_is_stopped_whatever_its_counts() {
    let broken = [
        spoil(|e| e.crashed = Some("out of memory".to_owned())),
        spoil(|e| e.failed_from_start = 5),
        spoil(|e| e.rates[0].ln_e = 100f64.ln() + 0.01),
        spoil(|e| e.rates[0].ln_e = f64::INFINITY),
    ];
    for evidence in broken {
        assert!(matches!(steps(&evidence), Err(Stop::Fail(_))), "{evidence:?}");
    }
}

#[test]
fn where_the_control_fails_as_well_first_failures_say_nothing() {
    let evidence = spoil(|e| {
        e.failed_from_start = 5;
        e.rates[0].control_bad = 500;
    });
    assert_eq!(steps(&evidence), Ok(()));
}

#[test]
fn a_promotion_needs_a_bound_within_the_margin() {
    let guard = GuardPolicy::default();
    let promotes = |evidence: &CanaryEvidence| {
        let stayed = Duration::from_secs(600);
        let stepped = proof::may_step(evidence, STEP, stayed, stayed, &guard).expect("it steps");
        proof::may_promote(&stepped, &guard).is_ok()
    };
    assert!(promotes(&good()));
    for bound in [None, Some(0.021), Some(f64::NAN), Some(f64::INFINITY)] {
        assert!(!promotes(&spoil(|e| e.rates[0].excess_high = bound)), "{bound:?}");
    }
}

#[test]
fn copies_must_be_many_alike_and_valid() {
    let policy = ShadowPolicy::default();
    let good = ShadowEvidence {
        pairs: 500,
        agreement_low: Some(0.93),
        agreement_high: Some(0.99),
        slower_high: Some(1.2),
        ..ShadowEvidence::default()
    };
    let tries = |how: fn(&mut ShadowEvidence)| {
        let mut evidence = good.clone();
        how(&mut evidence);
        proof::may_take_traffic(&evidence, &policy).map(|_tried| ())
    };
    assert_eq!(tries(|_| {}), Ok(()));
    fn shift(low: f64) -> Option<Shift> {
        Some(Shift { answer: "`yes`".to_owned(), ours: 0.1, theirs: 0.3, low })
    }
    assert_eq!(tries(|e| e.shift = shift(0.1)), Ok(()), "within the limit");
    let lacking: [fn(&mut ShadowEvidence); 9] = [
        |e| e.pairs = 499,
        |e| e.agreement_low = None,
        |e| e.agreement_low = Some(0.79),
        |e| e.slower_high = None,
        |e| e.slower_high = Some(1.51),
        |e| e.drops = 0.06,
        |e| e.drops = f64::NAN,
        |e| e.shift = shift(0.11),
        |e| e.shift = shift(f64::NAN),
    ];
    for how in lacking {
        assert!(matches!(tries(how), Err(Stop::Wait(_))));
    }
    assert!(matches!(tries(|e| e.invalid = 1), Err(Stop::Fail(_))));
}

/// The operator's `unproven` stands in for what is missing, never for what was measured to be bad.
#[test]
fn a_version_that_was_measured_to_disagree_fails_and_lacks_nothing() {
    let policy = ShadowPolicy::default();
    let mut evidence = ShadowEvidence {
        pairs: 500,
        agreement_low: Some(0.0),
        agreement_high: Some(0.2),
        ..ShadowEvidence::default()
    };
    let failed = proof::may_take_traffic(&evidence, &policy).expect_err("it disagrees");
    let Stop::Fail(verdict) = failed else { panic!("it is told to wait") };
    assert_eq!(verdict.gate, Gate::Shadow);
    assert!(verdict.why.contains("20.0%") && verdict.why.contains("80.0%"), "{}", verdict.why);
    evidence.pairs = 8;
    let stop = proof::may_take_traffic(&evidence, &policy).expect_err("too few pairs");
    assert!(matches!(stop, Stop::Wait(_)), "it may have been away for a moment");
    assert!(proof::disagrees(&evidence, &policy).is_some(), "once there is no more time");
}

#[test]
fn the_default_policy_leaves_room_for_a_control_of_the_same_size() {
    let steps = Policy::default().release.steps;
    assert!(steps.iter().all(|step| step.share <= super::policy::CANDIDATE_SHARE_MAX));
    assert!(steps.is_sorted_by_key(|step| step.share));
}
