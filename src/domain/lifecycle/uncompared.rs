//! Time on trial in which nothing could be compared: it is not the version's.
//!
//! Owns what keeps a version on trial from being compared, and for how long it did ([`Stopwatch`]). The controller looks as
//! often as it plans, and the plan takes it off the time that the version has. Never judges, and never writes: after a
//! restart a stay begins anew, and so does this.
//!
//! A control that is away stops the time for as long as it is away. That lasts no longer than someone knows: a champion
//! that cannot answer is a critical condition, and a kill switch is an operator's own. A version that is itself away is
//! given as much as the time that it has, and no more.

use std::time::Duration;

use super::exposure::exposure;
use super::state::State;
use super::time::Steady;
use crate::domain::ids::{ModelName, VersionName};

/// What keeps a version on trial from being compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// Its control does not answer.
    Control,
    /// It does not answer itself.
    Itself,
}

/// For how long nothing could be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uncompared {
    /// As its control did not answer.
    pub control_away: Duration,
    /// As it did not answer itself.
    pub itself_away: Duration,
}

impl Uncompared {
    /// Both together.
    pub fn in_all(self) -> Duration {
        self.control_away.saturating_add(self.itself_away)
    }
}

/// What keeps the version on trial of `model` from being compared now. Not that an operator has cut it off: its time runs
/// out then.
pub fn hindrance(
    state: &State,
    model: &ModelName,
    ready: impl Fn(&VersionName) -> bool,
) -> Option<Hindrance> {
    let entry = state.model(model)?;
    let (name, version) = entry.candidate()?;
    let is_tried = version.stage().is_compared();
    if !is_tried || version.killed().is_some() {
        return None;
    }
    let routes = exposure(state, model, &ready);
    let is_compared = routes.shadow.as_ref() == Some(name)
        || routes.candidate.is_some_and(|candidate| candidate.is_compared);
    let control_answers =
        entry.champion().is_some_and(|(champion, live)| live.killed().is_none() && ready(champion));
    match (is_compared, control_answers && !ready(name)) {
        (true, _) => None,
        (false, true) => Some(Hindrance::Itself),
        (false, false) => Some(Hindrance::Control),
    }
}

/// Adds up for how long a version on trial could not be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stopwatch {
    /// Since when the time of the version runs.
    began: Steady,
    looked: Steady,
    found: Option<Hindrance>,
    so_far: Uncompared,
}

impl Stopwatch {
    /// Looks now, at a version whose time runs since `began`; what is the sum until now. What is found at either end of the
    /// time between two looks counts for all of it.
    pub fn look(&mut self, began: Steady, found: Option<Hindrance>, now: Steady) -> Uncompared {
        if self.began != began {
            *self = Self { began, looked: began, ..Self::default() };
        }
        let passed = now.since(self.looked);
        let so_far = &mut self.so_far;
        match found.or(self.found) {
            Some(Hindrance::Control) => {
                so_far.control_away = so_far.control_away.saturating_add(passed);
            }
            Some(Hindrance::Itself) => {
                so_far.itself_away = so_far.itself_away.saturating_add(passed);
            }
            None => {}
        }
        (self.looked, self.found) = (now, found);
        self.so_far
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(word: u8) -> Option<Hindrance> {
        [None, Some(Hindrance::Control), Some(Hindrance::Itself)][usize::from(word)]
    }

    #[test]
    fn only_the_time_without_a_comparison_is_added_up_and_anew_with_each_stay() {
        let mut watch = Stopwatch::default();
        let away = |control, itself| Uncompared {
            control_away: Duration::from_millis(control),
            itself_away: Duration::from_millis(itself),
        };
        assert_eq!(watch.look(Steady(1000), None, Steady(1500)), away(0, 0));
        assert_eq!(watch.look(Steady(1000), found(1), Steady(2000)), away(500, 0));
        assert_eq!(watch.look(Steady(1000), found(1), Steady(9000)), away(7500, 0));
        assert_eq!(watch.look(Steady(1000), found(2), Steady(9500)), away(7500, 500));
        assert_eq!(watch.look(Steady(1000), None, Steady(10_000)), away(7500, 1000));
        assert_eq!(watch.look(Steady(1000), None, Steady(90_000)), away(7500, 1000));
        assert_eq!(watch.look(Steady(90_000), None, Steady(90_500)), away(0, 0), "another stay");
        assert_eq!(watch.look(Steady(90_000), found(1), Steady(90_000)), away(0, 0), "no time");
    }

    proptest! {
        /// However it comes and goes, no time counts twice, and none counts that is not there.
        #[test]
        fn what_is_added_up_is_never_more_than_has_passed(
            looks in prop::collection::vec((0u64..5000, 0u8..3), 1..60),
        ) {
            let (mut watch, mut now, mut before) = (Stopwatch::default(), 7, Uncompared::default());
            for (passed, word) in looks {
                now += passed;
                let so_far = watch.look(Steady(7), found(word), Steady(now));
                prop_assert!(so_far.in_all() <= Duration::from_millis(now - 7));
                prop_assert!(so_far.control_away >= before.control_away);
                prop_assert!(so_far.itself_away >= before.itself_away);
                before = so_far;
            }
        }
    }
}
