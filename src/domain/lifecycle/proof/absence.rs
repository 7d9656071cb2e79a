//! The guard of a promotion without the rest of the trial: nobody else answers.
//!
//! A champion that is gone for good would leave its clients without answers for ever, beside a version that could give
//! them. What stands in for the rest of the trial is that time, a fresh look at the version, and that nothing which was
//! measured speaks against it. It lives unproven.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Look, Sound, is_sound};
use crate::domain::lifecycle::observed::Alone;
use crate::domain::lifecycle::policy::GuardPolicy;
use crate::domain::lifecycle::time::{Spell, Steady, millis};

/// More failures among the answers of a version that was alone are too many.
const FAILED_MAX: f64 = 0.1;

/// Why a version is live without the rest of its trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    away_ms: u64,
    sound: Sound,
}

impl Absence {
    /// How long nobody had answered.
    pub fn away(&self) -> Duration {
        Duration::from_millis(self.away_ms)
    }

    /// The look that found the version sound.
    pub fn sound(&self) -> &Sound {
        &self.sound
    }
}

/// Whether a champion has been away for long enough, and the version in its place is well.
///
/// # Errors
///
/// What is lacking.
pub fn may_take_over(
    away: Duration,
    wanted: Duration,
    look: Option<&Look>,
    alone: Alone,
    now: Steady,
    guard: &GuardPolicy,
) -> Result<Absence, Vec<String>> {
    let mut lacking = Vec::new();
    let left = wanted.saturating_sub(away);
    if !left.is_zero() {
        lacking.push(format!("{} more of that", Spell(left)));
    }
    if let Some(why) = fails(alone, guard) {
        lacking.push(why);
    }
    match is_sound(look, now, guard.fresh) {
        Ok(sound) if now.since(sound.told().1) > away => {
            lacking.push("a look at it since then".to_owned());
        }
        Ok(sound) if lacking.is_empty() => return Ok(Absence { away_ms: millis(away), sound }),
        Ok(_sound) => {}
        Err(why) => lacking.push(format!("a look that finds it sound ({why})")),
    }
    Err(lacking)
}

/// That it has failed too many of the clients that it alone has answered.
#[expect(clippy::cast_precision_loss, reason = "a share of counts, for a comparison")]
fn fails(Alone { answered, failed }: Alone, guard: &GuardPolicy) -> Option<String> {
    let asked = answered.saturating_add(failed);
    let is_bad = asked >= guard.first_failures && failed as f64 > asked as f64 * FAILED_MAX;
    is_bad.then(|| format!("fewer failures of its own: {failed} of {asked} meanwhile"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle::proof::Found;

    const MINUTE: Duration = Duration::from_secs(60);
    const NOW: Steady = Steady(100 * 60_000);

    fn look(minutes_ago: u64, found: Found) -> Look {
        Look { at: Steady(NOW.0 - minutes_ago * 60_000), found, how: "probe rows".to_owned() }
    }

    fn lacks(away: u32, look: Option<&Look>, alone: Alone) -> String {
        let guard = GuardPolicy::default();
        let may = may_take_over(away * MINUTE, 5 * MINUTE, look, alone, NOW, &guard);
        may.map_or_else(|lacking| lacking.join("; "), |absence| format!("{:?}", absence.away()))
    }

    #[test]
    fn it_takes_the_time_and_a_look_since_then_that_finds_it_sound() {
        let fresh = look(1, Found::Sound);
        let nobody = Alone::default();
        assert_eq!(lacks(5, Some(&fresh), nobody), "300s");
        assert_eq!(lacks(3, Some(&fresh), nobody), "2m more of that");
        assert_eq!(lacks(9, None, nobody), "a look that finds it sound (it was never checked)");
        assert_eq!(lacks(5, Some(&look(6, Found::Sound)), nobody), "a look at it since then");
        assert!(lacks(50, Some(&look(11, Found::Sound)), nobody).contains("old"), "long ago");
        for found in [Found::Unsound, Found::Nothing] {
            assert!(lacks(9, Some(&look(1, found)), nobody).starts_with("a look that finds"));
        }
    }

    #[test]
    fn one_that_fails_its_clients_meanwhile_does_not_take_over() {
        let fresh = look(1, Found::Sound);
        let of = |answered, failed| lacks(5, Some(&fresh), Alone { answered, failed });
        assert_eq!(of(0, 4), "300s", "too few to say");
        assert_eq!(of(0, 5), "fewer failures of its own: 5 of 5 meanwhile");
        assert_eq!((of(90, 10), of(89, 11).is_empty()), ("300s".to_owned(), false));
        assert!(of(89, 11).starts_with("fewer failures"));
    }
}
