//! Whether a version that serves, or stands ready to, is degraded: separate signals, each with its
//! evidence and with hysteresis.
//!
//! Owns the way from windows to a level. Signals are never added up: each says by itself what follows
//! from it, and the input alone never speaks against a version, because all versions see the same.
//!
//! ```text
//! healthy ──one bad window──▶ suspect ──3 of 5 bad, or a crossed e-value──▶ degraded
//!    ▲───────5 good windows──────┘                                              │
//!    └───────────6 good windows in a row and 10 minutes─────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Steady;

/// Windows that are looked back on.
const LOOKED_AT: usize = 5;
/// Bad ones among them that degrade.
const BAD_MAX: usize = 3;
/// Good windows in a row that heal.
const GOOD_MIN: usize = 6;
/// The shortest stay in `degraded`.
const DEGRADED_MIN: Duration = Duration::from_secs(600);

/// One way in which a version can be degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// NaN, infinity, a value of another type; a fresh look at probe rows that failed.
    InvalidOutput,
    /// Errors and slow responses use up the budget.
    SloBurn,
    /// A metric on labels lies below its floor.
    Labelled,
    /// The golden set no longer gives the recorded answers.
    Golden,
    /// It no longer agrees with its standby as it did when it was promoted.
    ShadowCheck,
    /// Its outputs have left its own baseline.
    OutputDrift,
    /// Its estimated quality is below the floor.
    Estimated,
    /// Its inputs have left the baseline: no fault of any version.
    InputDrift,
}

/// What follows from a degraded signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// The version goes.
    Decides,
    /// The version goes if a second signal of this force or more says the same.
    Supports,
    /// Someone is told.
    Warns,
}

impl Signal {
    /// What follows from it.
    pub const fn force(self) -> Force {
        match self {
            Self::InvalidOutput | Self::SloBurn | Self::Labelled | Self::Golden => Force::Decides,
            Self::ShadowCheck | Self::OutputDrift | Self::Estimated => Force::Supports,
            Self::InputDrift => Force::Warns,
        }
    }

    /// Whether it is counted in windows of what clients ask, and not found by a look.
    pub const fn is_windowed(self) -> bool {
        !matches!(self, Self::Golden)
    }

    /// The words of a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::InvalidOutput => "invalid outputs",
            Self::SloBurn => "errors and slow responses",
            Self::Labelled => "the metric on labels",
            Self::Golden => "the golden set",
            Self::ShadowCheck => "agreement with the standby",
            Self::OutputDrift => "drift of its outputs",
            Self::Estimated => "estimated quality",
            Self::InputDrift => "drift of its inputs",
        }
    }
}

/// How one signal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing speaks against the version.
    #[default]
    Healthy,
    /// Something does, once.
    Suspect,
    /// It is broken.
    Degraded,
}

/// What one closed window says.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// When it closed.
    pub at: Steady,
    /// Whether it was bad; `None` if it had too few samples to say.
    pub bad: Option<bool>,
    /// A sequential test has decided by itself.
    pub crossed: bool,
    /// Responses behind the verdict.
    pub samples: u64,
    /// The numbers, as the end of a sentence.
    pub detail: String,
}

/// One signal of one version, followed from window to window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// How it stands.
    pub level: Level,
    /// Since when.
    pub since: Steady,
    /// When evidence last came in.
    pub at: Steady,
    /// When the evidence before that came in: the last verdict is about what came after it.
    pub from: Steady,
    /// Responses behind the last verdict.
    pub samples: u64,
    /// The numbers of the last verdict.
    pub detail: String,
    /// The last verdicts, newest last: `true` is bad.
    recent: Vec<bool>,
}

impl Reading {
    /// Nothing known yet.
    pub fn new(now: Steady) -> Self {
        Self {
            level: Level::Healthy,
            since: now,
            at: now,
            from: now,
            samples: 0,
            detail: String::new(),
            recent: Vec::new(),
        }
    }

    /// Whether the last verdict spoke against the version.
    pub fn is_bad(&self) -> bool {
        self.recent.last().copied().unwrap_or(false)
    }

    /// Whether a version with this reading was well, by windows that are as recent, all through the last bad window of
    /// `other`. Trouble of the input or the host is in the windows of both; those of one may close later.
    pub fn was_well_throughout(&self, other: &Self) -> bool {
        self.level == Level::Healthy
            && self.since <= other.from
            && self.at >= other.at
            && other.is_bad()
    }

    /// Takes in a window. One without enough samples changes nothing, not even the time of the last
    /// evidence.
    pub fn observe(&mut self, window: &Window) {
        let Some(bad) = window.bad.or_else(|| window.crossed.then_some(true)) else { return };
        self.from = std::mem::replace(&mut self.at, window.at);
        self.samples = window.samples;
        self.detail.clone_from(&window.detail);
        self.recent.push(bad);
        let excess = self.recent.len().saturating_sub(GOOD_MIN);
        self.recent.drain(..excess);
        let count = self.recent.iter().rev().take(LOOKED_AT).filter(|bad| **bad).count();
        let good_in_a_row = self.recent.iter().rev().take_while(|bad| !**bad).count();
        let next = match self.level {
            _ if window.crossed || count >= BAD_MAX => Level::Degraded,
            Level::Degraded
                if good_in_a_row >= GOOD_MIN && window.at.since(self.since) >= DEGRADED_MIN =>
            {
                Level::Healthy
            }
            Level::Degraded => Level::Degraded,
            Level::Healthy | Level::Suspect if count > 0 => Level::Suspect,
            Level::Healthy | Level::Suspect => Level::Healthy,
        };
        if next != self.level {
            self.level = next;
            self.since = window.at;
        }
    }
}

/// All signals of one version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    signals: BTreeMap<Signal, Reading>,
}

impl Health {
    /// Takes in a window of one signal.
    pub fn observe(&mut self, signal: Signal, window: &Window) {
        self.signals.entry(signal).or_insert_with(|| Reading::new(window.at)).observe(window);
    }

    /// One signal.
    pub fn reading(&self, signal: Signal) -> Option<&Reading> {
        self.signals.get(&signal)
    }

    /// Every signal that has said something.
    pub fn readings(&self) -> impl Iterator<Item = (Signal, &Reading)> {
        self.signals.iter().map(|(signal, reading)| (*signal, reading))
    }

    /// Whether this signal says that the version is degraded now.
    pub fn is_degraded_by(&self, signal: Signal) -> bool {
        self.reading(signal).is_some_and(|reading| reading.level == Level::Degraded)
    }

    /// The signal for which the version has to go, if there is one: one that decides by itself, or
    /// two that support each other.
    pub fn verdict(&self) -> Option<(Signal, &Reading)> {
        self.verdict_of(|_, _| true)
    }

    /// The same, of the signals that `counts` says.
    pub fn verdict_of(
        &self,
        counts: impl Fn(Signal, &Reading) -> bool,
    ) -> Option<(Signal, &Reading)> {
        let counts = &counts;
        let degraded = |force: Force| {
            let holds = move |(signal, reading): &(Signal, &Reading)| {
                reading.level == Level::Degraded
                    && signal.force() == force
                    && counts(*signal, reading)
            };
            self.readings().filter(holds)
        };
        degraded(Force::Decides).next().or_else(|| {
            let mut both = degraded(Force::Supports);
            let first = both.next()?;
            both.next().map(|_second| first)
        })
    }

    /// Whether no signal that decides by itself says anything against it.
    pub fn is_well(&self) -> bool {
        self.readings().all(|(signal, reading)| {
            signal.force() != Force::Decides || reading.level == Level::Healthy
        })
    }

    /// Whether any signal that counts is not at rest.
    pub fn is_in_question(&self) -> bool {
        let counts = |(signal, reading): (Signal, &Reading)| {
            signal.force() != Force::Warns && reading.level != Level::Healthy
        };
        self.readings().any(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(health: &mut Health, signal: Signal, from: u64, verdicts: &str) -> u64 {
        let mut at = from;
        for verdict in verdicts.chars() {
            at += 60_000;
            let bad = match verdict {
                'b' | 'x' => Some(true),
                'g' => Some(false),
                _ => None,
            };
            let window = Window {
                at: Steady(at),
                bad,
                crossed: verdict == 'x',
                samples: 500,
                detail: "1 of 2".to_owned(),
            };
            health.observe(signal, &window);
        }
        at
    }

    fn level(verdicts: &str) -> Level {
        let mut health = Health::default();
        feed(&mut health, Signal::SloBurn, 0, verdicts);
        health.reading(Signal::SloBurn).map_or(Level::Healthy, |reading| reading.level)
    }

    #[test]
    fn one_dip_makes_suspect_and_three_of_five_degraded() {
        assert_eq!(level("gggg"), Level::Healthy);
        assert_eq!(level("ggbgg"), Level::Suspect);
        assert_eq!(level("ggbggggg"), Level::Healthy);
        assert_eq!(level("bgbgb"), Level::Degraded);
        assert_eq!(level("bggbggbgg"), Level::Suspect, "two of the last five");
        assert_eq!(level("ggx"), Level::Degraded, "a sequential test decides at once");
    }

    #[test]
    fn healing_takes_six_good_windows_in_a_row_and_ten_minutes() {
        assert_eq!(level("bbbgggggb"), Level::Degraded);
        assert_eq!(level("bbbgggggg"), Level::Degraded, "nine minutes are too short");
        assert_eq!(level("bbbgggggggggg"), Level::Healthy);
    }

    #[test]
    fn a_window_without_enough_samples_says_nothing() {
        assert_eq!(level("bb........b"), Level::Degraded);
        assert_eq!(level("bbb.........."), Level::Degraded);
        let mut health = Health::default();
        feed(&mut health, Signal::SloBurn, 0, "g...");
        assert_eq!(health.reading(Signal::SloBurn).map(|reading| reading.at), Some(Steady(60_000)));
    }

    #[test]
    fn one_was_well_while_another_was_bad_only_by_windows_that_are_as_recent_and_begin_before() {
        let reading = |from: u64, verdicts: &str| {
            let mut health = Health::default();
            feed(&mut health, Signal::SloBurn, from, verdicts);
            health.reading(Signal::SloBurn).cloned().expect("a reading")
        };
        let bad = reading(0, "gbbb");
        assert_eq!(
            (bad.level, bad.from, bad.at),
            (Level::Degraded, Steady(180_000), Steady(240_000))
        );
        assert!(reading(0, "gggg").was_well_throughout(&bad));
        assert!(reading(0, "ggggg").was_well_throughout(&bad));
        assert!(!reading(0, "ggg").was_well_throughout(&bad), "its last window has not closed");
        assert!(!reading(0, "gggb").was_well_throughout(&bad), "it is in question itself");
        assert!(!reading(180_000, "gg").was_well_throughout(&bad), "nothing is known of before");
        let heals = reading(0, "gbbbg");
        assert!(!reading(0, "ggggg").was_well_throughout(&heals), "it was not bad any more");
    }

    #[test]
    fn a_verdict_may_be_asked_of_some_signals_only() {
        let mut health = Health::default();
        feed(&mut health, Signal::SloBurn, 0, "x");
        feed(&mut health, Signal::OutputDrift, 0, "bbb");
        feed(&mut health, Signal::Estimated, 0, "bbb");
        let of = |left_out: &[Signal]| {
            let verdict = health.verdict_of(|signal, _| !left_out.contains(&signal));
            verdict.map(|(signal, _)| signal)
        };
        assert_eq!(of(&[]), Some(Signal::SloBurn));
        assert_eq!(of(&[Signal::SloBurn]), Some(Signal::OutputDrift));
        assert_eq!(of(&[Signal::SloBurn, Signal::Estimated]), None, "one alone is too weak");
    }

    #[test]
    fn inputs_never_decide_and_weak_signals_need_company() {
        let mut health = Health::default();
        feed(&mut health, Signal::InputDrift, 0, "xxx");
        assert_eq!(health.verdict(), None);
        assert!(!health.is_in_question());
        feed(&mut health, Signal::OutputDrift, 0, "xxx");
        assert_eq!(health.verdict(), None);
        feed(&mut health, Signal::ShadowCheck, 0, "xxx");
        assert!(health.verdict().is_some() && health.is_well());
        let mut health = Health::default();
        feed(&mut health, Signal::Golden, 0, "x");
        assert!(!health.is_well());
        assert_eq!(health.verdict().map(|(signal, _)| signal), Some(Signal::Golden));
    }
}
