//! What is usual, and which silences chance explains: on traffic of many kinds, simulated.

use proptest::prelude::*;

use super::*;
use crate::domain::stats::tests::streams::SplitMix;

/// A Monday, 00:00.
const MONDAY: u64 = (4 + 7 * 2900) * 1440;

/// Feeds a model whose requests a minute are a function of the minute since [`MONDAY`].
fn feed(history: &mut History, minutes: std::ops::Range<u64>, rate: impl Fn(u64) -> u64) {
    for minute in minutes {
        let window = (minute.saturating_sub(4)..=minute).map(&rate).sum();
        history.add(Look { minute: MONDAY + minute, requests: rate(minute), window });
    }
}

/// 20 requests a minute on working days from 9 to 17.
fn office(minute: u64) -> u64 {
    let (day, hour) = (minute / 1440 % 7, minute / 60 % 24);
    if day < 5 && (9..17).contains(&hour) { 20 } else { 0 }
}

#[test]
fn nothing_is_usual_before_an_hour_was_seen() {
    let mut history = History::default();
    feed(&mut history, 0..60, |_| 1);
    assert_eq!(history.usual(MONDAY + 30), None);
    feed(&mut history, 60..61, |_| 1);
    let usual = history.usual(MONDAY + 60).expect("an hour");
    let busy = Busy { minutes: 60, of: 60 };
    assert_eq!((usual.basis, usual.peak, usual.busy), (Basis::Hours(1), 5, busy));
}

#[test]
fn after_a_week_like_hours_are_compared() {
    let mut history = History::default();
    feed(&mut history, 0..8 * 1440, office);
    // Monday noon, and Sunday noon.
    let noon = history.usual(MONDAY + 7 * 1440 + 12 * 60).expect("a week");
    assert_eq!((noon.basis, noon.trough, noon.peak), (Basis::Weeks(1), 100, 100));
    assert_eq!(noon.busy, Busy { minutes: 60, of: 60 });
    let sunday = history.usual(MONDAY + 13 * 1440 + 12 * 60);
    let sunday = sunday.expect("a week");
    assert_eq!((sunday.trough, sunday.peak, sunday.busy.minutes), (0, 0, 0));
    // The hour next to a silent one is as wide as that.
    let nine = history.usual(MONDAY + 8 * 1440 + 9 * 60).expect("a week");
    assert_eq!((nine.trough, nine.peak, nine.busy.minutes), (0, 100, 0));
}

#[test]
fn nights_and_weekends_are_no_silence_once_a_week_was_seen() {
    let mut history = History::default();
    // The first weekend looks like an outage: until then, all days were alike.
    feed(&mut history, 0..7 * 1440 + 9 * 60 + 1, office);
    let mut least = 1.0_f64;
    for minute in 7 * 1440 + 9 * 60 + 1..21 * 1440 {
        feed(&mut history, minute..minute + 1, office);
        least = least.min(history.silence_bound());
    }
    assert!(least > 0.99, "{least}");
    // An outage at noon of a Tuesday is one.
    feed(&mut history, 21 * 1440..22 * 1440 + 12 * 60, office);
    feed(&mut history, 22 * 1440 + 12 * 60..22 * 1440 + 12 * 60 + 16, |_| 0);
    assert!(history.silence_bound() <= 1e-6, "{}", history.silence_bound());
}

#[test]
fn one_outage_does_not_become_what_is_usual() {
    let mut history = History::default();
    let outage = 14 * 1440..15 * 1440;
    feed(&mut history, 0..28 * 1440, |minute| if outage.contains(&minute) { 0 } else { 20 });
    let usual = history.usual(MONDAY + 28 * 1440 + 600).expect("weeks");
    assert_eq!((usual.basis, usual.trough), (Basis::Weeks(4), 100));
    assert_eq!(usual.busy, Busy { minutes: 120, of: 180 });
}

#[test]
fn hours_in_which_the_gateway_was_down_are_not_counted() {
    let mut history = History::default();
    feed(&mut history, 0..60, |_| 20);
    feed(&mut history, 90..120, |_| 20);
    feed(&mut history, 120..121, |_| 20);
    let usual = history.usual(MONDAY + 120).expect("an hour");
    assert_eq!((usual.basis, usual.busy), (Basis::Hours(1), Busy { minutes: 60, of: 60 }));
}

proptest! {
    // Each case writes and reads weeks of hours many times.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn memory_is_bounded_and_is_kept_over_a_restart(jumps in proptest::collection::vec((0..20_000_u64, 0..5_u64), 1..30)) {
        let mut history = History::default();
        let mut minute = MONDAY;
        for (jump, requests) in jumps {
            minute += jump;
            history.add(Look { minute, requests, window: requests });
            prop_assert!(history.hours.len() <= HOURS_MAX);
            let kept = serde_json::to_string(&history).expect("text");
            let again: History = serde_json::from_str(&kept).expect("a history");
            prop_assert_eq!(&again, &history);
        }
    }
}

/// Requests an hour at a minute.
type Rate<'a> = &'a dyn Fn(u64) -> f64;

/// The silences that chance is said not to explain, of a model with so many requests an hour, `batch` at a time; then,
/// at noon, how many minutes it takes until the end of all traffic is told.
fn simulate(days: u64, batch: u64, per_hour: impl Fn(u64) -> f64) -> (u32, u64) {
    let mut random = SplitMix::new(7);
    let mut history = History::default();
    let (mut wrong, mut told) = (0, false);
    for minute in 0..days * 1440 + 720 {
        let requests = batch * random.poisson(per_hour(minute) / 60.0);
        history.add(Look { minute: MONDAY + minute, requests, window: requests });
        let is_told = history.silence_bound() <= 1e-6;
        wrong += u32::from(is_told && !told);
        told = is_told;
    }
    let mut silent = 0;
    while history.silence_bound() > 1e-6 && silent < 10_000 {
        let minute = MONDAY + days * 1440 + 720 + silent;
        history.add(Look { minute, requests: 0, window: 0 });
        silent += 1;
    }
    (wrong, silent)
}

#[test]
fn chance_alone_is_no_silence_at_any_rate_and_the_end_of_traffic_is_one() {
    let day = |rate: f64, minute: u64| {
        rate * (1.0 + 0.9 * (float(minute % 1440) / 1440.0 * std::f64::consts::TAU).sin())
    };
    let hours = |minute: u64| if office(minute) > 0 { 300.0 } else { 15.0 };
    let cases: [(&str, u64, Rate<'_>, u64); 8] = [
        ("3 an hour", 1, &|_| 3.0, 800),
        ("12 an hour", 1, &|_| 12.0, 180),
        ("60 an hour", 1, &|_| 60.0, 40),
        ("600 an hour", 1, &|_| 600.0, 16),
        ("30 an hour, less at night", 1, &|minute| day(30.0, minute), 120),
        ("300 an hour, less at night", 1, &|minute| day(300.0, minute), 30),
        ("office hours", 1, &hours, 30),
        ("batches of 50", 50, &|_| 3.0, 800),
    ];
    for (what, batch, per_hour, within) in cases {
        let (wrong, silent) = simulate(30, batch, per_hour);
        assert_eq!(wrong, 0, "{what}");
        assert!(silent <= within, "{what}: told after {silent} minutes");
    }
}

#[test]
fn minutes_in_a_row_are_one_event_and_a_busy_test_is_left_out() {
    let hour = |busy, ends| Hour { looks: 60, busy, ends, ..Hour::default() };
    assert_eq!(Busy::of_hours(&[hour(10, 1)]), Busy { minutes: 1, of: 60 });
    assert_eq!(Busy::of_hours(&[hour(3, 3), hour(60, 0)]), Busy { minutes: 63, of: 120 });
    let mut history = History::default();
    // Four Mondays, in the third of which somebody tested.
    feed(&mut history, 0..28 * 1440, |minute| u64::from(minute / 1440 == 14));
    let usual = history.usual(MONDAY + 28 * 1440 + 600).expect("weeks");
    assert_eq!((usual.basis, usual.busy.minutes), (Basis::Weeks(4), 0));
    assert_eq!(usual.busy.silence(1e-6), None, "nothing is to be expected");
}
