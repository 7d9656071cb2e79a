//! EndpointSlices as the API server writes them, and what they list.
//!
//! Owns the fields that are read, and which endpoints count: those that are ready, or say nothing about it.
//! The labels `pointsman/model` and `pointsman/version`, which a slice has from its service, say what is
//! served. Never talks to the server.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::control::discovery::listed::serves;
use crate::domain::discovery::{Endpoint, Listing};
use crate::domain::spec::{BackendAddress, DiscoverySpec};

/// The label with the model.
const MODEL: &str = "pointsman/model";
/// The label with the version.
const VERSION: &str = "pointsman/version";

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) metadata: PageMetadata,
    pub(super) items: Vec<Slice>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMetadata {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) rest: Option<String>,
}

/// One slice.
#[derive(Debug, Deserialize)]
pub(super) struct Slice {
    pub(super) metadata: SliceMetadata,
    #[serde(default)]
    endpoints: Option<Vec<SliceEndpoint>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SliceMetadata {
    name: String,
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct SliceEndpoint {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
}

#[derive(Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
}

/// What a watch says.
#[derive(Debug)]
pub(super) enum Event {
    /// A slice is new or another.
    Put(Slice),
    /// A slice is gone.
    Gone(Slice),
    /// The watch has come to this version.
    Bookmark(String),
    /// The watch ends, with a code and why.
    Error(i64, String),
}

/// Reads a page of the list.
pub(super) fn page(body: &[u8]) -> Result<Page, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Reads a line of a watch.
pub(super) fn event(line: &[u8]) -> Result<Event, String> {
    #[derive(Deserialize)]
    struct Line {
        r#type: String,
        object: Value,
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let slice =
        |object: Value| serde_json::from_value::<Slice>(object).map_err(|error| error.to_string());
    match line.r#type.as_str() {
        "ADDED" | "MODIFIED" => Ok(Event::Put(slice(line.object)?)),
        "DELETED" => Ok(Event::Gone(slice(line.object)?)),
        "BOOKMARK" => {
            let version = line.object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
            version.map(|at| Event::Bookmark(at.to_owned())).ok_or_else(|| "no version".to_owned())
        }
        "ERROR" => {
            let code = line.object.get("code").and_then(Value::as_i64).unwrap_or_default();
            let message = line.object.get("message").and_then(Value::as_str).unwrap_or_default();
            Ok(Event::Error(code, message.to_owned()))
        }
        other => Err(format!("an event of the type `{}`", other.escape_debug())),
    }
}

/// The slices of now, by name.
#[derive(Debug)]
pub(super) struct Slices {
    port: Option<String>,
    all: BTreeMap<String, Slice>,
}

impl Slices {
    /// Endpoints have the port of that name, or the first one.
    pub(super) fn new(port: Option<String>) -> Self {
        Self { port, all: BTreeMap::new() }
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    pub(super) fn put(&mut self, slice: Slice) {
        self.all.insert(slice.metadata.name.clone(), slice);
    }

    pub(super) fn remove(&mut self, slice: &Slice) {
        self.all.remove(&slice.metadata.name);
    }

    /// The endpoints that are ready.
    pub(super) fn listing(&self, spec: &DiscoverySpec) -> Listing {
        let mut listing = Listing::default();
        for slice in self.all.values() {
            let label = |name: &str| slice.metadata.labels.get(name).map(String::as_str);
            // A label that is no name says nothing.
            let serves = serves(label(MODEL), label(VERSION), spec).ok().flatten();
            let mut ports = slice.ports.iter().flatten();
            let wanted = |port: &&Port| self.port.is_none() || port.name == self.port;
            let Some(port) = ports.find(wanted).and_then(|port| port.port) else { continue };
            let ready = slice.endpoints.iter().flatten();
            let ready = ready.filter(|endpoint| endpoint.conditions.ready.unwrap_or(true));
            for host in ready.flat_map(|endpoint| &endpoint.addresses) {
                let serves = serves.iter().cloned().collect();
                let endpoint = Endpoint { serves, ..Endpoint::default() };
                listing.backend(BackendAddress { host: host.clone(), port }, endpoint);
            }
        }
        listing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::spec::DiscoveryPlace;

    const SLICE: &str = r#"{"metadata": {"name": "a", "resourceVersion": "5",
        "labels": {"pointsman/model": "fraud", "pointsman/version": "v1"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}, {"addresses": ["10.0.0.3"]}],
        "ports": [{"name": "metrics", "port": 9}, {"name": "http", "port": 80}]}"#;

    fn shown(slices: &Slices) -> Vec<String> {
        let spec = DiscoverySpec {
            place: DiscoveryPlace::Environment(vec![]),
            model: None,
            version: None,
            ask: false,
            interval: Duration::ZERO,
            shrink_after: Duration::ZERO,
        };
        let listing = slices.listing(&spec);
        let shown = listing.backends().map(|(address, endpoint)| {
            let serves = endpoint.serves.iter().map(|(m, v)| format!(" {m}/{v}"));
            format!("{}{}", address.authority(), serves.collect::<String>())
        });
        shown.collect()
    }

    #[test]
    fn endpoints_that_are_ready_count_with_the_wanted_port() {
        let page = page(
            format!(r#"{{"metadata": {{"resourceVersion": "7"}}, "items": [{SLICE}]}}"#).as_bytes(),
        );
        let page = page.unwrap();
        assert_eq!((page.metadata.resource_version.as_str(), page.metadata.rest), ("7", None));
        let mut slices = Slices::new(Some("http".into()));
        page.items.into_iter().for_each(|slice| slices.put(slice));
        assert_eq!(shown(&slices), ["10.0.0.1:80 fraud/v1", "10.0.0.3:80 fraud/v1"]);
        slices.port = None;
        assert_eq!(shown(&slices)[0], "10.0.0.1:9 fraud/v1");
        slices.port = Some("grpc".into());
        assert!(shown(&slices).is_empty());
    }

    #[test]
    fn events_change_the_slices() {
        let line = |kind: &str| format!(r#"{{"type": "{kind}", "object": {SLICE}}}"#);
        let mut slices = Slices::new(None);
        match event(line("ADDED").as_bytes()) {
            Ok(Event::Put(slice)) => slices.put(slice),
            other => panic!("{other:?}"),
        }
        assert_eq!(shown(&slices).len(), 2);
        match event(line("DELETED").as_bytes()) {
            Ok(Event::Gone(slice)) => slices.remove(&slice),
            other => panic!("{other:?}"),
        }
        assert!(shown(&slices).is_empty());
        let bookmark = br#"{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}"#;
        assert!(matches!(event(bookmark), Ok(Event::Bookmark(at)) if at == "9"));
        let expired = br#"{"type": "ERROR", "object": {"code": 410, "message": "too old"}}"#;
        assert!(matches!(event(expired), Ok(Event::Error(410, why)) if why == "too old"));
        for bad in
            [&b"{"[..], br#"{"type": "X", "object": {}}"#, br#"{"type": "ADDED", "object": {}}"#]
        {
            assert!(event(bad).is_err());
        }
    }
}
