//! How a version that stands by does, and whether the champion still agrees with it: from copies of a few requests of
//! clients.
//!
//! Owns the windows over pairs of answers, that no pair is told twice, and what agreement is usual for the two. A
//! disagreement speaks against the champion, and only beside another signal: either of the two may be the one that is
//! wrong. A standby that does not answer what the champion answered is no way back.

use super::{BAD_CHANCE, CROSSED_CHANCE, GATHERED_MAX, INVALID_SHARE, Rules};
use crate::domain::lifecycle::health::{Signal, Window};
use crate::domain::lifecycle::time::Steady;
use crate::domain::stats::confidence::rate;
use crate::domain::stats::rate_band::exceeds;
use crate::domain::trial::pairs::Tally;

/// The chance that a bound of the agreement in one window is wrong.
const BOUND_CHANCE: f64 = 1e-3;

/// What one window of copies says.
#[derive(Debug, Clone, PartialEq)]
pub struct CopiedWindows {
    /// Of the champion.
    pub champion: (Signal, Window),
    /// Of the standby.
    pub standby: [(Signal, Window); 2],
}

/// The windows of one champion and one standby, each told once.
#[derive(Debug)]
pub struct CopyFeed {
    told: Tally,
    /// Minutes since then.
    minutes: u32,
    /// The least agreement that is usual for the two.
    usual: Option<f64>,
}

impl CopyFeed {
    /// Nothing told yet. `usual` is the least agreement that was found when the two were last compared; without it, the
    /// first window is the measure.
    pub const fn new(usual: Option<f64>) -> Self {
        Self { told: Tally { compared: 0, agreed: 0, invalid: 0, failed: 0 }, minutes: 0, usual }
    }

    /// The window that a minute more has closed, at `at`, if it has; `tally` is of all pairs until now. One with too few
    /// pairs says nothing.
    pub fn window(&mut self, tally: Tally, rules: &Rules, at: Steady) -> Option<CopiedWindows> {
        self.minutes += 1;
        let pairs = tally.since(self.told);
        if pairs.compared < rules.samples {
            if self.minutes >= GATHERED_MAX {
                (self.told, self.minutes) = (tally, 0);
            }
            return None;
        }
        (self.told, self.minutes) = (tally, 0);
        let standby = [
            (Signal::SloBurn, bad(pairs, pairs.failed, rules.error_share, "got no answer", at)),
            (
                Signal::InvalidOutput,
                bad(pairs, pairs.invalid, INVALID_SHARE, "got no valid answer", at),
            ),
        ];
        Some(CopiedWindows { champion: (Signal::ShadowCheck, self.agreement(pairs, at)), standby })
    }

    fn agreement(&mut self, pairs: Tally, at: Steady) -> Window {
        let answered = pairs.compared - (pairs.failed + pairs.invalid).min(pairs.compared);
        let bounds = rate(pairs.agreed.min(answered), answered, BOUND_CHANCE);
        let bounds = bounds.filter(|_| answered > 0);
        let bad = bounds.map(|bounds| match self.usual {
            Some(usual) => bounds.upper < usual,
            None => {
                self.usual = Some(bounds.lower);
                false
            }
        });
        let usual = self.usual.unwrap_or(0.0);
        let detail = format!(
            "{} of {answered} answers to copies agree with the standby's; at least {usual:.3} is usual",
            pairs.agreed
        );
        Window { at, bad, crossed: false, samples: answered, detail }
    }
}

/// A window of copies of which so many went wrong.
fn bad(pairs: Tally, count: u64, share: f64, how: &str, at: Steady) -> Window {
    let beyond = |share: f64, chance: f64| {
        exceeds(count, pairs.compared, share.clamp(0.0, 1.0), chance).is_some()
    };
    Window {
        at,
        bad: Some(beyond(share, BAD_CHANCE)),
        crossed: beyond(2.0 * share, CROSSED_CHANCE),
        samples: pairs.compared,
        detail: format!("{count} of {} copies of requests {how}, {share} may", pairs.compared),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::health::{Health, Level};
    use crate::domain::lifecycle::policy::GuardPolicy;
    use crate::domain::spec::AlarmRules;

    /// Windows of so many pairs each: agreed, invalid and failed of them.
    fn told(usual: Option<f64>, minutes: &[(u64, [u64; 3])]) -> (Health, Health) {
        let rules = Rules::new(&GuardPolicy::default(), &AlarmRules::default(), None);
        let (mut champion, mut standby) = (Health::default(), Health::default());
        let (mut feed, mut all) = (CopyFeed::new(usual), Tally::default());
        for (at, (compared, [agreed, invalid, failed])) in (1..).zip(minutes) {
            all.compared += compared;
            all.agreed += agreed;
            all.invalid += invalid;
            all.failed += failed;
            let Some(windows) = feed.window(all, &rules, Steady(at * 60_000)) else { continue };
            champion.observe(windows.champion.0, &windows.champion.1);
            windows.standby.iter().for_each(|(signal, window)| standby.observe(*signal, window));
        }
        (champion, standby)
    }

    fn level(health: &Health, signal: Signal) -> Option<Level> {
        health.reading(signal).map(|reading| reading.level)
    }

    #[test]
    fn a_champion_that_agrees_less_than_it_did_is_degraded_by_that_and_keeps_its_place() {
        let fell = [(100, [70, 0, 0]); 3];
        let (champion, standby) = told(Some(0.95), &fell);
        assert_eq!(level(&champion, Signal::ShadowCheck), Some(Level::Degraded));
        assert_eq!(champion.verdict(), None, "it takes another signal");
        assert_eq!(level(&standby, Signal::SloBurn), Some(Level::Healthy));
        let (champion, _) = told(Some(0.65), &fell);
        assert_eq!(level(&champion, Signal::ShadowCheck), Some(Level::Healthy), "so it was before");
    }

    #[test]
    fn without_an_earlier_measure_the_first_window_is_it() {
        let (champion, _) = told(None, &[(100, [70, 0, 0]); 4]);
        assert_eq!(level(&champion, Signal::ShadowCheck), Some(Level::Healthy));
        let falls = [(200, [198, 0, 0]), (200, [100, 0, 0]), (200, [100, 0, 0]), (200, [90, 0, 0])];
        let (champion, _) = told(None, &falls);
        assert_eq!(level(&champion, Signal::ShadowCheck), Some(Level::Degraded));
    }

    #[test]
    fn a_standby_that_does_not_answer_is_degraded_and_says_nothing_about_the_champion() {
        let (champion, standby) = told(Some(0.95), &[(100, [0, 0, 100])]);
        assert_eq!(level(&standby, Signal::SloBurn), Some(Level::Degraded), "at once");
        assert!(standby.verdict().is_some());
        assert_eq!(level(&champion, Signal::ShadowCheck), Some(Level::Healthy));
        let (_, standby) = told(Some(0.95), &[(100, [60, 40, 0])]);
        assert_eq!(level(&standby, Signal::InvalidOutput), Some(Level::Degraded));
    }

    #[test]
    fn few_pairs_are_gathered_for_an_hour_and_then_left() {
        let (champion, standby) = told(Some(0.95), &[(1, [0, 0, 1]); 99]);
        assert_eq!((champion, standby), (Health::default(), Health::default()));
        let (_, standby) = told(Some(0.95), &[(2, [0, 0, 2]); 50]);
        assert_eq!(level(&standby, Signal::SloBurn), Some(Level::Degraded));
    }
}
