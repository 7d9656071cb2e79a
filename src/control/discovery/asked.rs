//! Asking prediction servers which models and versions they have, in the Open Inference Protocol.
//!
//! Owns the questions: the index of the model repository, and where there is none the metadata of each model
//! that is configured. A server that does not answer keeps what it has told before. Never asks one for which
//! that is said already.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::control::fetch::{Question, fetch};
use crate::domain::dialect::Dialect;
use crate::domain::discovery::{Answer, Endpoint, Listing, Release};
use crate::domain::ids::{ModelName, VersionName, is_valid_name};
use crate::domain::spec::{BackendAddress, DiscoverySpec, Intent};

/// How long one question may take.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Servers that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// Models whose metadata a server is asked for.
const MODELS_MAX: usize = 64;
/// Versions that one server may name.
const VERSIONS_MAX: usize = 1024;

/// Asks, and remembers.
#[derive(Debug)]
pub(super) struct Asker {
    models: Vec<ModelName>,
    told: BTreeMap<BackendAddress, BTreeSet<Release>>,
}

#[derive(Debug, Deserialize)]
struct IndexEntry {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    state: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    versions: Vec<String>,
}

impl Asker {
    /// Asks about the model of `spec`, or those of the configuration.
    pub(super) fn new(spec: &DiscoverySpec, intent: &Intent) -> Self {
        let models = match &spec.model {
            Some(model) => vec![model.clone()],
            None => intent.models.keys().take(MODELS_MAX).cloned().collect(),
        };
        Self { models, told: BTreeMap::new() }
    }

    /// Adds to an answer what its servers tell.
    pub(super) async fn complete(&mut self, answer: Answer) -> Answer {
        match answer {
            Answer::Whole(listing) => Answer::Whole(self.ask(listing).await),
            Answer::Part(listing, why) => Answer::Part(self.ask(listing).await, why),
            other @ (Answer::Failed(_) | Answer::Gone(_)) => other,
        }
    }

    async fn ask(&mut self, mut listing: Listing) -> Listing {
        let silent = listing.backends().filter(|(_, endpoint)| endpoint.serves.is_empty());
        let addresses: Vec<BackendAddress> = silent.map(|(address, _)| address.clone()).collect();
        self.told.retain(|address, _| addresses.contains(address));
        let mut waiting = addresses.iter().cloned();
        let mut running = JoinSet::new();
        loop {
            while running.len() < ASKED_AT_ONCE
                && let Some(address) = waiting.next()
            {
                let models = self.models.clone();
                running.spawn(async move {
                    let told = ask_one(&address, &models).await;
                    (address, told)
                });
            }
            match running.join_next().await {
                None => break,
                Some(Ok((address, Some(told)))) => drop(self.told.insert(address, told)),
                Some(Ok((_, None)) | Err(_)) => {}
            }
        }
        for address in addresses {
            if let Some(serves) = self.told.get(&address) {
                let dialect = Some(Dialect::OpenInference);
                let serves = serves.clone();
                listing.backend(address, Endpoint { serves, dialect, ..Endpoint::default() });
            }
        }
        listing
    }
}

/// The versions that a server has; `None` when it does not tell.
async fn ask_one(address: &BackendAddress, models: &[ModelName]) -> Option<BTreeSet<Release>> {
    let question = Question {
        method: Method::POST,
        headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body: Bytes::from_static(b"{\"ready\":true}"),
        ..Question::get(address, "/v2/repository/index")
    };
    let reply = fetch(question, ANSWER_TIME, ANSWER_BYTES_MAX).await.ok()?;
    if reply.status.is_success()
        && let Some(told) = read_index(&reply.body)
    {
        return Some(told);
    }
    let mut told = None::<BTreeSet<Release>>;
    for model in models {
        let path = format!("/v2/models/{model}");
        let reply =
            fetch(Question::get(address, &path), ANSWER_TIME, ANSWER_BYTES_MAX).await.ok()?;
        if reply.status.is_success()
            && let Some(more) = read_metadata(model, &reply.body)
        {
            told.get_or_insert_default().extend(more);
        }
    }
    told
}

/// The versions of an index that are ready and have names that can be used here.
fn read_index(body: &[u8]) -> Option<BTreeSet<Release>> {
    let entries: Vec<IndexEntry> = serde_json::from_slice(body).ok()?;
    let release = |entry: IndexEntry| {
        let ready = entry.state.is_none_or(|state| state.is_empty() || state == "READY");
        release(&entry.name, &entry.version?).filter(|_| ready)
    };
    Some(entries.into_iter().take(VERSIONS_MAX).filter_map(release).collect())
}

/// The versions of a model's metadata, which must be about that model.
fn read_metadata(model: &ModelName, body: &[u8]) -> Option<BTreeSet<Release>> {
    let metadata: Metadata = serde_json::from_slice(body).ok()?;
    if metadata.name != model.as_str() {
        return None;
    }
    let versions = metadata.versions.iter().take(VERSIONS_MAX);
    Some(versions.filter_map(|version| release(model.as_str(), version)).collect())
}

fn release(model: &str, version: &str) -> Option<Release> {
    let good = is_valid_name(model) && is_valid_name(version);
    good.then(|| (ModelName::new(model), VersionName::new(version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(told: Option<BTreeSet<Release>>) -> Option<String> {
        let one = |(model, version): &Release| format!("{model}/{version}");
        told.map(|told| told.iter().map(one).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn an_index_tells_what_is_ready_and_has_a_usable_name() {
        let body =
            br#"[{"name": "a", "version": "1", "state": "READY"}, {"name": "a", "version": "2"},
            {"name": "a", "version": "3", "state": "UNAVAILABLE", "reason": "unloaded"},
            {"name": "b"}, {"name": "c/d", "version": "1"}]"#;
        assert_eq!(shown(read_index(body)).as_deref(), Some("a/1 a/2"));
        assert_eq!(shown(read_index(b"{\"error\": \"no\"}")), None);
    }

    #[test]
    fn metadata_of_another_model_tells_nothing() {
        let body = br#"{"name": "a", "versions": ["1", "x/y"], "inputs": []}"#;
        assert_eq!(shown(read_metadata(&ModelName::new("a"), body)).as_deref(), Some("a/1"));
        assert_eq!(shown(read_metadata(&ModelName::new("b"), body)), None);
        assert_eq!(shown(read_metadata(&ModelName::new("a"), b"[]")), None);
    }
}
