//! The looks: once for each minute that is closed, at all that is watched.
//!
//! Owns which models and versions are watched, by which rules, and what a look reads. Runs on the
//! monitor's thread, never on a worker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::call;
use super::classes::{self, Counted};
use super::labelled::{self, Coverage};
use super::ledger::Ledger;
use super::log_lag::LogSight;
use super::lost_labels::Past;
use super::rejections;
use super::traffic;
use super::values;
use crate::domain::ids::ModelName;
use crate::domain::spec::{AlarmLimits, AlarmRules, Intent};
use crate::domain::stats::alarm::{AlarmKey, AlarmKind, Evidence, Reading, Rule, Watch};
use crate::domain::stats::baseline::Baseline;
use crate::domain::stats::counts::Counts;
use crate::domain::stats::heavy_hitters::HeavyHitters;
use crate::domain::stats::layout::Role;
use crate::domain::stats::rate_band::Look;
use crate::domain::stats::two_by_two::Tally;
use crate::domain::stats::window::{Minute, Stage, Window, WindowCounts, WindowLength};
use crate::monitor::gather::{BACK_MINUTES, unix_us};
use crate::monitor::{Follower, MonitorReader, QualityReader, Standing, VersionKey};

/// How often the traffic of models is written down, in minutes.
const SAVE_EVERY: u64 = 60;
/// Minutes of an hour.
const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;
/// A version that had no exchange in so many judged windows, while another had, is not what the model is any more: as
/// many as those without evidence after which the judge says that a drift is over.
const SERVING_WINDOWS: u32 = 3;
/// A minute that is closed by so much later than it ended passed while the machine slept, or never: the clock was set
/// ahead.
const ASLEEP_MINUTES: u64 = 3;

/// Looks at each minute that the monitor closes.
#[derive(Debug)]
pub struct AlarmWatch {
    /// The rules of the models that the configuration names.
    models: BTreeMap<ModelName, AlarmRules>,
    /// Models that are not monitored.
    left_out: BTreeSet<ModelName>,
    /// Versions that the configuration names.
    versions: BTreeSet<VersionKey>,
    /// The rules for everything else.
    rules: AlarmRules,
    ledger: Arc<Ledger>,
    /// Wakes the one that delivers calls.
    wake: Option<SyncSender<()>>,
    log: LogSight,
    quality: QualityReader,
    /// What became of statements of ground truth, minute by minute.
    labels: Past,
    /// The first minute that this process saw from its beginning. Those before it are no looks: the gateway was down
    /// in some of them, or the machine asleep.
    whole_since: Option<u64>,
    /// The windows that the judge of drift hears.
    judged: WindowLength,
}

impl AlarmWatch {
    pub(super) fn new(
        intent: &Intent,
        ledger: Arc<Ledger>,
        wake: Option<SyncSender<()>>,
        (log, quality): (LogSight, QualityReader),
    ) -> Self {
        let models = intent.models.iter();
        let (watched, left_out): (Vec<_>, Vec<_>) =
            models.partition(|(_, model)| model.monitor.enabled);
        let versions = watched.iter().flat_map(|(name, model)| {
            let key = |version: &crate::domain::ids::VersionName| VersionKey {
                model: (*name).clone(),
                version: version.clone(),
            };
            model.versions.keys().map(key)
        });
        Self {
            versions: versions.collect(),
            models: watched
                .iter()
                .map(|(name, model)| ((*name).clone(), model.alarms.clone()))
                .collect(),
            left_out: left_out.into_iter().map(|(name, _)| name.clone()).collect(),
            rules: intent.alarms.rules.clone(),
            ledger,
            wake,
            log,
            quality,
            labels: Past::default(),
            whole_since: None,
            judged: intent.monitor.drift.window,
        }
    }

    /// The models and their versions that are watched: those of the configuration, and those that had
    /// requests.
    fn watched(&self, reader: &MonitorReader) -> BTreeMap<ModelName, Vec<VersionKey>> {
        let mut watched: BTreeMap<ModelName, Vec<VersionKey>> =
            self.models.keys().map(|model| (model.clone(), Vec::new())).collect();
        let seen = reader.versions().into_iter().filter(|key| !self.left_out.contains(&key.model));
        let keys: BTreeSet<VersionKey> = self.versions.iter().cloned().chain(seen).collect();
        for key in keys {
            watched.entry(key.model.clone()).or_default().push(key);
        }
        watched
    }
}

impl Follower for AlarmWatch {
    fn resumed(&mut self, _reader: &MonitorReader) {
        // Minutes of a downtime are closed after the start, and the process began in the middle of this one.
        self.whole_since = Some(u64::from(Minute::of_us(unix_us()).0) + 1);
    }

    fn closed(&mut self, minute: Minute, reader: &MonitorReader) {
        let now = u64::from(minute.0);
        // The clock was ahead, and has been set right.
        let open = u64::from(reader.open().0);
        if self.whole_since.is_some_and(|since| since > open + BACK_MINUTES) {
            self.whole_since = None;
        }
        if open > now + 1 + ASLEEP_MINUTES {
            // Nor was anybody there at the beginning of the minute that has begun.
            self.whole_since = self.whole_since.max(Some(open + 1));
        }
        let whole_since = *self.whole_since.get_or_insert(now + 1);
        if now < whole_since {
            return;
        }
        self.ledger.set_right(open);
        if let Some(fates) = self.quality.fates() {
            self.labels.note(now, fates);
        }
        let watched = self.watched(reader);
        let known: Vec<VersionKey> = reader.standings().into_iter().map(|(key, _)| key).collect();
        self.ledger.forget_other_models(|model| watched.contains_key(model));
        let mut looks = Vec::new();
        for (model, versions) in &watched {
            let rules = self.models.get(model).unwrap_or(&self.rules);
            let (ledger, quality, labels) = (&*self.ledger, &self.quality, &self.labels);
            let judged = self.judged;
            let sight = Sight { reader, ledger, quality, labels, minute, whole_since, judged };
            let arrived = known.iter().filter(|key| key.model == *model).chain(versions);
            let arrived: BTreeSet<String> = arrived.map(|key| key.version.to_string()).collect();
            sight.model((model, versions, &arrived), rules, &mut looks);
            sight.rejections(versions, rules, &mut looks);
            let serving = sight.serving(versions);
            for key in versions {
                sight.version(key, serving.contains(key), rules, &mut looks);
            }
        }
        if let Some(rule) = self.rules.rule(AlarmKind::LogLag)
            && let Some(reading) = self.log.look(now, self.rules.limits.log_lag)
        {
            let key = key("", "", AlarmKind::LogLag);
            looks.push(Watch { key, rule, reading });
        }
        if let Some(rule) = self.rules.rule(AlarmKind::Labels) {
            let lost = self.rules.limits.labels_lost;
            let reading = self.labels.unmatched(lost, rule, now);
            looks.push(Watch { key: key("", "", AlarmKind::Labels), rule, reading });
        }
        let notices = self.ledger.step(now, looks);
        notices.iter().for_each(call::log);
        if !notices.is_empty()
            && let Some(wake) = &self.wake
        {
            // A full channel wakes as well.
            let _woken = wake.try_send(());
        }
        if now % SAVE_EVERY == 0 {
            self.ledger.save_histories();
        }
    }
}

/// What one look works with.
struct Sight<'a> {
    reader: &'a MonitorReader,
    ledger: &'a Ledger,
    quality: &'a QualityReader,
    labels: &'a Past,
    minute: Minute,
    whole_since: u64,
    judged: WindowLength,
}

impl Sight<'_> {
    fn now(&self) -> u64 {
        u64::from(self.minute.0)
    }

    /// What concerns a model as a whole. `arrived` are all versions that the gateway knows of it, whether or not they had
    /// requests.
    fn model<'r>(
        &self,
        (model, versions, arrived): (&ModelName, &[VersionKey], &BTreeSet<String>),
        rules: &'r AlarmRules,
        looks: &mut Vec<Watch<'r>>,
    ) {
        let mut look = |alarm: AlarmKind, read: &mut dyn FnMut(&Rule) -> Reading| {
            if let Some(rule) = rules.rule(alarm) {
                let key = key(model.as_str(), "", alarm);
                looks.push(Watch { key, rule, reading: read(rule) });
            }
        };
        let in_last = |minutes: u32| self.sum(versions, minutes);
        let requests = in_last(1).traffic.exchanges();
        let since = self.last_request(versions);
        let rate = rules.rule(AlarmKind::RequestRate);
        let window = rate.map_or(1, |rule| rule.window);
        let in_window = in_last(window).traffic.exchanges();
        // Of a window that this process did not see from its beginning, a part may be missing; of one that is longer than the
        // memory reaches, a part is.
        let (length, first) = self.span(window);
        let is_whole = self.whole_since + u64::from(window) <= self.now() + 1
            && self.reader.has_all_since(length, first);
        self.ledger.with_history(model.as_str(), |history| {
            let usual = history.usual(self.now());
            history.rest(requests, since);
            let quiet = history.quiet();
            if is_whole {
                history.add(Look { minute: self.now(), requests, window: in_window });
            }
            look(AlarmKind::Silence, &mut |rule| {
                let after = rules.limits.silence_after;
                traffic::silence(quiet, history, usual, after, rule, self.now())
            });
            look(AlarmKind::RequestRate, &mut |rule| match is_whole {
                true => traffic::request_rate(
                    in_window,
                    usual,
                    rules.limits.rate_factor,
                    rule,
                    self.now(),
                ),
                false => Reading::Insufficient,
            });
        });
        look(AlarmKind::RepeatedInput, &mut |rule| {
            let (inputs, before) = (in_last(rule.window).inputs, self.inputs_before(versions));
            traffic::repeated_input(&inputs, &before, &rules.limits, rule, self.now())
        });
        // All versions see the same inputs: what has become of those is one alarm of the model.
        look(AlarmKind::Drift, &mut |_rule| {
            let serving = self.serving(versions);
            let readings = serving.iter().filter_map(|key| {
                let judgement = self.reader.judgement(key)?;
                Some((key.version.as_str(), values::drift(&judgement, Role::Input)))
            });
            values::any_of(readings)
        });
        look(AlarmKind::Labels, &mut |rule| {
            self.labels.of_model(model.as_str(), rules.limits.labels_lost, rule, self.now())
        });
        let latest = self.ledger.arrivals(model.as_str(), self.now(), arrived);
        if let Some(every) = rules.limits.new_version_every {
            look(AlarmKind::StalePipeline, &mut |rule| stale(latest, every, rule, self.now()));
        }
    }

    /// What concerns one version.
    fn version<'r>(
        &self,
        key: &VersionKey,
        is_serving: bool,
        rules: &'r AlarmRules,
        looks: &mut Vec<Watch<'r>>,
    ) {
        let mut look = |alarm: AlarmKind, read: &mut dyn FnMut(&Rule) -> Reading| {
            if let Some(rule) = rules.rule(alarm) {
                let key = self::key(key.model.as_str(), key.version.as_str(), alarm);
                looks.push(Watch { key, rule, reading: read(rule) });
            }
        };
        look(AlarmKind::ErrorRate, &mut |rule| {
            let counts = self.sum(std::slice::from_ref(key), rule.window);
            traffic::error_rate(&counts.traffic, &rules.limits, rule, self.now())
        });
        if let Some(slo) = rules.limits.slo {
            look(AlarmKind::Latency, &mut |rule| {
                let total = |minutes| {
                    let counts = self.sum(std::slice::from_ref(key), minutes);
                    counts.traffic.latency(Stage::Total).clone()
                };
                let (window, hour) = (total(rule.window), total(HOUR.max(rule.window)));
                traffic::latency(&window, &hour, slo, rules.limits.slo_target, rule, self.now())
            });
        }
        self.labelled(key, rules, looks);
        let mut look = |alarm: AlarmKind, read: &mut dyn FnMut(&Rule) -> Reading| {
            if let Some(rule) = rules.rule(alarm) {
                let key = self::key(key.model.as_str(), key.version.as_str(), alarm);
                looks.push(Watch { key, rule, reading: read(rule) });
            }
        };
        let standing = self.reader.standing(key);
        look(AlarmKind::BaselineMissing, &mut |rule| {
            let counts = self.sum(std::slice::from_ref(key), rule.window);
            values::baseline_missing(standing.as_ref(), counts.traffic.seen, rule, self.now())
        });
        let judgement = self.reader.judgement(key);
        look(AlarmKind::Drift, &mut |_rule| {
            match judgement.as_deref() {
                // Nobody gets its answers any more.
                Some(_) if !is_serving => Reading::Good,
                Some(judgement) => values::drift(judgement, Role::Output),
                None => Reading::Insufficient,
            }
        });
        let baseline = standing.as_ref().and_then(Standing::baseline);
        look(AlarmKind::SchemaShape, &mut |rule| {
            let Some(baseline) = baseline else { return Reading::Insufficient };
            let windows = self.windows(key, rule.window);
            let hash = baseline.layout().hash();
            let newest_first = windows.iter().rev();
            let blocks: Vec<&Counts> =
                newest_first.filter_map(|window| window.counts.values_by(hash)).collect();
            let layout = baseline.layout();
            let names = |feature| self.reader.strangers(key, layout, feature);
            values::schema_shape(baseline, &blocks, &names, rule, self.now())
        });
        look(AlarmKind::ClassShare, &mut |rule| {
            let Some(baseline) = baseline else { return Reading::Insufficient };
            self.classes(key, baseline, &rules.limits, rule)
        });
    }

    /// The shares of classes of one version, in the window of the rule and in the minutes of the last hour.
    fn classes(
        &self,
        key: &VersionKey,
        baseline: &Baseline,
        limits: &AlarmLimits,
        rule: &Rule,
    ) -> Reading {
        let hash = baseline.layout().hash();
        let (window, hour) = (self.windows(key, rule.window), self.windows(key, HOUR));
        let ago = |window: &Window| self.minute.0.saturating_sub(window.start.0);
        let counted = Counted {
            window: window.iter().filter_map(|window| window.counts.values_by(hash)).collect(),
            minutes: hour
                .iter()
                .filter_map(|window| Some((ago(window), window.counts.values_by(hash)?)))
                .collect(),
        };
        classes::class_share(baseline, &counted, limits, rule, self.now())
    }

    /// What each version refuses. What is usual is told by all of them together: a new version that refuses what the old
    /// one took is to be seen, too.
    fn rejections<'r>(
        &self,
        versions: &[VersionKey],
        rules: &'r AlarmRules,
        looks: &mut Vec<Watch<'r>>,
    ) {
        let Some(rule) = rules.rule(AlarmKind::RejectionRate) else { return };
        for version in versions {
            let span = |minutes| {
                let counts = self.sum(std::slice::from_ref(version), minutes);
                (minutes, rejections::tally(&counts.traffic))
            };
            // A model with little traffic has its samples in an hour, or a day.
            let longer = [HOUR, DAY].into_iter().filter(|minutes| *minutes > rule.window);
            let spans = std::iter::once(rule.window).chain(longer).map(span);
            let usual = || {
                let before = |length| self.rejected_before(versions, length);
                let middle = |length| rejections::usual(before(length), rule.samples);
                middle(WindowLength::Day).or_else(|| middle(WindowLength::Hour))
            };
            let reading = rejections::rejection_rate(spans, usual, &rules.limits, rule, self.now());
            let (model, name) = (version.model.as_str(), version.version.as_str());
            looks.push(Watch { key: key(model, name, AlarmKind::RejectionRate), rule, reading });
        }
    }

    /// What versions refused in each window before the one that is being filled.
    fn rejected_before(&self, versions: &[VersionKey], length: WindowLength) -> Vec<Tally> {
        let now = length.start_of(self.minute);
        let mut before: BTreeMap<Minute, Tally> = BTreeMap::new();
        for key in versions {
            for window in self.reader.windows(key, length).iter().filter(|it| it.start < now) {
                let tally = rejections::tally(&window.counts.traffic);
                before.entry(window.start).or_default().merge(tally);
            }
        }
        before.into_values().collect()
    }

    /// What labels say about one version.
    fn labelled<'r>(&self, key: &VersionKey, rules: &'r AlarmRules, looks: &mut Vec<Watch<'r>>) {
        let mut look = |alarm: AlarmKind, read: &mut dyn FnMut(&Rule) -> Reading| {
            if let Some(rule) = rules.rule(alarm) {
                let key = self::key(key.model.as_str(), key.version.as_str(), alarm);
                looks.push(Watch { key, rule, reading: read(rule) });
            }
        };
        let limits = &rules.limits;
        let matured = |rule: &Rule| self.quality.matured(key, rule.window, self.minute);
        if limits.floors.set().next().is_some() || limits.ceilings.set().next().is_some() {
            look(AlarmKind::Quality, &mut |rule| {
                let metrics = matured(rule).map(|matured| matured.metrics).unwrap_or_default();
                labelled::quality(&metrics, limits, rule, self.now())
            });
        }
        look(AlarmKind::ErrorChange, &mut |rule| {
            labelled::error_change(&self.quality.changes(key), rule, self.now())
        });
        look(AlarmKind::Labels, &mut |rule| {
            let Some(matured) = matured(rule) else { return Reading::Insufficient };
            let of = |tally: Tally| (tally.failures, tally.total);
            let (now, before) = (of(matured.labelled), of(matured.labelled_before));
            labelled::coverage(&Coverage { now, before }, limits, rule, self.now())
        });
    }

    /// The versions that the traffic of a model goes to: those with an exchange in one of the last windows that are
    /// judged. Of one that was replaced, the last judgement stands as long as its windows are kept, and says nothing
    /// about now. Where no version has an exchange, all are told: a quiet night ends no drift.
    fn serving(&self, versions: &[VersionKey]) -> Vec<VersionKey> {
        let length = self.judged;
        let reach = SERVING_WINDOWS.saturating_mul(length.minutes());
        let first = Minute(length.start_of(self.minute).0.saturating_sub(reach));
        let is_serving = |key: &&VersionKey| {
            let mut windows = self.reader.windows(key, length);
            windows.extend(self.reader.filling(key, length));
            windows.iter().any(|it| it.start >= first && it.counts.traffic.exchanges() > 0)
        };
        let serving: Vec<VersionKey> = versions.iter().filter(is_serving).cloned().collect();
        if serving.is_empty() { versions.to_vec() } else { serving }
    }

    /// How many minutes ago the last request of any of the versions was, as far as minutes are kept.
    fn last_request(&self, versions: &[VersionKey]) -> Option<u64> {
        let newest = |key: &VersionKey| {
            let windows = self.reader.windows(key, WindowLength::Minute);
            let mut full = windows.iter().rev().filter(|it| it.counts.traffic.exchanges() > 0);
            full.next().map(|window| window.start)
        };
        let newest = versions.iter().filter_map(newest).max()?;
        Some(self.minute.0.saturating_sub(newest.0).into())
    }

    /// The inputs of the day before this hour.
    fn inputs_before(&self, versions: &[VersionKey]) -> HeavyHitters {
        let hour = WindowLength::Hour;
        let now = hour.start_of(self.minute);
        let mut before = HeavyHitters::default();
        for key in versions {
            let windows = self.reader.windows(key, hour);
            let earlier = windows.iter().filter(|window| window.start < now);
            earlier.for_each(|window| before.merge(&window.counts.inputs));
        }
        before
    }

    /// What was counted about versions in the last minutes.
    fn sum(&self, versions: &[VersionKey], minutes: u32) -> WindowCounts {
        let mut sum = WindowCounts::default();
        for key in versions {
            self.windows(key, minutes).iter().for_each(|window| sum.merge(&window.counts));
        }
        sum
    }

    /// The windows of a version in the last minutes, oldest first.
    fn windows(&self, key: &VersionKey, minutes: u32) -> Vec<Arc<Window>> {
        let (length, first) = self.span(minutes);
        let mut windows = self.reader.windows(key, length);
        windows.extend(self.reader.filling(key, length));
        windows.retain(|window| (first..=self.minute).contains(&window.start));
        windows
    }

    /// By windows of which length the last minutes are told, and with which minute the first of them begins.
    fn span(&self, minutes: u32) -> (WindowLength, Minute) {
        let first = Minute((self.minute.0 + 1).saturating_sub(minutes));
        // Minutes are kept for an hour; what is longer is told by hours.
        let length = if minutes <= HOUR { WindowLength::Minute } else { WindowLength::Hour };
        (length, length.start_of(first))
    }
}

/// No new version for longer than promised.
fn stale(latest: u64, every: u32, rule: &Rule, now: u64) -> Reading {
    let age = now.saturating_sub(latest);
    if age <= u64::from(every) {
        return Reading::Good;
    }
    Reading::Bad(Evidence {
        definition: "minutes since the last new version; one was promised for each so many"
            .to_owned(),
        value: traffic::float(age),
        limit: f64::from(every),
        samples: 1,
        minutes: traffic::minutes(now, rule),
        p: None,
        findings: Vec::new(),
    })
}

fn key(model: &str, version: &str, alarm: AlarmKind) -> AlarmKey {
    AlarmKey { model: model.to_owned(), version: version.to_owned(), alarm }
}

#[cfg(test)]
mod tests;
