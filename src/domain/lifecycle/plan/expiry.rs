//! Versions that are no longer needed: what speaks for removing one, in which order, and its end.

use super::Scene;
use crate::domain::ids::VersionName;
use crate::domain::lifecycle::event::What;
use crate::domain::lifecycle::guard::{Aim, Ground, may_evict};
use crate::domain::lifecycle::stage::{Edge, Rest, Stage};
use crate::domain::lifecycle::state::{VERSIONS_MAX, Version};

impl Scene<'_> {
    /// The first version, by the order of removal, that the guard lets go.
    pub(super) fn expired(&self) -> Option<What> {
        if self.policy.evict.dry_run {
            return None;
        }
        let (name, version, aim, ground) = self.removable().into_iter().next()?;
        Some(self.removal(name, version, aim, &ground))
    }

    /// What the guard would let go now.
    pub(super) fn removable(&self) -> Vec<(&VersionName, &Version, Aim, Ground)> {
        let mut due: Vec<_> = self
            .model
            .versions()
            .filter_map(|(name, version)| {
                let (aim, ground) = self.ground(name, version)?;
                if aim == Aim::Delete && self.spares_all() {
                    return None;
                }
                let defence = self.defence(name, version, aim, ground.clone());
                may_evict(&defence).ok().map(|()| (name, version, aim, ground))
            })
            .collect();
        // Unproven ones first, then the oldest.
        due.sort_by_key(|(name, version, ..)| {
            (version.proven().is_some(), version.lived(), version.age_from(), (*name).clone())
        });
        due
    }

    pub(in crate::domain::lifecycle) fn removal(
        &self,
        name: &VersionName,
        version: &Version,
        aim: Aim,
        ground: &Ground,
    ) -> What {
        let why = ground.to_string();
        let edge = match (aim, version.stage()) {
            (Aim::Unload, _) => Edge::Drain(Rest::Retired(why.clone())),
            (Aim::Delete, _) => Edge::Evict(why.clone()),
        };
        self.step(name, edge, why)
    }

    /// Why `version` should go, if anything says so; whether it may is the guard's.
    pub(in crate::domain::lifecycle) fn ground(
        &self,
        name: &VersionName,
        version: &Version,
    ) -> Option<(Aim, Ground)> {
        let policy = &self.policy.evict;
        let now = self.now.steady;
        let age = now.since(version.age_from());
        let trained = version.release().trained_at.map(|at| self.now.wall.since(at));
        let too_old = || {
            let ttl = policy.ttl.filter(|ttl| age > *ttl).map(|_| Ground::Ttl(age));
            let max = policy.max_age.zip(trained).filter(|(max, age)| age > max);
            ttl.or_else(|| max.map(|(_, age)| Ground::MaxAge(age)))
        };
        match version.stage() {
            Stage::Standby(_) => {
                let seen = self.seen(name);
                let asked =
                    seen.and_then(|seen| seen.last_request).unwrap_or_else(|| version.since());
                let idle = now.since(asked.max(version.since()));
                let newer =
                    self.standbys.iter().copied().find(|(other, standby)| {
                        *other != name && standby.lived() > version.lived()
                    });
                let crowded = policy.memory.filter(|max| self.observed.memory > *max);
                let ground = crowded
                    .map(|max| Ground::Memory(self.observed.memory, max))
                    .or_else(|| newer.map(|(newer, _)| Ground::Replaced(newer.clone())))
                    .or_else(|| policy.idle.filter(|max| idle > *max).map(|_| Ground::Idle(idle)))
                    .or_else(too_old)?;
                Some((Aim::Unload, ground))
            }
            Stage::Retired(_) => {
                let full = policy.disk.filter(|max| self.observed.disk > *max);
                let ground =
                    full.map(|max| Ground::Disk(self.observed.disk, max)).or_else(too_old)?;
                Some((Aim::Delete, ground))
            }
            Stage::Quarantined(_) => {
                let kept = now.since(version.since());
                let over = policy.quarantine.filter(|max| kept > *max);
                let full = policy.disk.filter(|max| self.observed.disk > *max);
                let ground = over
                    .map(|_| Ground::Quarantine(kept))
                    .or_else(|| full.map(|max| Ground::Disk(self.observed.disk, max)))?;
                Some((Aim::Delete, ground))
            }
            _ => None,
        }
    }

    /// An evicted artifact that is gone, and then, in a full table, its entry.
    pub(super) fn deleted(&self) -> Option<What> {
        let mut evicted = self.model.versions().filter_map(|(name, version)| {
            let Stage::Evicted(evicted) = version.stage() else { return None };
            Some((name, version, evicted.is_deleted()))
        });
        let grace = self.policy.evict.grace;
        let full = self.model.versions.len() * 10 >= VERSIONS_MAX * 9;
        evicted.find_map(|(name, version, deleted)| {
            let over = self.now.steady.since(version.since()) >= grace;
            // An artifact that nobody has seen is not one that is gone.
            let gone =
                self.seen(name).is_some_and(|seen| !seen.on_disk && !seen.deleting && !seen.ready);
            if !deleted && over && gone {
                return Some(self.step(name, Edge::Delete, "its artifact is gone"));
            }
            let forget = deleted && full && !self.observed.sightings.contains_key(name);
            forget.then(|| What::Forgotten { model: self.name.clone(), version: name.clone() })
        })
    }

    /// The champion is out of date by policy, and nothing can follow it.
    pub(in crate::domain::lifecycle) fn overdue(&self) -> Option<(&VersionName, Ground)> {
        let (name, version) = self.champion?;
        let policy = &self.policy.evict;
        let age = self.now.steady.since(version.age_from());
        let trained = version.release().trained_at.map(|at| self.now.wall.since(at));
        if self.state.clock().doubt(self.now).is_none()
            && let Some((_, age)) = policy.max_age.zip(trained).filter(|(max, age)| age > max)
        {
            return Some((name, Ground::MaxAge(age)));
        }
        policy.ttl.filter(|ttl| age > *ttl).map(|_| (name, Ground::Ttl(age)))
    }
}
