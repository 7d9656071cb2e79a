//! Whether the others could take what a model is asked, were one of its versions not loaded.
//!
//! Owns what counts as needed and as shown: nobody knows what a version could take, but what it has taken is known. What
//! a model was asked in the busiest minute of the last hour is needed, and a version is trusted with a little more than
//! it has answered in a minute of that hour. So an earlier champion stays loaded until the one after it has seen
//! the load that it was seen to bear. Never decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::VersionName;
use crate::domain::lifecycle::observed::Capacity;
use crate::domain::record::Outcome;
use crate::domain::stats::window::{Minute, Window};

/// How long this process must have counted a champion: by then a whole minute of it has closed. Before that nothing is
/// known of a model that is asked.
pub(super) const LIVED_MIN: Duration = Duration::from_secs(120);
/// Minutes that are looked back on.
const LOOKED_BACK: u32 = 60;
/// A version is trusted with so many times what it has answered: two minutes of the same load differ.
const TRUSTED: f64 = 1.25;
/// Requests a second that any version can take.
const LITTLE: f64 = 1.0;
/// Requests that are little in all, by the same measure: those of a minute.
const FEW: u64 = 60;

/// What a version was asked, by minute, and what it answered.
#[derive(Debug, Default)]
pub(super) struct Load {
    asked: BTreeMap<Minute, u64>,
    /// Of the minute in which it answered most.
    answered: u64,
    /// It can answer now, and nothing speaks against it.
    is_well: bool,
}

impl Load {
    /// Of closed minutes.
    pub(super) fn new(windows: &[Arc<Window>], open: Minute, is_well: bool) -> Self {
        let mut load = Self { is_well, ..Self::default() };
        for window in windows.iter().filter(|window| window.start.plus(LOOKED_BACK) >= open) {
            let traffic = &window.counts.traffic;
            let of = |outcomes: &[Outcome]| -> u64 {
                outcomes.iter().map(|outcome| traffic.outcome(*outcome)).sum()
            };
            // An input that a model cannot take is work as well. What the client is to blame for is none.
            let answered = of(&[Outcome::Ok, Outcome::ModelError]);
            let lost = of(&[Outcome::UpstreamError, Outcome::Timeout, Outcome::Shed]);
            load.asked.insert(window.start, answered + lost);
            load.answered = load.answered.max(answered);
        }
        load
    }
}

/// What is needed, and what the others have shown, were `version` not loaded. `loads` are those of all versions of the
/// model that serve. `None` where the model was hardly asked.
pub(super) fn without(version: &VersionName, loads: &[(VersionName, Load)]) -> Option<Capacity> {
    let mut asked: BTreeMap<Minute, u64> = BTreeMap::new();
    for (minute, count) in loads.iter().flat_map(|(_, load)| &load.asked) {
        *asked.entry(*minute).or_default() += count;
    }
    let per_second = |count: u64| count as f64 / 60.0;
    let needed = per_second(asked.into_values().max()?);
    if needed < LITTLE {
        return None;
    }
    let others = loads.iter().filter(|(name, load)| name != version && load.is_well);
    let most = others.map(|(_, load)| load.answered).max().unwrap_or(0);
    Some(Capacity { needed, others: per_second(most) * TRUSTED })
}

/// What is said of it: as measured, once a minute of now is among it; until then nothing is known, unless the model was
/// hardly asked before and since.
pub(super) fn judge(measured: Option<Capacity>, is_known: bool, asked: u64) -> Option<Capacity> {
    match measured {
        Some(measured) if is_known => Some(measured),
        None if is_known || asked < FEW => Some(Capacity::default()),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(minutes: &[(u32, u64)], is_well: bool) -> Load {
        let asked: BTreeMap<Minute, u64> =
            minutes.iter().map(|(minute, count)| (Minute(*minute), *count)).collect();
        Load { answered: asked.values().copied().max().unwrap_or(0), asked, is_well }
    }

    fn capacity(earlier: Load, champion: Load) -> Option<(f64, f64)> {
        let loads = [(VersionName::new("v1"), earlier), (VersionName::new("v2"), champion)];
        without(&loads[0].0, &loads).map(|it| (it.needed, it.others))
    }

    #[test]
    fn a_champion_that_has_borne_the_peak_is_enough_and_one_that_has_not_is_not() {
        let earlier = || load(&[(1, 6000)], true);
        assert_eq!(capacity(earlier(), load(&[(2, 6000)], true)), Some((100.0, 125.0)));
        assert_eq!(capacity(earlier(), load(&[(2, 600)], true)), Some((100.0, 12.5)));
        assert_eq!(
            capacity(earlier(), load(&[(2, 6000)], false)),
            Some((100.0, 0.0)),
            "it is not well"
        );
    }

    #[test]
    fn what_was_counted_for_no_whole_minute_is_known_of_a_model_only_that_is_hardly_asked() {
        let measured = Capacity { needed: 100.0, others: 125.0 };
        assert_eq!(judge(Some(measured), true, 5000), Some(measured));
        assert_eq!(judge(None, true, 5000), Some(Capacity::default()));
        assert_eq!(judge(None, false, FEW - 1), Some(Capacity::default()));
        for (measured, asked) in [(Some(measured), 0), (None, FEW)] {
            assert_eq!(judge(measured, false, asked), None);
        }
    }

    #[test]
    fn what_versions_were_asked_in_the_same_minute_adds_up_and_little_is_not_counted() {
        let both = capacity(load(&[(1, 3000)], true), load(&[(1, 3000)], true));
        assert_eq!(both, Some((100.0, 62.5)));
        assert_eq!(capacity(load(&[(1, 59)], true), load(&[], true)), None);
        assert_eq!(capacity(load(&[], true), load(&[], true)), None);
    }
}
