//! The state of all alarms, from look to look.
//!
//! Owns when an alarm begins and ends, and when someone is called. Can be written down after every step
//! and read back: a restart neither forgets an alarm nor calls twice for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AlarmKey, Evidence, Reading, Rule, Severity};

/// After so many minutes without a look, what was seen before does not count as "in a row".
const GAP: u64 = 5;

/// One thing that is watched, and what this minute's look at it found.
#[derive(Debug, Clone)]
pub struct Watch<'r> {
    /// What is watched.
    pub key: AlarmKey,
    /// The rule for it.
    pub rule: &'r Rule,
    /// What was found.
    pub reading: Reading,
}

/// Where one alarm stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// How soon someone should look.
    pub severity: Severity,
    /// Where it is written what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// The minute in which it became active, since the Unix epoch; `None` while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Whether someone was called and has not been called off.
    pub called: bool,
    /// No new call before this minute.
    pub quiet_until: u64,
    /// Bad looks in a row.
    pub bad: u32,
    /// Good looks in a row.
    pub good: u32,
    /// What the newest bad look found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

impl Standing {
    const fn new() -> Self {
        Self {
            severity: Severity::Warning,
            runbook: None,
            since: None,
            called: false,
            quiet_until: 0,
            bad: 0,
            good: 0,
            evidence: None,
        }
    }

    /// Whether it says nothing that a new one would not say.
    const fn is_forgettable(&self, minute: u64) -> bool {
        self.since.is_none() && !self.called && self.bad == 0 && minute >= self.quiet_until
    }
}

/// What happened to an alarm, whether or not someone is called for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It became active.
    Started,
    /// It ended: enough good looks.
    Ended,
    /// What it was about is no longer watched.
    Withdrawn,
}

impl Change {
    /// The word in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ended => "ended",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A change, for the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The minute of the look, since the Unix epoch.
    pub minute: u64,
    /// What the alarm is about.
    pub key: AlarmKey,
    /// What happened.
    pub change: Change,
    /// When it had become active.
    pub since: u64,
    /// How soon someone should look.
    pub severity: Severity,
    /// Why it was active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What someone is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Look at this.
    Firing,
    /// It is over.
    Resolved,
}

impl Word {
    /// The word in notices.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// A call, or its calling off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The minute of the look, since the Unix epoch.
    pub minute: u64,
    /// What the alarm is about.
    pub key: AlarmKey,
    /// What is told.
    pub word: Word,
    /// When it had become active.
    pub since: u64,
    /// How soon someone should look.
    pub severity: Severity,
    /// Where it is written what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What one round of looks led to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// Every change.
    pub events: Vec<Event>,
    /// Whom it concerns.
    pub notices: Vec<Notice>,
}

/// All alarms. What is not in it is quiet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Board {
    /// The minute of the last round, since the Unix epoch.
    minute: u64,
    /// In the order of their keys; pairs, because a key is no text.
    #[serde(with = "pairs")]
    standings: BTreeMap<AlarmKey, Standing>,
}

impl Board {
    /// The minute of the last round of looks, since the Unix epoch; 0 before the first.
    pub const fn minute(&self) -> u64 {
        self.minute
    }

    /// The active alarms.
    pub fn active(&self) -> impl Iterator<Item = (&AlarmKey, &Standing)> {
        self.standings.iter().filter(|(_, standing)| standing.since.is_some())
    }

    /// Where an alarm stands; `None` while there is nothing to say.
    pub fn standing(&self, key: &AlarmKey) -> Option<&Standing> {
        self.standings.get(key)
    }

    /// The clock was ahead, and has been set right: what was seen stays, and looks go on with `minute`.
    pub fn set_back(&mut self, minute: u64) {
        self.minute = self.minute.min(minute.saturating_sub(1));
        for standing in self.standings.values_mut() {
            standing.quiet_until = standing.quiet_until.min(minute);
            standing.since = standing.since.map(|since| since.min(minute));
        }
    }

    /// Takes in what the looks of one minute found; all that is watched must be there. A minute that was
    /// taken in before, or an older one, changes nothing.
    pub fn step(&mut self, minute: u64, watched: Vec<Watch<'_>>) -> Step {
        let mut step = Step::default();
        if minute <= self.minute {
            return step;
        }
        if minute - self.minute > GAP {
            for standing in self.standings.values_mut() {
                (standing.bad, standing.good) = (0, 0);
            }
        }
        self.minute = minute;
        let mut rest = std::mem::take(&mut self.standings);
        for Watch { key, rule, reading } in watched {
            let mut standing = rest.remove(&key).unwrap_or_else(Standing::new);
            look(&key, &mut standing, rule, reading, minute, &mut step);
            if !standing.is_forgettable(minute) {
                self.standings.insert(key, standing);
            }
        }
        for (key, mut standing) in rest {
            withdraw(&key, &mut standing, minute, &mut step);
            if !standing.is_forgettable(minute) {
                self.standings.insert(key, standing);
            }
        }
        step
    }
}

fn look(
    key: &AlarmKey,
    standing: &mut Standing,
    rule: &Rule,
    reading: Reading,
    minute: u64,
    step: &mut Step,
) {
    let before = standing.since;
    standing.severity = match reading {
        Reading::Noted(_) => Severity::Info,
        // What is active stays what it was when there was last something to decide by.
        Reading::Insufficient | Reading::Good if before.is_some() => standing.severity,
        Reading::Insufficient | Reading::Good | Reading::Bad(_) => rule.severity,
    };
    standing.runbook.clone_from(&rule.runbook);
    match reading {
        Reading::Insufficient => {}
        Reading::Good => {
            standing.bad = 0;
            standing.good = standing.good.saturating_add(1);
            if let Some(since) = standing.since.filter(|_| standing.good >= rule.clear) {
                standing.since = None;
                step.events.push(event(key, standing, Change::Ended, since, minute));
            }
        }
        Reading::Bad(evidence) | Reading::Noted(evidence) => {
            standing.good = 0;
            standing.bad = standing.bad.saturating_add(1);
            standing.evidence = Some(evidence);
            if standing.since.is_none() && standing.bad >= rule.hold {
                standing.since = Some(minute);
                step.events.push(event(key, standing, Change::Started, minute, minute));
            }
        }
    }
    if rule.is_mute(minute) {
        return;
    }
    match standing.since {
        Some(since) if !standing.called && minute >= standing.quiet_until => {
            standing.called = true;
            standing.quiet_until = minute + u64::from(rule.cool_down);
            step.notices.push(notice(key, standing, Word::Firing, since, minute));
        }
        None if standing.called => {
            standing.called = false;
            let since = before.unwrap_or(minute);
            step.notices.push(notice(key, standing, Word::Resolved, since, minute));
        }
        _ => {}
    }
}

/// What is no longer watched is over. Nobody's hours are asked about: the next round may not know of it.
fn withdraw(key: &AlarmKey, standing: &mut Standing, minute: u64, step: &mut Step) {
    (standing.bad, standing.good) = (0, 0);
    let since = standing.since.take();
    if let Some(since) = since {
        step.events.push(event(key, standing, Change::Withdrawn, since, minute));
    }
    if std::mem::take(&mut standing.called) {
        let since = since.unwrap_or(minute);
        step.notices.push(notice(key, standing, Word::Resolved, since, minute));
    }
}

fn event(key: &AlarmKey, standing: &Standing, change: Change, since: u64, minute: u64) -> Event {
    Event {
        minute,
        key: key.clone(),
        change,
        since,
        severity: standing.severity,
        evidence: standing.evidence.clone(),
    }
}

fn notice(key: &AlarmKey, standing: &Standing, word: Word, since: u64, minute: u64) -> Notice {
    Notice {
        minute,
        key: key.clone(),
        word,
        since,
        severity: standing.severity,
        runbook: standing.runbook.clone(),
        evidence: standing.evidence.clone(),
    }
}

/// A map as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{AlarmKey, Standing};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<AlarmKey, Standing>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<AlarmKey, Standing>, D::Error> {
        let pairs = Vec::<(AlarmKey, Standing)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}
