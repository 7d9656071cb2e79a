//! What a process that has just begun does not know: it ends no condition, and keeps no measure of another pair.

use super::deaths::tried;
use super::*;
use crate::domain::lifecycle::evidence::{CanaryEvidence, ShadowEvidence};

impl Bench {
    /// Another process looks, and knows nothing but who can answer.
    fn begins_anew(&mut self) {
        // Sources tell a little later.
        let before = std::mem::take(&mut self.observed);
        self.observed.began = self.now.steady;
        for (name, seen) in &before.models[&model()].versions {
            let (digest, ready) = (seen.digest.clone(), seen.ready);
            self.sees(name.as_str(), |seen| (seen.digest, seen.ready) = (digest, ready));
        }
        self.write(Draft::own(What::Recovered));
    }

    /// The condition that is told next, and whether it began.
    fn tells(&mut self) -> Option<(Alert, bool)> {
        // Time itself goes before.
        self.write(Draft::own(What::Ticked));
        let planned = plan(&self.state, &self.observed, &self.policies, self.now);
        planned.drafts.into_iter().find_map(|draft| match draft.what {
            What::Alerted { alert, on, .. } => Some((alert, on)),
            _ => None,
        })
    }

    fn alerts(&self) -> Vec<Alert> {
        let model = self.state.model(&model()).expect("a model");
        model.alerts().cloned().collect()
    }
}

#[test]
fn what_is_known_in_memory_only_is_not_over_because_a_process_has_just_begun() {
    let both: fn(&mut Bench) = |bench| bench.degrades("v1", Signal::SloBurn);
    let cases =
        [(Alert::Correlated(version("v2")), Some(both)), (Alert::NoWayBack(version("v2")), None)];
    for (alert, more) in cases {
        let mut bench = Bench::live();
        bench.degrades("v2", Signal::SloBurn);
        if let Some(more) = more {
            more(&mut bench);
        }
        // No look at the standby comes.
        bench.passes(2 * MINUTE);
        bench.settle();
        assert_eq!(bench.alerts(), std::slice::from_ref(&alert));
        bench.begins_anew();
        bench.passes(9 * MINUTE);
        assert_eq!(bench.tells(), None, "{alert}");
        bench.passes(MINUTE);
        assert_eq!(bench.tells(), Some((alert, false)), "it would be stale by now anyway");
    }
}

#[test]
fn counts_that_do_not_fit_do_so_until_others_say_that_they_fit() {
    let mut bench = tried("canary");
    let counts = |sample_ratio| {
        move |seen: &mut ObservedVersion| {
            seen.canary = Some(CanaryEvidence { sample_ratio, ..CanaryEvidence::default() });
        }
    };
    bench.sees("v2", counts(Some(1e-9)));
    bench.settle();
    let alert = Alert::Ratio(version("v2"));
    assert_eq!(bench.alerts(), std::slice::from_ref(&alert));
    bench.begins_anew();
    bench.passes(20 * MINUTE);
    assert_eq!(bench.tells(), None, "nothing was counted since");
    bench.sees("v2", counts(None));
    assert_eq!(bench.tells(), None, "nor were there enough");
    bench.sees("v2", counts(Some(0.4)));
    assert_eq!(bench.tells(), Some((alert, false)));
}

#[test]
fn what_a_source_has_shown_stands_until_it_shows_something_else() {
    let mut bench = Bench::live();
    let digest = Digest::new("another");
    let seen = bench.observed.model_mut(&model());
    let mut sightings = (*seen.sightings).clone();
    let told = sightings.clone();
    sightings.get_mut(&version("v2")).expect("sighted").release.digest = digest;
    seen.sightings = Arc::new(sightings);
    bench.settle();
    let alert = Alert::Republished(version("v2"));
    assert_eq!(bench.alerts(), std::slice::from_ref(&alert));
    bench.begins_anew();
    bench.passes(60 * MINUTE);
    assert_eq!(bench.tells(), None);
    bench.observed.model_mut(&model()).sightings = Arc::new(told);
    assert_eq!(bench.tells(), Some((alert, false)));
}

#[test]
fn a_golden_set_that_cannot_be_used_is_told_until_it_can() {
    let mut bench = Bench::live();
    bench.policies.default.release.golden = Some("truths.jsonl".into());
    let finds = |bench: &mut Bench, found: Option<Result<(), String>>| {
        bench.observed.model_mut(&model()).golden = found;
        bench.tells()
    };
    assert_eq!(finds(&mut bench, None), None);
    let why = Some(Err("line 3 of truths.jsonl is no golden case".to_owned()));
    assert_eq!(finds(&mut bench, why), Some((Alert::Golden, true)));
    bench.settle();
    assert_eq!(finds(&mut bench, None), None, "another process has not read it yet");
    assert_eq!(finds(&mut bench, Some(Ok(()))), Some((Alert::Golden, false)));
    bench.policies.default.release.golden = None;
    assert_eq!(finds(&mut bench, None), Some((Alert::Golden, false)), "none is named any more");
}

#[test]
fn agreement_is_a_measure_for_the_pair_that_was_compared() {
    let mut bench = tried("shadow");
    let began = bench.now.steady;
    bench.sees("v2", |seen| {
        seen.shadow = Some(ShadowEvidence {
            began,
            pairs: 500,
            agreement_low: Some(0.93),
            agreement_high: Some(0.99),
            slower_high: Some(1.2),
            ..ShadowEvidence::default()
        });
    });
    bench.settle();
    assert_eq!(bench.stage("v2"), "canary");
    let model = bench.state.model(&model()).expect("a model");
    let [one, two] = ["v1", "v2"].map(|name| model.version(&version(name)).expect("a version"));
    assert_eq!(two.agreed_with(&one.release().digest), Some(0.93));
    assert_eq!(two.agreed_with(&two.release().digest), None);
    assert_eq!(one.agreed_with(&two.release().digest), None);
}
