//! The invariants of promotions: by a whole trial, by order, and because nobody else answers.

use super::{Broken, Checks, hold};
use crate::control::simulation::process::Process;
use crate::domain::ids::ModelName;
use crate::domain::lifecycle::event::{By, Event, Move};
use crate::domain::lifecycle::policy::Mode;
use crate::domain::lifecycle::proof::Promoted;
use crate::domain::lifecycle::stage::Stage;
use crate::domain::lifecycle::state::Model;

impl Checks {
    pub(super) fn promoted(
        &mut self,
        process: &Process,
        event: &Event,
        name: &ModelName,
        before: &Model,
        (m, proof): (&Move, &Promoted),
    ) -> Result<(), Broken> {
        let own = event.by == By::Gateway;
        if proof.absence().is_some() {
            self.count("promoted by absence");
            hold(own, || "I14: an order says that nobody else answers".to_owned())?;
            return self.absent(process, event, name, before, m);
        }
        if proof.overruled().is_some() {
            self.count("promoted by order");
            return hold(!own, || "I5: the gateway overrules its own evidence".to_owned());
        }
        self.count("promoted");
        hold(own, || "I5: promoted by order without saying so".to_owned())?;
        let Some(version) = before.version(&m.version) else { return Ok(()) };
        let seen = process.seen.version(name, &m.version).cloned().unwrap_or_default();
        self.enough(process, name, before, m, event.at.steady.since(version.since()))?;
        self.no_worse(&seen, version)?;
        self.prove(name, &m.version);
        Ok(())
    }

    /// I14: who takes over untried does so only where nobody has answered for as long as the policy says, and was
    /// found sound since; nothing that was measured speaks against it, and nobody has said that it should not.
    fn absent(
        &self,
        process: &Process,
        event: &Event,
        name: &ModelName,
        before: &Model,
        m: &Move,
    ) -> Result<(), Broken> {
        let (at, policy) = (event.at.steady, &self.policy.release);
        let last = self.answered.get(name).copied().unwrap_or_default();
        let silent = at.since(last);
        hold(!policy.absence.is_zero() && silent >= policy.absence, || {
            format!("I14: somebody answered {silent:?} ago")
        })?;
        let answers = before.versions().find(|(version, known)| {
            matches!(known.stage(), Stage::Live(_) | Stage::Standby(_))
                && known.killed().is_none()
                && process.seen.version(name, version).is_some_and(|seen| seen.ready)
        });
        hold(answers.is_none(), || format!("I14: {answers:?} could answer"))?;
        let look = self.looks.get(&(name.clone(), m.version.clone()));
        let fresh = look.is_some_and(|(looked, passed)| {
            *passed && *looked >= last && at.since(*looked) <= self.policy.guard.fresh
        });
        hold(fresh, || format!("I14: it was last looked at: {look:?}"))?;
        let Some(version) = before.version(&m.version) else { return Ok(()) };
        let champion = before.champion().map(|(_, champion)| champion);
        let both = [Some(version), champion];
        let held = both.into_iter().flatten().any(|version| version.held().is_some());
        let killed = both.into_iter().flatten().any(|version| version.killed().is_some())
            || before.killed().is_some()
            || process.state.killed().is_some();
        let manual = policy.mode == Mode::Manual && !version.is_approved();
        let released = !m.version.as_str().starts_with("0.");
        hold(released && !held && !killed && !manual, || {
            "I14: against somebody's word".to_owned()
        })?;
        let seen = process.seen.version(name, &m.version).cloned().unwrap_or_default();
        hold(seen.ready, || "I14: it cannot answer either".to_owned())?;
        hold(seen.shadow.is_none_or(|shadow| shadow.invalid == 0), || {
            "I14: with invalid answers".to_owned()
        })?;
        let Some(canary) = seen.canary else { return Ok(()) };
        let limit = (100.0 * canary.rates.len() as f64).ln();
        let fine = canary.crashed.is_none() && canary.rates.iter().all(|rate| rate.ln_e < limit);
        hold(fine, || format!("I14: on {canary:?}"))
    }
}
