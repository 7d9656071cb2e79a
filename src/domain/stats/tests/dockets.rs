//! Which windows are judged together.

use std::sync::Arc;

use super::drifting::{normal_baseline, window};
use super::streams::SplitMix;
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::drift::Policy;
use crate::domain::stats::drift::docket::{Docket, Judgement};
use crate::domain::stats::layout::Value;
use crate::domain::stats::verdict::Outcome;
use crate::domain::stats::window::{Minute, Window, WindowCounts, WindowLength};

/// The hour that begins so many hours after the epoch, with `n` values.
fn hour(baseline: &Baseline, generator: &mut SplitMix, at: u32, n: usize) -> Window {
    let mut counts = WindowCounts::default();
    counts.add_values(&window(baseline, generator, n, 0.0));
    Window { start: Minute(at * 60), length: WindowLength::Hour, counts }
}

#[test]
fn windows_with_few_values_are_judged_together() {
    let baseline = normal_baseline(2, 5000);
    let mut docket = Docket::new(Arc::clone(&baseline), Policy::default());
    let mut generator = SplitMix::new(4);
    assert!(docket.hear(&hour(&baseline, &mut generator, 1, 40), 1).is_none());
    // An hour without requests does not come at all.
    assert!(docket.hear(&hour(&baseline, &mut generator, 3, 59), 1).is_none());
    let judged = docket.hear(&hour(&baseline, &mut generator, 4, 1), 1).expect("a hundred values");
    assert_eq!((judged.since, judged.until), (Minute(60), Minute(300)));
    assert_eq!(judged.report.features[0].measured.n, 100);
    assert_eq!(judged.report.features[0].verdict.outcome, Outcome::Pass);
    let next = docket.hear(&hour(&baseline, &mut generator, 5, 200), 1).expect("enough by itself");
    assert_eq!((next.since, next.judged), (Minute(300), 2));
    assert_eq!(next.report.features[0].measured.n, 200, "nothing is judged twice");
}

#[test]
fn a_day_with_too_little_is_told_as_insufficient() {
    let baseline = normal_baseline(1, 5000);
    let mut docket = Docket::new(Arc::clone(&baseline), Policy::default());
    let mut generator = SplitMix::new(5);
    let judged: Vec<Judgement> =
        (0..48).filter_map(|at| docket.hear(&hour(&baseline, &mut generator, at, 2), 1)).collect();
    assert_eq!(judged.len(), 2, "one a day");
    for judgement in judged {
        assert_eq!(judgement.report.features[0].verdict.outcome, Outcome::Insufficient);
        assert_eq!(judgement.breaches(), 0);
    }
}

#[test]
fn windows_that_were_heard_change_nothing() {
    let baseline = normal_baseline(1, 5000);
    let mut generator = SplitMix::new(6);
    let windows: Vec<Window> = (0..10).map(|at| hour(&baseline, &mut generator, at, 150)).collect();
    let mut once = Docket::new(Arc::clone(&baseline), Policy::default());
    let wanted: Vec<Judgement> = windows.iter().filter_map(|window| once.hear(window, 1)).collect();
    // As a running gateway hears them: all that are kept, each time that one is closed.
    let mut again = Docket::new(Arc::clone(&baseline), Policy::default());
    let mut found = Vec::new();
    for closed in 1..=windows.len() {
        found.extend(windows[..closed].iter().filter_map(|window| again.hear(window, 1)));
    }
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found.report, wanted.report);
    }
}

#[test]
fn values_that_were_counted_by_another_baseline_are_passed_over() {
    let (ours, other) = (normal_baseline(1, 5000), normal_baseline(2, 5000));
    let mut docket = Docket::new(ours, Policy::default());
    assert!(docket.hear(&hour(&other, &mut SplitMix::new(7), 1, 500), 1).is_none());
}

#[test]
fn a_feature_that_few_rows_have_is_judged_once_it_has_enough() {
    let baseline = normal_baseline(2, 5000);
    let mut docket = Docket::new(Arc::clone(&baseline), Policy::default());
    let mut generator = SplitMix::new(8);
    let mut judged = Vec::new();
    for at in 0..60 {
        // In one of twenty rows there is a second feature, which lies eight deviations from where it was.
        let mut counts = window(&baseline, &mut generator, 0, 0.0);
        for row in 0..300 {
            counts.record(0, Value::Number(generator.normal()));
            let rare = row % 20 == 0;
            let moved = generator.normal() + 8.0;
            counts.record(1, if rare { Value::Number(moved) } else { Value::Missing });
        }
        let mut hour = hour(&baseline, &mut generator, at, 0);
        hour.counts.add_values(&counts);
        judged.push(docket.hear(&hour, 1).expect("the first feature has enough"));
    }
    let outcomes: Vec<Outcome> =
        judged.iter().map(|judgement| judgement.report.features[1].verdict.outcome).collect();
    assert_eq!(outcomes[..6], [Outcome::Insufficient; 6]);
    assert_eq!(judged[6].report.features[1].measured.n, 105, "seven hours have waited");
    assert_eq!(judged[7].report.features[1].measured.n, 15, "nothing is judged twice");
    assert_eq!(
        outcomes[6..],
        [Outcome::Breach; 54],
        "and what is known stays so while others wait"
    );
    assert!(judged.iter().all(|judgement| judgement.report.features[0].measured.n == 300));
}

/// A process that ends after any window, and its successor, which hears all windows that are kept, come to the same
/// as one that never ends: to the last bit, also where what is kept reaches back less far than the evidence.
#[test]
fn what_was_kept_goes_on_as_if_nothing_had_been() {
    let baseline = normal_baseline(2, 5000);
    let mut generator = SplitMix::new(9);
    let windows: Vec<Window> = (0..120)
        .map(|at| {
            let mut counts = window(&baseline, &mut generator, 0, 0.0);
            let rows = if at % 7 == 0 { 30 } else { 160 };
            for row in 0..rows {
                // The first moves by a fifth of a deviation, which takes many windows; the second is rare.
                counts.record(0, Value::Number(generator.normal() + 0.2));
                let rare = row % 20 == 0;
                let other = generator.normal();
                counts.record(1, if rare { Value::Number(other) } else { Value::Missing });
            }
            let mut hour = hour(&baseline, &mut generator, at, 0);
            hour.counts.add_values(&counts);
            hour
        })
        .collect();
    let shown = |judgement: &Judgement| {
        format!("{:?} {:?} {:?}", judgement.until, judgement.judged, judgement.report)
    };
    let mut whole = Docket::new(Arc::clone(&baseline), Policy::default());
    let wanted: Vec<String> =
        windows.iter().filter_map(|window| whole.hear(window, 2)).map(|it| shown(&it)).collect();

    let mut docket = Docket::new(Arc::clone(&baseline), Policy::default());
    let (mut last, mut found): (Option<Judgement>, Vec<String>) = (None, Vec::new());
    for (at, window) in windows.iter().enumerate() {
        let saved = docket.saved(last.as_ref());
        let (resumed, again) =
            Docket::resume(Arc::clone(&baseline), Policy::default(), saved).expect("it fits");
        assert_eq!(again.as_ref().map(shown), last.as_ref().map(shown), "window {at}");
        docket = resumed;
        for window in &windows[at.saturating_sub(24)..at] {
            assert!(docket.hear(window, 2).is_none(), "it was heard");
        }
        if let Some(judgement) = docket.hear(window, 2) {
            found.push(shown(&judgement));
            last = Some(judgement);
        }
    }
    assert_eq!(found, wanted);
    assert!(wanted.len() > 80 && docket.saved(last.as_ref()) == whole.saved(last.as_ref()));
    // Against another baseline of another layout it is of no use.
    let other = normal_baseline(1, 5000);
    assert!(Docket::resume(other, Policy::default(), docket.saved(last.as_ref())).is_none());
    assert_ne!(baseline.fingerprint(), normal_baseline(2, 5001).fingerprint());
    assert_eq!(baseline.fingerprint(), normal_baseline(2, 5000).fingerprint());
}
