//! The shares of classes among predictions.
//!
//! Owns the reading whether a class comes far more often than in the baseline, or far less. Two looks share the bound on
//! chance: one at the window of the rule, which sees what is small, and one at the last [`BLOCK`] minutes, which sees
//! at once what is large, such as a class that does not come any more. Where answers come in batches of one class, a few
//! minutes say little: the second look counts only for a class whose share was in its band in the blocks before, and
//! as much less as that share varied there more than chance lets it.

use crate::domain::spec::AlarmLimits;
use crate::domain::stats::alarm::{Finding, Reading, Rule};
use crate::domain::stats::baseline::{Baseline, Reference};
use crate::domain::stats::counts::Counts;
use crate::domain::stats::groups::expected_unknown;
use crate::domain::stats::layout::{Feature, FeatureKind, Role};
use crate::domain::stats::rate_band::{CHANCE, Place, place_share, share_band};

use super::traffic::{float, share};
use super::values::{name_of, verdict, whole};

/// The minutes of a short look.
pub(super) const BLOCK: u32 = 5;
/// The blocks of an hour.
const BLOCKS: u32 = 12;
/// The fewest blocks before a change that tell what is usual.
const BLOCKS_BEFORE: usize = 2;

/// What was counted, as far as it is held against a baseline.
pub(super) struct Counted<'a> {
    /// In the window of the rule.
    pub(super) window: Vec<&'a Counts>,
    /// In each minute of the last hour, and how many minutes ago that was.
    pub(super) minutes: Vec<(u32, &'a Counts)>,
}

/// What was seen of one feature in a while.
#[derive(Debug, Default)]
struct Seen {
    bins: Vec<u64>,
    n: u64,
}

/// What was seen of one feature in some minutes after each other.
struct Block {
    sum: Seen,
    minutes: Vec<Seen>,
}

/// One class, and the band in which its share may be.
struct Class<'a> {
    feature: &'a Feature,
    bin: usize,
    usual: f64,
    /// The values that this rests on.
    m: u64,
    factor: f64,
}

/// A class that is predicted far more often, or less often, than in the baseline.
pub(super) fn class_share(
    baseline: &Baseline,
    counted: &Counted<'_>,
    limits: &AlarmLimits,
    rule: &Rule,
    minute: u64,
) -> Reading {
    let features = baseline.layout().features().iter().zip(baseline.references()).enumerate();
    let outputs = features.filter(|(_, (feature, _))| {
        feature.role() == Role::Output && !matches!(feature.kind(), FeatureKind::Numeric(_))
    });
    let looks = if rule.window > BLOCK { 2.0 } else { 1.0 };
    let (mut long, mut short) = (Vec::new(), Vec::new());
    let (mut samples, mut samples_short) = (0, 0);
    for (at, (feature, reference)) in outputs {
        let seen = Seen::of(at, counted.window.iter().copied());
        if seen.n < rule.samples {
            continue;
        }
        samples = samples.max(seen.n);
        // Two sides of every class.
        let chance = CHANCE / looks / (2.0 * float(feature.bins().max(1) as u64));
        let classes = classes(feature, reference, limits);
        long.extend(classes.iter().filter_map(|class| class.finding(&seen, rule, chance)));
        if looks < 2.0 {
            continue;
        }
        let blocks = blocks(at, &counted.minutes, rule.samples);
        let Some(newest) = blocks.first().map(|block| &block.sum) else { continue };
        samples_short = samples_short.max(newest.n);
        short.extend(classes.iter().filter_map(|class| {
            let seen = newest.thinned(class.dispersion(&blocks)?);
            class.finding(&seen, &Rule { samples: 1, ..rule.clone() }, chance)
        }));
    }
    let of = |findings, samples, rule: &Rule| {
        let definition = format!(
            "the share of a class among predictions in {} minutes, against {} times its odds in the baseline",
            rule.window, limits.class_factor
        );
        verdict(findings, samples, &definition, rule, minute)
    };
    if long.is_empty() && !short.is_empty() {
        return of(short, samples_short, &Rule { window: BLOCK, ..rule.clone() });
    }
    of(long, samples, rule)
}

impl Seen {
    fn of<'c>(feature: usize, counts: impl Iterator<Item = &'c Counts>) -> Self {
        let mut seen = Self::default();
        for counts in counts.filter_map(|counts| counts.feature(feature)) {
            seen.n += counts.valid();
            seen.bins.resize(counts.bins().len().max(seen.bins.len()), 0);
            seen.bins.iter_mut().zip(counts.bins()).for_each(|(own, count)| *own += count);
        }
        seen
    }

    /// As much as independent answers would have to be to tell as much as these, of which so many say the same.
    fn thinned(&self, by: f64) -> Self {
        let thin = |count: u64| whole(float(count) / by);
        Self { bins: self.bins.iter().copied().map(thin).collect(), n: thin(self.n) }
    }

    fn count(&self, bin: usize) -> u64 {
        self.bins.get(bin).copied().unwrap_or(0)
    }

    fn share(&self, bin: usize) -> f64 {
        share(self.count(bin), self.n)
    }
}

/// What was seen of a feature in the blocks of the last hour that have so many samples, newest first; nothing where the
/// newest of all has not.
fn blocks(feature: usize, minutes: &[(u32, &Counts)], samples: u64) -> Vec<Block> {
    let of = |block: u32| {
        let own = || minutes.iter().filter(move |(ago, _)| ago / BLOCK == block);
        let minute = |(_, counts): &(u32, &Counts)| Seen::of(feature, std::iter::once(*counts));
        let sum = Seen::of(feature, own().map(|(_, counts)| *counts));
        Block { sum, minutes: own().map(minute).collect() }
    };
    let mut blocks: Vec<Block> = (0..BLOCKS).map(of).collect();
    if blocks.first().is_some_and(|newest| newest.sum.n < samples) {
        return Vec::new();
    }
    blocks.retain(|block| block.sum.n >= samples);
    blocks
}

/// The classes of one output.
fn classes<'a>(
    feature: &'a Feature,
    reference: &Reference,
    limits: &AlarmLimits,
) -> Vec<Class<'a>> {
    let others = match feature.kind() {
        FeatureKind::Categorical(categories) => Some(categories.values().len()),
        FeatureKind::Boolean | FeatureKind::Numeric(_) => None,
    };
    let class = |(bin, count): (usize, &f64)| Class {
        feature,
        bin,
        // Of classes without a name come more than the baseline happens to have.
        usual: match others == Some(bin) {
            true => expected_unknown(reference.counts()),
            false => count / reference.total().max(1.0),
        },
        m: whole(reference.total()),
        factor: f64::from(limits.class_factor),
    };
    reference.counts().iter().enumerate().map(class).collect()
}

impl Class<'_> {
    /// The finding, if the share lies outside of its band, with the bound on its chance.
    fn finding(&self, seen: &Seen, rule: &Rule, chance: f64) -> Option<(f64, Finding)> {
        let Self { feature, bin, usual, m, factor } = *self;
        let (low, high) = share_band(usual, m, factor);
        let count = seen.count(bin);
        let (p, limit) = match place_share(count, seen.n, usual, m, factor, rule.samples, chance) {
            Place::Above(p) => (p, high),
            Place::Below(p) => (p, low),
            Place::Within | Place::Unknown => return None,
        };
        let value = seen.share(bin);
        let what = format!("{:.2} % instead of {:.2} %", value * 100.0, usual * 100.0);
        let subject = format!("{}={}", feature.name(), name_of(feature, bin));
        Some((p, Finding { subject, what, value, limit }))
    }

    /// By how much more shares varied in the blocks before than those of independent answers do, from block to block or
    /// from minute to minute, by the class that varied most. `None` where the share is within its band now, where it
    /// was not in all blocks before, and where there are too few of them to tell.
    fn dispersion(&self, blocks: &[Block]) -> Option<f64> {
        let (low, high) = share_band(self.usual, self.m, self.factor);
        let is_within = |block: &Block| (low..=high).contains(&block.sum.share(self.bin));
        if is_within(blocks.first()?) {
            return None;
        }
        // Of the block in which the change began, a part was as before.
        let before = || blocks.iter().skip_while(|block| !is_within(block)).skip(1);
        if before().count() < BLOCKS_BEFORE || !before().all(is_within) {
            return None;
        }
        let by_block: Vec<&Seen> = before().map(|block| &block.sum).collect();
        let by_minute: Vec<&Seen> = before().flat_map(|block| &block.minutes).collect();
        let of = |bin| spread(bin, &by_block).max(spread(bin, &by_minute));
        Some((0..self.feature.bins()).map(of).fold(1.0, f64::max))
    }
}

/// How much the share of a class varies over some parts, against what it would vary by if all answers were independent.
fn spread(bin: usize, parts: &[&Seen]) -> f64 {
    let count: u64 = parts.iter().map(|part| part.count(bin)).sum();
    let usual = share(count, parts.iter().map(|part| part.n).sum());
    let chance = usual * (1.0 - usual);
    if parts.len() < 2 || chance <= 0.0 {
        return 1.0;
    }
    let off = |part: &&Seen| float(part.n) * (part.share(bin) - usual).powi(2) / chance;
    parts.iter().map(off).sum::<f64>() / float(parts.len() as u64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::AlarmRules;
    use crate::domain::stats::alarm::{AlarmKind, Evidence};
    use crate::domain::stats::layout::Value;
    use crate::domain::stats::tests::streams::SplitMix;
    use crate::monitor::alarms::values::tests::{long_tail, news};

    const BASELINE: &str = r#"{"format": 1, "model": "m", "version": "v1", "n": 10000, "outputs": [
        {"name": "class", "kind": "categorical", "values": ["0", "1", "2"], "mass": [0.6, 0.3, 0.1], "other": 0.0}]}"#;

    fn baseline() -> Baseline {
        Baseline::from_json(BASELINE.as_bytes()).expect("a baseline")
    }

    fn rule() -> Rule {
        AlarmRules::default().rule(AlarmKind::ClassShare).expect("a rule").clone()
    }

    /// A class by the shares of the baseline.
    fn class(random: &mut SplitMix) -> i64 {
        let x = random.uniform();
        i64::from(x >= 0.6) + i64::from(x >= 0.9)
    }

    fn counts(baseline: &Baseline, classes: impl IntoIterator<Item = i64>) -> Counts {
        let mut counts = Counts::new(std::sync::Arc::clone(baseline.layout()));
        classes.into_iter().for_each(|class| counts.record(0, Value::Integer(class)));
        counts
    }

    /// The reading after the last of some minutes.
    fn read(baseline: &Baseline, minutes: &[Counts], limits: &AlarmLimits, rule: &Rule) -> Reading {
        let minutes: Vec<(u32, &Counts)> = (0..60).zip(minutes.iter().rev()).collect();
        let window = minutes.iter().filter(|(ago, _)| *ago < rule.window);
        let counted = Counted { window: window.map(|(_, counts)| *counts).collect(), minutes };
        class_share(baseline, &counted, limits, rule, 1000)
    }

    fn evidence(reading: Reading) -> Option<Evidence> {
        match reading {
            Reading::Bad(evidence) => Some(evidence),
            Reading::Noted(_) | Reading::Good | Reading::Insufficient => None,
        }
    }

    fn subjects(reading: Reading) -> Vec<String> {
        let findings = evidence(reading).map(|evidence| evidence.findings).unwrap_or_default();
        findings.into_iter().map(|finding| finding.subject).collect()
    }

    /// How many of the looks at minutes with such classes are bad, and the first of them.
    fn looks(
        minutes: usize,
        rule: &Rule,
        mut classes: impl FnMut(usize) -> Vec<i64>,
    ) -> (usize, Option<usize>) {
        let (baseline, limits) = (baseline(), AlarmLimits::default());
        // Of the first hour nobody knows what is usual.
        let (mut past, mut bad, mut first): (Vec<Counts>, usize, Option<usize>) =
            (Vec::new(), 0, None);
        for minute in 0..minutes {
            past.push(counts(&baseline, classes(minute)));
            let from = past.len().saturating_sub(60);
            if minute >= 60 && evidence(read(&baseline, &past[from..], &limits, rule)).is_some() {
                bad += 1;
                first.get_or_insert(minute);
            }
        }
        (bad, first)
    }

    #[test]
    fn a_class_that_never_comes_or_floods_is_named() {
        let (baseline, limits, rule) = (baseline(), AlarmLimits::default(), rule());
        let of = |classes: Vec<i64>| {
            subjects(read(&baseline, &[counts(&baseline, classes)], &limits, &rule))
        };
        assert_eq!(of((0..2000).map(|at| at % 2).collect()), ["class=2"]);
        assert_eq!(of(vec![2; 2000]), ["class=2", "class=0", "class=1"]);
        assert_eq!(of((0..2000).map(|at| [0, 0, 0, 1, 2][at % 5]).collect()), [""; 0]);
        assert_eq!(of((0..2000).map(|at| at % 5).collect()), ["class=(other)", "class=0"]);
        let few = read(&baseline, &[counts(&baseline, vec![2; 100])], &limits, &rule);
        assert_eq!(few, Reading::Insufficient);
    }

    #[test]
    fn a_class_that_is_gone_is_told_after_minutes_and_the_evidence_says_which() {
        for each in [1000, 100] {
            let mut random = SplitMix::new(3);
            let gone = |minute: usize| {
                let classes = (0..each).map(|_| class(&mut random));
                classes.map(|class| if minute >= 120 && class == 1 { 0 } else { class }).collect()
            };
            let (bad, first) = looks(230, &rule(), gone);
            let first = first.expect("it is seen");
            assert!((120..125).contains(&first), "{each} a minute: {first}");
            let gaps = 230 - first - bad;
            assert!(gaps == 0 || each == 100 && gaps < 10, "until an hour is without it: {gaps}");
        }
        let (baseline, limits, rule) = (baseline(), AlarmLimits::default(), rule());
        let minute = |gone: bool| {
            let classes = (0..1000).map(|at| [0, 0, 1, 0, 2, 0, 1, 0, 0, 1][at % 10]);
            counts(&baseline, classes.map(|class| if gone && class == 1 { 0 } else { class }))
        };
        let past: Vec<Counts> = (0..60).map(|at| minute(at >= 55)).collect();
        let told = evidence(read(&baseline, &past, &limits, &rule)).expect("it is bad");
        assert_eq!((told.minutes, told.samples), ((996, 1001), 5000));
        // The most frequent takes the place of the one that is gone.
        assert_eq!((told.findings.len(), told.value), (2, 0.0));
        assert_eq!(told.findings[0].subject, "class=1");
        assert!(told.definition.contains("in 5 minutes"), "{}", told.definition);
        // A rule for five minutes has one look only.
        let short = Rule { window: BLOCK, ..rule };
        let told = evidence(read(&baseline, &past, &limits, &short)).expect("it is bad");
        assert_eq!(told.samples, 5000);
    }

    #[test]
    fn a_week_of_like_traffic_makes_no_look_bad() {
        for (seed, each) in [(1, 100), (2, 150), (3, 1000)] {
            let mut random = SplitMix::new(seed);
            let minutes = if each > 500 { 1500 } else { 10_000 };
            let like = |_| (0..each).map(|_| class(&mut random)).collect();
            assert_eq!(looks(minutes, &rule(), like), (0, None), "{each} a minute");
        }
    }

    /// Batches of one class each: in no few minutes are there all of them, and in an hour there are. What the long look
    /// makes of them stays as it is, and the short one adds nothing.
    #[test]
    fn answers_in_batches_of_one_class_are_no_news() {
        let (baseline, limits, rule) = (baseline(), AlarmLimits::default(), rule());
        for (seed, length) in [(5, 1), (6, 2), (7, 3), (8, 7)] {
            let (mut random, mut batch) = (SplitMix::new(seed), 0);
            let minutes: Vec<Counts> = (0..3000)
                .map(|minute| {
                    if minute % length == 0 {
                        batch = class(&mut random);
                    }
                    counts(&baseline, vec![batch; 200])
                })
                .collect();
            for past in minutes.windows(60) {
                let window: Vec<&Counts> = past.iter().collect();
                let long = Counted { window, minutes: Vec::new() };
                let long = class_share(&baseline, &long, &limits, &rule, 1000);
                assert_eq!(read(&baseline, past, &limits, &rule), long, "{length} minutes each");
            }
        }
    }

    #[test]
    fn classes_that_a_baseline_happens_not_to_have_are_no_flood() {
        let baseline = long_tail("outputs");
        let look = |every: u32| {
            let counts = [news(&baseline, every)];
            read(&baseline, &counts, &AlarmLimits::default(), &rule())
        };
        assert_eq!(look(12), Reading::Good, "a twelfth is unknown, as by Good and Turing");
        assert_eq!(subjects(look(2)), ["merchant=(other)"], "a half is not");
    }
}
