//! Statements of ground truth that count for nothing, in the last minutes.
//!
//! Owns what was known of them minute by minute, as far back as a window of the rule reaches, and this reading. The counts
//! are those of the join since the process began, of which only differences matter.

use std::collections::{BTreeMap, VecDeque};

use super::traffic::{float, minutes, share};
use crate::domain::stats::alarm::{Evidence, FINDINGS_MAX, Finding, Reading, Rule};
use crate::domain::stats::rate_band::{CHANCE, exceeds};
use crate::monitor::LabelFates;

/// The most minutes that are remembered: the longest window that a rule may have.
const MINUTES_MAX: usize = 24 * 60;

/// What was known, minute by minute.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Oldest first.
    minutes: VecDeque<(u64, LabelFates)>,
}

/// What happened in a window.
#[derive(Debug, Default, PartialEq, Eq)]
struct Since {
    counted: u64,
    lost: BTreeMap<&'static str, u64>,
}

impl Past {
    /// Takes note of what is known by the end of a minute.
    pub(super) fn note(&mut self, minute: u64, fates: LabelFates) {
        // A clock that was set back: what was known then is the beginning.
        if self.minutes.back().is_some_and(|(last, _)| *last >= minute) {
            self.minutes.clear();
        }
        self.minutes.push_back((minute, fates));
        while self.minutes.len() > MINUTES_MAX + 1 {
            self.minutes.pop_front();
        }
    }

    /// What was known at the beginning of the window, and what is known now; `None` before there are two.
    fn ends(&self, rule: &Rule) -> Option<(&LabelFates, &LabelFates)> {
        let (now, last) = self.minutes.back()?;
        let first = now.saturating_sub(u64::from(rule.window));
        let begin = self.minutes.iter().find(|(minute, _)| *minute >= first)?;
        (begin.0 < *now).then_some((&begin.1, last))
    }

    /// Of the statements that found no prediction, whatever their model was.
    pub(super) fn unmatched(&self, lost: f64, rule: &Rule, minute: u64) -> Reading {
        let Some((before, now)) = self.ends(rule) else { return Reading::Insufficient };
        let mut since = Since::default();
        let all = |fates: &LabelFates| -> u64 {
            fates.models.values().map(|(counted, lost)| counted + lost.values().sum::<u64>()).sum()
        };
        since.counted = all(now).saturating_sub(all(before));
        since.lost.insert("unmatched", now.unmatched.saturating_sub(before.unmatched));
        let reading = since.read(lost, rule, minute);
        let (Reading::Bad(mut evidence), Some(reach)) = (reading.clone(), now.reach) else {
            return reading;
        };
        let dropped = now.dropped.saturating_sub(before.dropped);
        evidence.findings.push(Finding {
            subject: "feedback.memory".to_owned(),
            what: format!(
                "it holds the predictions of the last {reach:?}: {dropped} were dropped before their time"
            ),
            value: float(dropped),
            limit: 0.0,
        });
        Reading::Bad(evidence)
    }

    /// Of the statements about the predictions of a model.
    pub(super) fn of_model(&self, model: &str, lost: f64, rule: &Rule, minute: u64) -> Reading {
        let Some((before, now)) = self.ends(rule) else { return Reading::Insufficient };
        let Some((counted, reasons)) = now.models.get(model) else { return Reading::Insufficient };
        let none = (0, BTreeMap::new());
        let (counted_before, reasons_before) = before.models.get(model).unwrap_or(&none);
        let more = |(reason, count): (&&'static str, &u64)| {
            let before = reasons_before.get(*reason).copied().unwrap_or(0);
            (*reason, count.saturating_sub(before))
        };
        let since = Since {
            counted: counted.saturating_sub(*counted_before),
            lost: reasons.iter().map(more).collect(),
        };
        since.read(lost, rule, minute)
    }
}

impl Since {
    fn read(&self, limit: f64, rule: &Rule, minute: u64) -> Reading {
        let lost: u64 = self.lost.values().sum();
        let samples = self.counted + lost;
        if samples < rule.samples {
            return Reading::Insufficient;
        }
        let Some(p) = exceeds(lost, samples, limit, CHANCE) else { return Reading::Good };
        let mut reasons: Vec<(&str, u64)> =
            self.lost.iter().map(|(reason, count)| (*reason, *count)).collect();
        reasons.retain(|(_, count)| *count > 0);
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let finding = |(reason, count): (&str, u64)| Finding {
            subject: reason.to_owned(),
            what: format!("{count} of {samples} statements"),
            value: share(count, samples),
            limit,
        };
        Reading::Bad(Evidence {
            definition: "the share of statements of ground truth that count for nothing".to_owned(),
            value: share(lost, samples),
            limit,
            samples,
            minutes: minutes(minute, rule),
            p: Some(p),
            findings: reasons.into_iter().take(FINDINGS_MAX - 1).map(finding).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::spec::AlarmRules;
    use crate::domain::stats::alarm::AlarmKind;

    fn fates(unmatched: u64, counted: u64, late: u64) -> LabelFates {
        let models = [("m".to_owned(), (counted, [("late", late)].into()))].into();
        LabelFates { unmatched, models, ..LabelFates::default() }
    }

    #[test]
    fn statements_that_count_for_nothing_are_told_with_the_reasons() {
        let rule = AlarmRules::default().rule(AlarmKind::Labels).expect("a rule").clone();
        let mut past = Past::default();
        assert_eq!(past.unmatched(0.1, &rule, 1000), Reading::Insufficient);
        // What was before the process began to look does not count.
        past.note(1000, fates(5000, 100, 0));
        assert_eq!(past.unmatched(0.1, &rule, 1000), Reading::Insufficient);
        past.note(1001, fates(5000, 1000, 10));
        assert_eq!(past.unmatched(0.1, &rule, 1001), Reading::Good);
        assert_eq!(past.of_model("m", 0.1, &rule, 1001), Reading::Good);
        assert_eq!(past.of_model("other", 0.1, &rule, 1001), Reading::Insufficient);
        let reach = Some(Duration::from_secs(1800));
        past.note(1002, LabelFates { reach, dropped: 7, ..fates(5500, 1100, 600) });
        let Reading::Bad(evidence) = past.unmatched(0.1, &rule, 1002) else { panic!("a quarter") };
        let subjects: Vec<&str> = evidence.findings.iter().map(|it| it.subject.as_str()).collect();
        assert_eq!(subjects, ["unmatched", "feedback.memory"]);
        assert!(evidence.findings[1].what.contains("1800s: 7 were dropped"), "{evidence:?}");
        let Reading::Bad(evidence) = past.of_model("m", 0.1, &rule, 1002) else { panic!("late") };
        assert_eq!((evidence.samples, evidence.findings[0].subject.as_str()), (1600, "late"));
        // An hour later it is over.
        past.note(1062, fates(5500, 1100, 600));
        past.note(1063, fates(5500, 1300, 600));
        assert_eq!(past.unmatched(0.1, &rule, 1063), Reading::Good);
    }
}
