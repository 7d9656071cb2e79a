//! What the detector sees: errors in the order of predictions, once their labels have had the time to come.

use super::*;
use crate::domain::stats::window::Minute;

/// What the detector of the version has come to.
pub(super) fn shown(state: &State) -> (u64, u64, Vec<u64>) {
    let version = &state.models[0].versions[0];
    let changes = version.last_changes.iter().map(|change| change.predicted_us);
    (version.watched, version.changes, changes.collect())
}

/// When a label of prediction `n` comes, in seconds after noon, and what it says.
type Told = (u64, u64, Option<&'static str>);

/// Six predictions a minute for `minutes`, and the labels as they come.
fn run(state: &mut State, minutes: std::ops::Range<u64>, mut told: Vec<Told>) {
    told.sort_by_key(|(at, ..)| *at);
    let mut told = (1_000_000..).zip(told).peekable();
    for second in minutes.start * 60..minutes.end * 60 {
        if second.is_multiple_of(10) {
            predict(state, &predicted(second, "a", &[0.5, 0.3, 0.2]));
        }
        while let Some((lsn, (at, n, truth))) = told.next_if(|(_, (at, ..))| *at <= second) {
            // Ids of their own, so that the same truth may be told again after another.
            let own = format!("{lsn}");
            let record = FeedbackRecord {
                feedback_id: &own,
                ts_us: NOON + at * SECOND,
                label: truth,
                retracted: truth.is_none(),
                ..label(FeedbackTarget::Prediction(id(n)), "")
            };
            state.feedback(lsn, &record, u64::MAX);
        }
    }
}

/// Every tenth is an error, from second `worse` on every second.
fn truth(second: u64, worse: u64) -> &'static str {
    let at = second / 10;
    if at.is_multiple_of(10) || (second >= worse && at.is_multiple_of(2)) { "b" } else { "a" }
}

#[test]
fn a_change_of_the_error_rate_is_seen_once_labels_have_had_the_time_to_come() {
    let (end, worse) = (400 * 60, 200 * 60);
    // Each label comes after about a minute.
    let told = (0..end).step_by(10).map(|n| (n + 50 + n % 7, n, Some(truth(n, worse)))).collect();
    let mut state = state_of(classes());
    run(&mut state, 0..400, told);
    let version = &state.models[0].versions[0];
    // All but those of the last minutes.
    assert!((2360..2400).contains(&version.watched), "{}", version.watched);
    assert_eq!(version.changes, 1);
    let change = &version.last_changes[0];
    let after = (change.predicted_us - NOON) / SECOND;
    assert!((worse..worse + 1200).contains(&after), "{after}");
    let seen = Minute::of_us(change.ts_us).0 - Minute::of_us(change.predicted_us).0;
    assert!((2..5).contains(&seen), "{seen} minutes later");
}

#[test]
fn labels_that_come_sorted_are_no_change() {
    // A job at the end of each hour tells first all errors, then what was right; errors are one in ten, always.
    let end = 20 * 3600;
    let told = |n: u64| {
        let of_hour = n % 3600 / 40;
        let at = (n / 3600 + 1) * 3600 + if truth(n, end) == "b" { of_hour } else { 100 + of_hour };
        (at, n, Some(truth(n, end)))
    };
    let mut state = state_of(classes());
    run(&mut state, 0..20 * 60, (0..end).step_by(10).map(told).collect());
    let (watched, changes, _) = shown(&state);
    assert!(watched > 5000, "{watched}");
    assert_eq!(changes, 0);
}

/// What counts at the moment of maturity is shown, once, however often and in whatever order it came.
#[test]
fn repetitions_and_what_was_taken_back_in_time_change_nothing() {
    let end = 300 * 60;
    let once: Vec<Told> =
        (0..end).step_by(10).map(|n| (n + 40, n, Some(truth(n, 150 * 60)))).collect();
    let mut often = Vec::new();
    for &(at, n, truth) in &once {
        // Said wrongly, taken back, said rightly, and again.
        often.extend([
            (at - 3, n, Some("c")),
            (at - 2, n, None),
            (at - 1, n, truth),
            (at, n, truth),
        ]);
        if n % 30 == 0 {
            often.push((at + 5, n, truth));
        }
    }
    let shown_of = |told: Vec<Told>| {
        let mut state = state_of(classes());
        run(&mut state, 0..300, told);
        shown(&state)
    };
    let expected = shown_of(once);
    assert_eq!(expected.1, 1);
    assert_eq!(shown_of(often), expected);
}

#[test]
fn a_restart_shows_nothing_twice_and_forgets_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let end = 300 * 60;
    let told: Vec<Told> =
        (0..end).step_by(10).map(|n| (n + 40, n, Some(truth(n, 150 * 60)))).collect();
    let mut never = state_of(classes());
    run(&mut never, 0..300, told.clone());
    let mut state = state_of(classes());
    for part in [0..111, 111..160, 160..163, 163..300] {
        let (from, to) = (part.start * 60, part.end * 60);
        let own = told.iter().filter(|(at, ..)| (from..to).contains(at)).copied().collect();
        run(&mut state, part, own);
        let kept = checkpoint(dir.path(), &state);
        kept.write(&kept.encode(&state.saved(9)).expect("bytes")).expect("written");
        state = state_of(classes());
        state.restore(kept.read(9).expect("good").expect("there"));
    }
    assert_eq!(shown(&state), shown(&never));
}

#[test]
fn where_few_get_a_label_nothing_is_shown_before_the_window_is_over() {
    let spec = FeedbackSpec { window: Duration::from_secs(7200), ..FeedbackSpec::default() };
    let mut state = State::new([(ModelName::new("m"), classes())], &spec);
    let end = 240 * 60;
    let told: Vec<Told> = (0..end).step_by(40).map(|n| (n + 20, n, Some("a"))).collect();
    let (early, late): (Vec<Told>, Vec<Told>) = told.into_iter().partition(|told| told.0 < 80 * 60);
    run(&mut state, 0..80, early);
    assert_eq!(shown(&state).0, 0, "three of four may still get one");
    run(&mut state, 80..240, late);
    assert!(shown(&state).0 > 200, "{}", shown(&state).0);
}
