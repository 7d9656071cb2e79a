//! Whether a version refuses what it is asked: by the gateway's check of a model in this process, or by a backend with
//! a 4xx.
//!
//! Owns this reading. A field that a client renames or sends with another type is a refusal wherever inputs are
//! checked, and neither a failure nor a value that could drift. Never counts what no version was chosen for.

use super::traffic::share;
use crate::domain::record::Outcome;
use crate::domain::spec::AlarmLimits;
use crate::domain::stats::alarm::{Evidence, Finding, Reading, Rule};
use crate::domain::stats::rate_band::{CHANCE, exceeds, share_band};
use crate::domain::stats::two_by_two::Tally;
use crate::domain::stats::window::Traffic;

/// However many were usual: of a version that refuses more than every second request somebody should know.
const USUAL_MAX: f64 = 0.5;

/// The refusals among the exchanges that a version took or refused. What failed or was broken off says nothing here.
pub(super) fn tally(traffic: &Traffic) -> Tally {
    let rejected = traffic.outcome(Outcome::Rejected);
    Tally::new(rejected, rejected + traffic.outcome(Outcome::Ok))
}

/// What is usual: the middle one of the spans before, of those with enough samples; of an even number, the one with
/// fewer refusals.
pub(super) fn usual(spans: impl IntoIterator<Item = Tally>, samples: u64) -> Option<Tally> {
    let mut spans: Vec<Tally> = spans.into_iter().filter(|span| span.total >= samples).collect();
    let of = |span: &Tally| share(span.failures, span.total);
    spans.sort_unstable_by(|a, b| of(a).total_cmp(&of(b)));
    spans.get(spans.len().checked_sub(1)? / 2).copied()
}

/// Too many refusals in the first of the spans that has enough exchanges. A span is its minutes and what was counted
/// in them; `usual` is asked only where it matters.
pub(super) fn rejection_rate(
    spans: impl IntoIterator<Item = (u32, Tally)>,
    usual: impl FnOnce() -> Option<Tally>,
    limits: &AlarmLimits,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let enough = |span: &(u32, Tally)| span.1.total >= rule.samples;
    let Some((window, now)) = spans.into_iter().find(enough) else { return Reading::Insufficient };
    let by = |limit: f64| exceeds(now.failures, now.total, limit, CHANCE);
    if by(limits.rejected_share).is_none() {
        return Reading::Good;
    }
    let usual = usual();
    let limit = usual.map_or(limits.rejected_share, |usual| {
        let factor = f64::from(limits.rejected_factor);
        let (_, band) = share_band(share(usual.failures, usual.total), usual.total, factor);
        band.min(USUAL_MAX).max(limits.rejected_share)
    });
    let Some(p) = by(limit) else { return Reading::Good };
    let before = usual.map_or_else(
        || "nothing is known of the time before".to_owned(),
        |usual| format!("before, {} of {} were usual", usual.failures, usual.total),
    );
    Reading::Bad(Evidence {
        definition: format!(
            "the share of requests that were refused in {window} minutes (4xx; `rejected` in records); {before}"
        ),
        value: share(now.failures, now.total),
        limit,
        samples: now.total,
        minutes: ((minute + 1).saturating_sub(u64::from(window)), minute + 1),
        p: Some(p),
        findings: vec![Finding {
            subject: Outcome::Rejected.as_str().to_owned(),
            what: format!("{} of {} requests", now.failures, now.total),
            value: share(now.failures, now.total),
            limit,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::AlarmRules;
    use crate::domain::stats::alarm::AlarmKind;

    const MINUTE: u64 = 30_000_000;

    fn look(spans: &[(u32, Tally)], before: &[Tally]) -> Reading {
        let rules = AlarmRules::default();
        let rule = rules.rule(AlarmKind::RejectionRate).expect("a rule");
        let usual = || usual(before.iter().copied(), rule.samples);
        rejection_rate(spans.iter().copied(), usual, &rules.limits, rule, MINUTE)
    }

    fn is_bad(reading: &Reading) -> bool {
        matches!(reading, Reading::Bad(_))
    }

    #[test]
    fn a_version_that_refuses_everything_is_told_and_one_that_refuses_some_is_not() {
        let Reading::Bad(evidence) = look(&[(10, Tally::new(150, 150))], &[]) else {
            panic!("all were refused")
        };
        assert_eq!((evidence.value, evidence.limit, evidence.samples), (1.0, 0.2, 150));
        assert_eq!(evidence.minutes, (MINUTE - 9, MINUTE + 1));
        assert_eq!(evidence.findings[0].what, "150 of 150 requests");
        assert_eq!(look(&[(10, Tally::new(20, 150))], &[]), Reading::Good);
        assert_eq!(look(&[(10, Tally::new(12, 12))], &[]), Reading::Insufficient);
    }

    #[test]
    fn little_traffic_is_looked_at_over_a_longer_time() {
        let spans = [(10, Tally::new(1, 1)), (60, Tally::new(3, 3)), (1440, Tally::new(24, 72))];
        assert_eq!(look(&spans, &[]), Reading::Good, "a third of a few");
        let spans = [(10, Tally::new(1, 1)), (60, Tally::new(3, 3)), (1440, Tally::new(60, 72))];
        let Reading::Bad(evidence) = look(&spans, &[]) else { panic!("most of the day") };
        assert_eq!(evidence.minutes, (MINUTE - 1439, MINUTE + 1));
    }

    #[test]
    fn what_was_usual_is_taken_for_granted_up_to_every_second_request() {
        let now = [(10, Tally::new(400, 1000))];
        assert!(is_bad(&look(&now, &[Tally::new(100, 10_000)])));
        assert_eq!(look(&now, &[Tally::new(1700, 10_000)]), Reading::Good, "17 % every day");
        assert!(is_bad(&look(&[(10, Tally::new(20, 20))], &[Tally::new(10_000, 10_000)])));
        // One bad day among good ones is not what is usual, and a day with few says nothing.
        let days = [Tally::new(0, 9000), Tally::new(9000, 9000), Tally::new(4, 5)];
        assert!(is_bad(&look(&now, &days)));
    }

    #[test]
    fn what_failed_or_was_broken_off_is_no_part_of_the_share() {
        let mut traffic = Traffic::default();
        for (outcome, count) in
            [(Outcome::Ok, 6), (Outcome::Rejected, 4), (Outcome::UpstreamError, 90)]
        {
            traffic.outcomes[usize::from(outcome.code()) - 1] = count;
        }
        assert_eq!(tally(&traffic), Tally::new(4, 10));
    }
}
