//! Folders that stay incomplete for too long.
//!
//! Owns since when each waits, and that it is told once. Never looks at a folder.

use std::collections::BTreeMap;

use crate::domain::discovery::{Facts, Keeper, Thing};
use crate::domain::ids::SourceName;

/// After so long somebody should look.
const ALARM_AFTER_MS: u64 = 600_000;

/// Since when folders wait, and whether that was told.
#[derive(Debug, Default)]
pub(super) struct Incomplete(BTreeMap<(SourceName, Thing), (u64, bool)>);

impl Incomplete {
    /// Looks through what is known of a source; the folders that have waited too long since this call, and
    /// what for.
    pub(super) fn look(
        &mut self,
        now_ms: u64,
        source: &SourceName,
        keeper: &Keeper,
    ) -> Vec<(Thing, String)> {
        let waiting: BTreeMap<&Thing, &String> = keeper
            .things()
            .iter()
            .filter_map(|(thing, kept)| match &kept.facts {
                Facts::Artifact(artifact) if kept.is_present() => {
                    Some((thing, artifact.waits_for.as_ref()?))
                }
                Facts::Artifact(_) | Facts::Backend(_) => None,
            })
            .collect();
        self.0.retain(|(of, thing), _| of != source || waiting.contains_key(thing));
        let mut told = Vec::new();
        for (thing, waits_for) in waiting {
            let key = (source.clone(), thing.clone());
            let (since_ms, known) = self.0.entry(key).or_insert((now_ms, false));
            if !*known && now_ms.saturating_sub(*since_ms) >= ALARM_AFTER_MS {
                *known = true;
                told.push((thing.clone(), waits_for.clone()));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::discovery::{Answer, Artifact, Listing, Policy};
    use crate::domain::ids::{ModelName, VersionName};

    #[test]
    fn a_folder_that_waits_for_ten_minutes_is_told_once() {
        let source = SourceName::new("store");
        let mut keeper = Keeper::new(Policy { shrink_after_ms: 0, confirm_ms: 0 });
        let mut incomplete = Incomplete::default();
        let mut look = |now_ms: u64, waits_for: Option<&str>| {
            let mut listing = Listing::default();
            let artifact =
                Artifact { waits_for: waits_for.map(str::to_owned), ..Artifact::default() };
            listing.artifact(ModelName::new("iris"), VersionName::new("v1"), artifact);
            keeper.observe(now_ms, Answer::Whole(listing));
            incomplete.look(now_ms, &source, &keeper).len()
        };
        let minute = 60_000;
        assert_eq!(look(0, Some("READY")), 0);
        assert_eq!(look(9 * minute, Some("READY")), 0);
        assert_eq!(look(10 * minute, Some("READY")), 1);
        assert_eq!(look(20 * minute, Some("READY")), 0);
        assert_eq!(look(21 * minute, None), 0);
        assert_eq!(look(22 * minute, Some("READY")), 0, "it waits anew");
        assert_eq!(look(32 * minute, Some("READY")), 1);
    }
}
