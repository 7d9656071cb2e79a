//! Operators: now and then one of them orders something, sensible or not.

use super::process::Process;
use super::world::World;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::lifecycle::event::{Draft, Scope};
use crate::domain::lifecycle::order::{Command, Force, Order, carry_out};
use crate::domain::lifecycle::plan::Policies;

/// The event of an order, if one is given and not refused.
pub(super) fn draw(world: &mut World, process: &mut Process, policies: &Policies) -> Option<Draft> {
    process.forced = false;
    let command = if world.clear { undo(process)? } else { command(world, process)? };
    process.forced = matches!(command, Command::Evict(_, _, Force::Yes));
    let expected = world.chance(10).then_some(1);
    let order = Order { who: "alice".to_owned(), why: "by hand".to_owned(), expected, command };
    let now = process.now(world);
    carry_out(&process.state, &process.seen, policies, now, &order).ok()
}

fn command(world: &mut World, process: &Process) -> Option<Command> {
    if !world.chance(12) {
        return None;
    }
    let (name, model) = process.state.models().next()?;
    let versions: Vec<&VersionName> = model.versions().map(|(name, _)| name).collect();
    let version = (*world.rng.choice(&versions)?).clone();
    let model: ModelName = name.clone();
    let on = world.rng.u8(..3) == 0;
    Some(match world.rng.u8(..24) {
        0 | 1 => Command::Promote(model, version),
        2 | 3 => Command::Rollback(model, None),
        4 => Command::Rollback(model, Some(version)),
        5 => Command::Drain(model, version),
        6 | 7 => Command::Evict(model, version, Force::No),
        8 => Command::Evict(model, version, Force::Yes),
        9..=12 => Command::Restore(model, version),
        13 => Command::Pin(model, version, on),
        14 => Command::Hold(model, version, on),
        15..=19 => Command::Approve(model, version),
        20 => Command::Reject(model, version),
        21 => Command::Kill(Scope::Gateway, on),
        22 => Command::Kill(Scope::Model(model), on),
        _ => Command::Kill(Scope::Version(model, version), on),
    })
}

/// In good weather every switch is put back.
fn undo(process: &Process) -> Option<Command> {
    if process.state.killed().is_some() {
        return Some(Command::Kill(Scope::Gateway, false));
    }
    for (name, model) in process.state.models() {
        if model.killed().is_some() {
            return Some(Command::Kill(Scope::Model(name.clone()), false));
        }
        for (version, known) in model.versions() {
            let (name, version) = (name.clone(), version.clone());
            if known.killed().is_some() {
                return Some(Command::Kill(Scope::Version(name, version), false));
            }
            if known.held().is_some() {
                return Some(Command::Hold(name, version, false));
            }
        }
    }
    None
}
