//! Candidate and champion on the same golden rows.
//!
//! Owns whose truths count: those beside the candidate, or where it has none those beside the champion, so that a
//! release without a golden set is not spared the comparison. Never judges.

use std::collections::BTreeMap;
use std::time::Instant;

use super::CheckError;
use super::bench::Bench;
use super::golden::GoldenSet;
use super::metric::Trial;
use super::prediction::Reading;
use super::tour::Tour;
use crate::domain::spec::LabelTask;
use crate::protocol::open_inference::Label;

/// The truths that versions are held against.
#[derive(Debug, Default)]
pub(super) struct Truths {
    /// They lie beside the candidate.
    own: bool,
    labels: Vec<Label>,
    classes: BTreeMap<String, Vec<String>>,
}

impl Truths {
    /// Those of the candidate, or of the champion.
    pub(super) fn new(candidate: &Bench, champion: Option<&Bench>) -> Self {
        let of = |bench: &Bench| -> Vec<Label> {
            bench.golden_set().into_iter().flat_map(|set| set.labels().cloned()).collect()
        };
        let labels = of(candidate);
        let own = !labels.is_empty();
        let labels = if own { labels } else { champion.map(of).unwrap_or_default() };
        let holder = if own { Some(candidate) } else { champion };
        let classes = holder.map(|bench| bench.classes().clone()).unwrap_or_default();
        Self { own, labels, classes }
    }

    /// How predictions are read to be held against them.
    pub(super) fn reading<'a>(&'a self, task: Option<&'a LabelTask>) -> Reading<'a> {
        Reading::new(self.labels.iter(), task, &self.classes)
    }
}

/// All runs through golden sets.
#[derive(Debug, Default)]
pub(super) struct Tours {
    /// The candidate through its own set.
    pub(super) own: Option<Tour>,
    /// The candidate through the champion's, where the truths are there.
    theirs: Option<Tour>,
    /// The champion through the set with the truths.
    champion: Option<Tour>,
}

impl Tours {
    /// Makes them, each until its deadline.
    ///
    /// # Errors
    /// When one of the two cannot be asked.
    pub(super) async fn make(
        candidate: &mut Bench,
        champion: Option<&mut Bench>,
        truths: &Truths,
        reading: &Reading<'_>,
        (first, second): (Instant, Instant),
    ) -> Result<Self, CheckError> {
        let mut tours = Self::default();
        let Bench { runner, golden, .. } = candidate;
        if let Ok(Some(set)) = golden {
            let tour = Tour::make(runner, set, reading, (set.cases.len(), first)).await;
            tours.own = Some(tour.map_err(CheckError::Candidate)?);
        }
        let Some(champion) = champion.filter(|_| !truths.labels.is_empty()) else {
            return Ok(tours);
        };
        let set = if truths.own { golden.as_ref() } else { champion.golden.as_ref() };
        let Ok(Some(set)) = set else { return Ok(tours) };
        let bounds = (set.cases.len(), second);
        let tour = Tour::make(&mut champion.runner, set, reading, bounds).await;
        tours.champion = Some(tour.map_err(CheckError::Champion)?);
        if !truths.own {
            let tour = Tour::make(runner, set, reading, bounds).await;
            tours.theirs = Some(tour.map_err(CheckError::Candidate)?);
        }
        Ok(tours)
    }

    /// The comparison that they allow; `None` without truths.
    pub(super) fn trial<'a>(
        &'a self,
        candidate: &'a Bench,
        champion: Option<&'a Bench>,
        (truths, reading): (&Truths, &'a Reading<'a>),
        margin: f64,
    ) -> Option<Trial<'a>> {
        let (set, tour): (&GoldenSet, &Tour) = match truths.own {
            true => (candidate.golden_set()?, self.own.as_ref()?),
            false => (champion?.golden_set()?, self.theirs.as_ref()?),
        };
        let champion = self.champion.as_ref();
        Some(Trial { set, own: truths.own, reading, candidate: tour, champion, margin })
    }
}
