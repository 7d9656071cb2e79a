//! What can be said of traffic without looking into it: silence, rate, failures, repeated inputs.
//!
//! Owns these readings. Works on sums of closed windows; never on values.

use std::time::Duration;

use crate::domain::record::Outcome;
use crate::domain::spec::AlarmLimits;
use crate::domain::stats::alarm::{Evidence, FINDINGS_MAX, Finding, Reading, Rule};
use crate::domain::stats::heavy_hitters::HeavyHitters;
use crate::domain::stats::rate_band::{Basis, CHANCE, History, Place, Usual, exceeds, place_count};
use crate::domain::stats::window::{LatencyCounts, Traffic};

/// How much wider the band is on the first day.
const FIRST_DAY: f64 = 1.5;

/// No request for longer than allowed, or than usual; `quiet` are the minutes without one up to now.
pub(super) fn silence(
    quiet: u64,
    history: &History,
    usual: Option<Usual>,
    after: Option<u32>,
    rule: &Rule,
    minute: u64,
) -> Reading {
    if quiet == 0 {
        return Reading::Good;
    }
    let bad = |limit: u64, definition: String, p: Option<f64>| {
        Reading::Bad(Evidence {
            definition,
            value: float(quiet),
            limit: float(limit),
            samples: quiet,
            minutes: (minute + 1 - quiet.min(minute), minute + 1),
            p,
            findings: Vec::new(),
        })
    };
    if let Some(after) = after.map(u64::from) {
        let definition = "minutes without a request; the limit is set".to_owned();
        return match quiet >= after {
            true => bad(after, definition, None),
            false => Reading::Insufficient,
        };
    }
    let Some(usual) = usual else { return Reading::Insufficient };
    let (window, p) = (u64::from(rule.window), history.silence_bound());
    if quiet < window || p > CHANCE {
        return Reading::Insufficient;
    }
    // Where the silence reaches back to busier hours, it is one sooner than this hour says.
    let limit = usual.busy.silence(CHANCE).unwrap_or(quiet).max(window).min(quiet);
    let definition = format!(
        "minutes without a request, where {} had requests in {} of {} minutes",
        basis(usual.basis),
        usual.busy.minutes,
        usual.busy.of
    );
    bad(limit, definition, Some(p))
}

/// Many times more requests than usual, or far fewer. `requests` are those of the rule's window.
pub(super) fn request_rate(
    requests: u64,
    usual: Option<Usual>,
    factor: u32,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let Some(usual) = usual else { return Reading::Insufficient };
    // On the first day no hour is like another: traffic that grows in the morning is no alarm. And
    // only a whole week knows what a quiet hour is.
    let (factor, floor) = match usual.basis {
        Basis::Weeks(_) => (f64::from(factor), usual.trough),
        Basis::Days(_) => (f64::from(factor), 0),
        Basis::Hours(_) => (f64::from(factor) * FIRST_DAY, 0),
    };
    let place = place_count(requests, (floor, usual.peak), factor, rule.samples);
    let (against, limit, p) = match place {
        Place::Unknown => return Reading::Insufficient,
        Place::Within => return Reading::Good,
        // No request at all is a silence, and told as one.
        Place::Below(_) if requests == 0 => return Reading::Insufficient,
        Place::Above(p) => (format!("{factor} times the busiest"), float(usual.peak) * factor, p),
        Place::Below(p) => (format!("one {factor}th of the quietest"), float(floor) / factor, p),
    };
    Reading::Bad(Evidence {
        definition: format!(
            "requests in {} minutes, against {against} such window of {}",
            rule.window,
            basis(usual.basis)
        ),
        value: float(requests),
        limit,
        samples: requests.max(floor),
        minutes: minutes(minute, rule),
        p: Some(p),
        findings: Vec::new(),
    })
}

/// Too large a share of the exchanges failed. What the client, or a limit, ended is no failure.
pub(super) fn error_rate(
    traffic: &Traffic,
    limits: &AlarmLimits,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let failures = [Outcome::ModelError, Outcome::UpstreamError, Outcome::Timeout];
    let failed: u64 = failures.iter().map(|outcome| traffic.outcome(*outcome)).sum();
    let samples = failed + traffic.outcome(Outcome::Ok);
    if samples < rule.samples {
        return Reading::Insufficient;
    }
    let Some(p) = exceeds(failed, samples, limits.error_share, CHANCE) else {
        return Reading::Good;
    };
    let finding = |outcome: &Outcome| Finding {
        subject: outcome.as_str().to_owned(),
        what: format!("{} exchanges", traffic.outcome(*outcome)),
        value: share(traffic.outcome(*outcome), samples),
        limit: limits.error_share,
    };
    let has = |outcome: &&Outcome| traffic.outcome(**outcome) > 0;
    Reading::Bad(Evidence {
        definition: format!("the share of exchanges that failed in {} minutes", rule.window),
        value: share(failed, samples),
        limit: limits.error_share,
        samples,
        minutes: minutes(minute, rule),
        p: Some(p),
        findings: failures.iter().filter(has).map(finding).collect(),
    })
}

/// How many times faster than promised the budget of slow exchanges may be used up: a fiftieth of that of 30 days in
/// an hour (Google, The Site Reliability Workbook, chapter 5).
const BURN: f64 = 14.4;

/// Too many exchanges took longer than promised, in the rule's window and in the hour. The hour says that it matters,
/// the window that it is still so.
pub(super) fn latency(
    window: &LatencyCounts,
    hour: &LatencyCounts,
    slo: Duration,
    target: f64,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let us = u32::try_from(slo.as_micros()).unwrap_or(u32::MAX);
    let budget = 1.0 - target;
    let limit = (BURN * budget).min(f64::midpoint(budget, 1.0));
    let (slow, samples) = (window.above(us), window.count());
    if samples < rule.samples {
        return Reading::Insufficient;
    }
    let p = exceeds(slow, samples, limit, CHANCE);
    let (Some(p), Some(_)) = (p, exceeds(hour.above(us), hour.count(), limit, CHANCE)) else {
        return Reading::Good;
    };
    Reading::Bad(Evidence {
        definition: format!(
            "the share of exchanges above {slo:?} in {} minutes, and in an hour; {budget:.4} is promised, and {BURN} \
             times that is the limit",
            rule.window
        ),
        value: share(slow, samples),
        limit,
        samples,
        minutes: minutes(minute, rule),
        p: Some(p),
        findings: Vec::new(),
    })
}

/// How many times its share of the day before an input must have to be told.
const UNUSUAL: f64 = 2.0;

/// One input that comes over and over, and did not so the day `before`.
pub(super) fn repeated_input(
    inputs: &HeavyHitters,
    before: &HeavyHitters,
    limits: &AlarmLimits,
    rule: &Rule,
    minute: u64,
) -> Reading {
    if inputs.total() < rule.samples {
        return Reading::Insufficient;
    }
    // What is certain decides, so that no bound on chance is needed.
    let limit = limits.repeat_share * float(inputs.total());
    let mut often = inputs.top();
    often.retain(|hitter| float(hitter.at_least()) > limit && hitter.at_least() >= rule.samples);
    // A model that is asked few different things has such inputs every day.
    if before.total() >= rule.samples {
        let usual = before.top();
        often.retain(|hitter| {
            let known = usual.iter().find(|usual| usual.input == hitter.input);
            let usual = known.map_or(0.0, |usual| share(usual.at_least(), before.total()));
            share(hitter.at_least(), inputs.total()) > UNUSUAL * usual
        });
    }
    let Some(first) = often.first() else { return Reading::Good };
    let value = share(first.at_least(), inputs.total());
    let findings = often.iter().take(FINDINGS_MAX).map(|hitter| Finding {
        subject: format!("{:032x}", hitter.input),
        what: format!("at least {} of {} requests", hitter.at_least(), inputs.total()),
        value: share(hitter.at_least(), inputs.total()),
        limit: limits.repeat_share,
    });
    Reading::Bad(Evidence {
        definition: format!(
            "the share of one input (hash of the body) in {} minutes, at least",
            rule.window
        ),
        value,
        limit: limits.repeat_share,
        samples: inputs.total(),
        minutes: minutes(minute, rule),
        p: None,
        findings: findings.collect(),
    })
}

/// The minutes of a rule's window.
pub(super) fn minutes(minute: u64, rule: &Rule) -> (u64, u64) {
    ((minute + 1).saturating_sub(u64::from(rule.window)), minute + 1)
}

fn basis(basis: Basis) -> String {
    match basis {
        Basis::Weeks(weeks) => format!("the same hour of the week in {weeks} weeks"),
        Basis::Days(days) => format!("the same hour on {days} days"),
        Basis::Hours(hours) => format!("the {hours} hours before"),
    }
}

pub(super) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { float(part) / float(all) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^53")]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::AlarmRules;
    use crate::domain::stats::alarm::AlarmKind;
    use crate::domain::stats::rate_band::Look;

    /// A Monday, 00:00, in minutes since the Unix epoch.
    const MONDAY: u64 = (4 + 7 * 2900) * 1440;

    fn rule(kind: AlarmKind) -> Rule {
        AlarmRules::default().rule(kind).expect("a rule").clone()
    }

    /// A model with `rate` requests a minute, from [`MONDAY`] on, for so many minutes.
    fn history(minutes: u64, rate: u64) -> History {
        let mut history = History::default();
        for minute in 0..minutes {
            let window = rate * 5;
            history.add(Look { minute: MONDAY + minute, requests: rate, window });
        }
        history
    }

    fn is_bad(reading: &Reading) -> bool {
        matches!(reading, Reading::Bad(_))
    }

    #[test]
    fn a_busy_model_that_falls_silent_is_noticed_after_the_window() {
        let mut history = history(7 * 1440, 10);
        let rule = rule(AlarmKind::Silence);
        let mut noticed = None;
        for (silent, minute) in (MONDAY + 7 * 1440..MONDAY + 7 * 1440 + 30).enumerate() {
            history.add(Look { minute, requests: 0, window: 0 });
            let quiet = silent as u64 + 1;
            let reading = silence(quiet, &history, history.usual(minute), None, &rule, minute);
            if is_bad(&reading) && noticed.is_none() {
                noticed = Some(silent + 1);
            }
        }
        assert_eq!(noticed, Some(16), "one week had a request in each of 60 minutes");
    }

    #[test]
    fn a_model_that_nobody_asks_is_silent_only_where_a_limit_is_set() {
        let history = history(300, 0);
        let minute = MONDAY + 300;
        let rule = rule(AlarmKind::Silence);
        let look = |after| silence(300, &history, history.usual(minute), after, &rule, minute);
        assert_eq!(look(None), Reading::Insufficient);
        assert!(is_bad(&look(Some(60))));
        assert_eq!(look(Some(301)), Reading::Insufficient);
    }

    #[test]
    fn ten_times_the_rate_is_noticed_on_the_first_day_and_a_busy_morning_is_not() {
        let history = history(120, 40);
        let minute = MONDAY + 120;
        let rule = rule(AlarmKind::RequestRate);
        let look = |requests| request_rate(requests, history.usual(minute), 4, &rule, minute);
        assert!(is_bad(&look(2000)));
        assert_eq!(look(1000), Reading::Good);
        assert_eq!(
            look(10),
            Reading::Insufficient,
            "far fewer are no alarm before there is a week"
        );
        let history = self::history(8 * 1440, 40);
        let minute = MONDAY + 8 * 1440;
        let look = |requests| request_rate(requests, history.usual(minute), 4, &rule, minute);
        assert!(is_bad(&look(1200)) && is_bad(&look(1)));
        assert_eq!(look(0), Reading::Insufficient, "this is a silence");
        assert_eq!(look(50), Reading::Good);
    }

    #[test]
    fn failures_of_the_model_count_and_those_of_clients_do_not() {
        let limits = AlarmLimits::default();
        let rule = rule(AlarmKind::ErrorRate);
        let look = |ok, failed, cancelled| {
            let mut traffic = Traffic::default();
            for (outcome, count) in [
                (Outcome::Ok, ok),
                (Outcome::UpstreamError, failed),
                (Outcome::ClientCancel, cancelled),
                (Outcome::Rejected, cancelled),
            ] {
                traffic.outcomes[usize::from(outcome.code()) - 1] = count;
            }
            error_rate(&traffic, &limits, &rule, MONDAY)
        };
        assert!(is_bad(&look(400, 100, 0)));
        assert_eq!(look(970, 30, 0), Reading::Good);
        assert_eq!(look(500, 0, 500), Reading::Good);
        assert_eq!(look(20, 20, 500), Reading::Insufficient);
        let Reading::Bad(evidence) = look(0, 60, 0) else { panic!("all failed") };
        assert_eq!(
            (evidence.value, evidence.findings[0].subject.as_str()),
            (1.0, "upstream_error")
        );
    }

    #[test]
    fn slow_exchanges_are_told_where_they_are_many_in_the_window_and_in_the_hour() {
        let rule = rule(AlarmKind::Latency);
        let counts = |fast: u64, slow: u64| {
            let mut buckets = vec![(10_000, fast), (300_000, slow)];
            buckets.retain(|(_, count)| *count > 0);
            LatencyCounts::from_parts(buckets, 0).expect("in order")
        };
        let look = |window: &LatencyCounts, hour: &LatencyCounts| {
            latency(window, hour, Duration::from_millis(200), 0.99, &rule, MONDAY)
        };
        assert!(is_bad(&look(&counts(600, 400), &counts(8000, 2000))));
        assert_eq!(look(&counts(600, 400), &counts(99_000, 500)), Reading::Good, "a moment");
        assert_eq!(look(&counts(1000, 5), &counts(6000, 4000)), Reading::Good, "it is over");
        assert_eq!(look(&counts(950, 50), &counts(9500, 500)), Reading::Good, "within 14.4 times");
        assert_eq!(look(&counts(0, 90), &counts(0, 90)), Reading::Insufficient);
        // A target that the factor would take beyond all exchanges can still be missed.
        let loose = |slow| {
            let seen = counts(1000 - slow, slow);
            latency(&seen, &seen, Duration::from_millis(200), 0.5, &rule, MONDAY)
        };
        assert!(is_bad(&loose(900)) && !is_bad(&loose(600)));
    }

    #[test]
    fn an_input_that_comes_over_and_over_is_named_by_its_hash() {
        let rule = rule(AlarmKind::RepeatedInput);
        let mut inputs = HeavyHitters::with_room();
        (0..2000).for_each(|input| inputs.add(input));
        let against = |inputs: &HeavyHitters, before: &HeavyHitters| {
            repeated_input(inputs, before, &AlarmLimits::default(), &rule, MONDAY)
        };
        let none = HeavyHitters::default();
        let look = |inputs: &HeavyHitters| against(inputs, &none);
        assert_eq!(look(&inputs), Reading::Good);
        (0..1000).for_each(|_| inputs.add(0xabc));
        let Reading::Bad(evidence) = look(&inputs) else { panic!("a third is one input") };
        assert_eq!(evidence.findings[0].subject, format!("{:032x}", 0xabc));
        assert!((0.3..=0.334).contains(&evidence.value), "{}", evidence.value);
        // A model with four possible inputs has such shares every day; one that takes over is told.
        let four = |of_first: u32| {
            let mut inputs = HeavyHitters::with_room();
            for at in 0..4000_u128 {
                inputs.add(if at < u128::from(of_first) { 0 } else { at % 4 });
            }
            inputs
        };
        assert!(is_bad(&look(&four(0))), "on the first day nothing is usual");
        assert_eq!(against(&four(0), &four(0)), Reading::Good);
        assert!(is_bad(&against(&four(3000), &four(0))));
        let mut few = HeavyHitters::with_room();
        (0..100).for_each(|_| few.add(1));
        assert_eq!(look(&few), Reading::Insufficient);
    }
}
