//! The task of one source: look, report, wait.
//!
//! Owns when is looked again: after the interval, sooner when a time to live is over, when an answer was
//! not whole, when the system tells of a change, or when something that was missed waits for a second answer.
//! Never judges an answer.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::asked::Asker;
use super::catalogue::Catalogue;
use super::directory::Directory;
use super::dns::Lookup;
use super::file::ListFile;
use super::hints::Watch;
#[cfg(feature = "discovery-kubernetes")]
use super::kubernetes::Cluster;
use crate::domain::discovery::{Answer, Endpoint, Keeper, Listing};
use crate::domain::ids::SourceName;
use crate::domain::spec::{DiscoveryPlace, DiscoverySpec, Intent};

/// How soon is looked again when something was missed.
pub(super) const CONFIRM: Duration = Duration::from_millis(1100);
/// How soon is looked again after an answer that is not whole.
const AGAIN: Duration = Duration::from_secs(5);
/// No source is asked more often.
const LEAST: Duration = Duration::from_millis(20);

/// What a source has said, on its way to the judge.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) source: SourceName,
    pub(super) answer: Answer,
    /// Told whether something waits for a second answer.
    pub(super) judged: oneshot::Sender<bool>,
}

/// The way of a source's answers.
#[derive(Debug)]
pub(super) struct Reporter {
    source: SourceName,
    reports: mpsc::Sender<Report>,
}

impl Reporter {
    pub(super) fn new(source: SourceName, reports: mpsc::Sender<Report>) -> Self {
        Self { source, reports }
    }

    /// Reports an answer; whether something waits for a second one. `None` when nobody listens any more.
    pub(super) async fn tell(&self, answer: Answer) -> Option<bool> {
        let (judged, told) = oneshot::channel();
        let report = Report { source: self.source.clone(), answer, judged };
        self.reports.send(report).await.ok()?;
        told.await.ok()
    }
}

/// What looking has found.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) answer: Answer,
    /// When the answer is no longer good, if it says so.
    pub(super) good_for: Option<Duration>,
}

impl From<Answer> for Look {
    fn from(answer: Answer) -> Self {
        Self { answer, good_for: None }
    }
}

/// A source that is looked at again and again.
pub(super) trait Source: Send + 'static {
    /// Looks once.
    fn look(&mut self) -> impl Future<Output = Look> + Send;

    /// The folders in which a change is worth another look.
    fn folders(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The task of a source; none for registrations, which come by themselves.
pub(super) fn task(
    spec: &DiscoverySpec,
    keeper: &Keeper,
    intent: &Intent,
    reporter: Reporter,
) -> Option<Task> {
    let asker = spec.ask.then(|| Asker::new(spec, intent));
    let rounds = Rounds { interval: spec.interval, reporter, asker };
    Some(match &spec.place {
        DiscoveryPlace::Directory(directory) => {
            Box::pin(rounds.run(Directory::new(directory.clone(), keeper)))
        }
        DiscoveryPlace::File(path) => {
            Box::pin(rounds.run(ListFile::new(path.clone(), spec.clone())))
        }
        DiscoveryPlace::Environment(services) => {
            let mut listing = Listing::default();
            for (model, address) in services {
                let serves = spec.version.iter().map(|version| (model.clone(), version.clone()));
                let endpoint = Endpoint { serves: serves.collect(), ..Endpoint::default() };
                listing.backend(address.clone(), endpoint);
            }
            Box::pin(rounds.run(Fixed(listing)))
        }
        DiscoveryPlace::Dns(dns) => {
            Box::pin(rounds.run(Lookup::addresses(dns.clone(), spec.clone())))
        }
        DiscoveryPlace::Srv(dns) => {
            Box::pin(rounds.run(Lookup::services(dns.clone(), spec.clone())))
        }
        DiscoveryPlace::Catalogue(place) => {
            Box::pin(rounds.run(Catalogue::new(place.clone(), spec.clone())))
        }
        #[cfg(feature = "discovery-kubernetes")]
        DiscoveryPlace::Kubernetes(place) => {
            let cluster = Cluster::new(place.clone(), spec.clone());
            Box::pin(cluster.run(rounds.reporter))
        }
        // A configuration with one does not pass in a build without the feature.
        #[cfg(not(feature = "discovery-kubernetes"))]
        DiscoveryPlace::Kubernetes(_) => return None,
        DiscoveryPlace::Lease(_) => return None,
    })
}

/// What never changes while the gateway runs.
struct Fixed(Listing);

impl Source for Fixed {
    async fn look(&mut self) -> Look {
        Answer::Whole(self.0.clone()).into()
    }
}

/// The rounds of a source.
struct Rounds {
    interval: Duration,
    reporter: Reporter,
    asker: Option<Asker>,
}

impl Rounds {
    /// Looks until nobody listens any more.
    async fn run(mut self, mut source: impl Source) {
        let mut watch = Watch::default();
        loop {
            // Before it is looked: what changes from here on is told.
            watch.on(&source.folders());
            let Look { answer, good_for } = source.look().await;
            let answer = match &mut self.asker {
                Some(asker) => asker.complete(answer).await,
                None => answer,
            };
            let is_whole = matches!(answer, Answer::Whole(_));
            let Some(awaits) = self.reporter.tell(answer).await else { return };
            let soon = good_for.unwrap_or(if is_whole { Duration::MAX } else { AGAIN });
            let mut wait = self.interval.min(soon).max(LEAST);
            if awaits {
                wait = wait.min(CONFIRM);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = watch.changed() => {}
            }
        }
    }
}
