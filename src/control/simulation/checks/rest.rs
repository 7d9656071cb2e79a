//! The end of a story: in good weather nothing is stuck.

use std::time::Duration;

use super::{Broken, Checks, hold};
use crate::control::simulation::process::Process;
use crate::control::simulation::world::World;
use crate::domain::lifecycle::explain::explain;
use crate::domain::lifecycle::plan::Policies;
use crate::domain::lifecycle::stage::Stage;

impl Checks {
    /// After a day and a half of good weather nothing is stuck, and everything can be explained.
    pub(in crate::control::simulation) fn at_rest(
        &self,
        process: &Process,
        policies: &Policies,
        world: &World,
    ) -> Result<(), Broken> {
        let now = process.now(world);
        for (name, model) in process.state.models() {
            for (version, known) in model.versions() {
                let told = explain(&process.state, &process.seen, policies, now, name, version);
                let Some(told) = told.map(|told| told.to_string()) else {
                    return Err(Broken(format!("{version} cannot be explained")));
                };
                hold(told.contains(version.as_str()) && told.ends_with('.'), || told.clone())?;
                let stayed = now.steady.since(known.since());
                let asks = ["approval", "prerelease", "hold", "its control", "a champion"];
                let person = asks.iter().any(|word| told.contains(word));
                let restless = known.stage().is_on_trial()
                    || matches!(known.stage(), Stage::Warming(_) | Stage::Draining(_));
                let waits = matches!(known.stage(), Stage::Staged(_))
                    && !told.contains("trial of")
                    && !told.contains("its turn")
                    && !told.contains("since the last rollout began");
                hold(
                    !(restless || waits) || person || stayed < Duration::from_secs(12 * 3600),
                    || format!("stuck: {told}"),
                )?;
            }
        }
        Ok(())
    }
}
