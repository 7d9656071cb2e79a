//! The past: what the journal of the life cycle adds up to, by these tests' own means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::PATIENCE;

/// The journal as it is on the disk: every line that was written to its end.
#[derive(Clone)]
pub(super) struct Past {
    path: PathBuf,
    pub(super) text: String,
    events: Vec<Value>,
}

/// What was so after some event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Then {
    pub(super) versions: BTreeMap<String, One>,
    /// The model or the gateway is cut off.
    pub(super) model_killed: bool,
    pub(super) gateway_killed: bool,
}

/// One version.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct One {
    pub(super) stage: String,
    /// Thousandths of the requests, in canary.
    pub(super) share: u64,
    /// Where it ends, while it drains.
    towards: String,
    pub(super) pinned: bool,
    pub(super) held: bool,
    pub(super) killed: bool,
}

impl Past {
    /// Of the gateway in this directory.
    pub(super) fn of(dir: &Path) -> Self {
        let path = dir.join("data/state/lifecycle/journal.jsonl");
        Self { path, text: String::new(), events: Vec::new() }.read()
    }

    /// The same journal as it is now.
    pub(super) fn read(mut self) -> Self {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        // What was read before need not be parsed again.
        let known = if text.starts_with(&self.text) { self.text.len() } else { 0 };
        if known == 0 {
            self.events.clear();
        }
        for line in text.get(known..whole).unwrap().lines() {
            let (_crc, json) = line.split_once(' ').unwrap();
            match serde_json::from_str(json).unwrap() {
                // Those that were written together.
                Value::Array(events) => self.events.extend(events),
                event => self.events.push(event),
            }
        }
        self.text = text.get(..whole).unwrap().to_owned();
        self
    }

    /// Reads on, with hardly a pause, until this holds.
    pub(super) fn until(mut self, what: &str, mut holds: impl FnMut(&Then) -> bool) -> Self {
        let limit = std::time::Instant::now() + PATIENCE;
        loop {
            self = self.read();
            if holds(&self.now()) {
                return self;
            }
            assert!(std::time::Instant::now() < limit, "timed out: {what}: {:#?}", self.now());
            std::thread::park_timeout(std::time::Duration::from_micros(200));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.events.len()
    }

    /// The kind of an event: the one at this place, from 0.
    pub(super) fn kind(&self, at: usize) -> &str {
        let what = &self.events[at]["what"];
        what.as_str().unwrap_or_else(|| what.as_object().unwrap().keys().next().unwrap().as_str())
    }

    pub(super) fn now(&self) -> Then {
        self.after(self.events.len())
    }

    /// What was so after so many events.
    pub(super) fn after(&self, count: usize) -> Then {
        let mut then = Then::default();
        self.events[..count].iter().for_each(|event| then.take_in(&event["what"]));
        then
    }

    /// Every version that the journal let answer at some moment from that many events on.
    pub(super) fn answerers_since(&self, count: usize) -> BTreeSet<String> {
        (count..=self.events.len()).flat_map(|n| self.after(n).answerers()).collect()
    }
}

impl Then {
    fn take_in(&mut self, what: &Value) {
        // Time that passes and starts are words, and change no stage.
        let Some((kind, it)) = what.as_object().and_then(|what| what.iter().next()) else { return };
        let name = |value: &Value| value.as_str().unwrap().to_owned();
        match kind.as_str() {
            "sighted" => {
                // Another content under a name that is cut off is cut off.
                let killed = self.versions.get(&name(&it["version"])).is_some_and(|one| one.killed);
                let fresh = One { stage: "discovered".to_owned(), killed, ..One::default() };
                self.versions.insert(name(&it["version"]), fresh);
            }
            "moved" => {
                for one in it["moves"].as_array().unwrap() {
                    self.versions.get_mut(&name(&one["version"])).unwrap().go(&one["edge"]);
                }
            }
            "marked" => {
                let on = it["on"].as_bool().unwrap();
                let one = self.versions.get_mut(&name(&it["version"])).unwrap();
                match it["mark"].as_str().unwrap() {
                    "pinned" => one.pinned = on,
                    "held" => one.held = on,
                    _ => {}
                }
            }
            "killed" => {
                let on = it["on"].as_bool().unwrap();
                match it["scope"].as_object().and_then(|scope| scope.iter().next()) {
                    None => self.gateway_killed = on,
                    Some((kind, _)) if kind == "model" => self.model_killed = on,
                    Some((_, of)) => self.versions.get_mut(&name(&of[1])).unwrap().killed = on,
                }
            }
            _ => {}
        }
    }

    pub(super) fn stage(&self, version: &str) -> &str {
        self.versions.get(version).map_or("", |one| &one.stage)
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.model_killed || self.gateway_killed
    }

    /// The live version, unless it is cut off; then the earlier ones.
    pub(super) fn champions(&self) -> BTreeSet<String> {
        let at = |stage: &str| -> BTreeSet<String> {
            let open = self.versions.iter().filter(|(_, one)| one.stage == stage && !one.killed);
            open.map(|(name, _)| name.clone()).collect()
        };
        let live = at("live");
        if live.is_empty() { at("standby") } else { live }
    }

    /// Who may answer a request that names no version.
    pub(super) fn answerers(&self) -> BTreeSet<String> {
        if self.is_cut_off() {
            return BTreeSet::new();
        }
        let tried = self.versions.iter().filter(|(_, one)| one.stage == "canary" && !one.killed);
        self.champions().into_iter().chain(tried.map(|(name, _)| name.clone())).collect()
    }

    /// Everything that decides who answers what.
    pub(super) fn exposure(&self) -> (bool, BTreeSet<String>, Vec<(String, u64)>) {
        let tried = self.versions.iter().filter(|(_, one)| one.stage == "canary" && !one.killed);
        let tried = tried.map(|(name, one)| (name.clone(), one.share)).collect();
        (self.is_cut_off(), self.champions(), tried)
    }
}

impl One {
    fn go(&mut self, edge: &Value) {
        let (word, with) = match edge.as_object().and_then(|edge| edge.iter().next()) {
            Some((word, with)) => (word.as_str(), with.clone()),
            None => (edge.as_str().unwrap(), Value::Null),
        };
        let towards = self.towards.clone();
        let stage = match word {
            "stage" | "retry" => "staged",
            "validate" => "validating",
            "warm" | "restore" => "warming",
            "try" => "shadow",
            "begin" | "promote" | "return" | "recall" => "live",
            "ready" | "stand_by" => "standby",
            "expose" | "step" => "canary",
            "extend" => return,
            "drain" => "draining",
            "drained" => &towards,
            "retire" => "retired",
            "quarantine" => "quarantined",
            "evict" => "evicted",
            "delete" => "deleted",
            other => panic!("an edge that this test does not know: {other}"),
        };
        self.share = if stage == "canary" { with[1].as_u64().unwrap() } else { 0 };
        if word == "drain" {
            self.towards = with.as_object().unwrap().keys().next().unwrap().clone();
        }
        self.stage = stage.to_owned();
    }
}
