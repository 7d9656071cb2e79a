//! SIGKILL in every stage, in the midst of orders, of copies and of deletions; and again while the process recovers.
//!
//! After each kill the same is checked ([`Matrix::kill`]): the journal goes on where it stood, every version is where
//! it says, nobody answers who was not to answer before, callers keep their version or get the champion, kill switches
//! and marks hold, the champion answers, and what is served and kept is whole, byte by byte.
//!
//! Each test counts its own kills; together they are more than a hundred.

mod orders;
mod removal;
mod rollback;
mod trials;
mod waiting;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::past::{One, Past, Then};
use super::*;

/// Callers of whom each keeps its version.
const CALLERS: u32 = 40;

/// Releases that go on at once, and stay where a test wants them.
const MATRIX: &str = "
[models.m]
sticky = \"header:x-user\"
[models.m.release]
between    = \"0s\"
daily      = 256
superseded = 1000
deaths     = 1000
unproven   = true
proving    = \"0s\"
undo       = \"0s\"
standbys   = 16
shadow     = { SHADOW }
steps      = [\"20%\", \"50%\"]
responses  = [1000000, 1000000]
dwell      = \"1h\"
[models.m.evict]
cool_down = \"0s\"
hourly    = 1024
grace     = \"GRACE\"
";

/// What callers got, and what the journal said when they asked.
struct Asked {
    then: Then,
    /// By caller: the status and the version.
    got: Vec<(u16, String)>,
}

/// A gateway that is killed again and again, and what was true of it at each kill.
struct Matrix {
    store: Store,
    /// Kills by stage of the version that was aimed at.
    kills: BTreeMap<String, u32>,
    pauses: u32,
    /// A copy of the version that was aimed at was neither whole nor gone at the last kill.
    was_half: bool,
}

/// Versions are `v1`, `v2` and so on, and each has a factor of its own: an answer tells whose it is.
fn factor(version: &str) -> f32 {
    let number: u16 = version.strip_prefix('v').unwrap().parse().unwrap();
    2.0 + f32::from(number) / 100.0
}

impl Matrix {
    /// With `v1` live.
    fn start(shadow: &str, grace: &str) -> Self {
        let config = MATRIX.replace("SHADOW", shadow).replace("GRACE", grace);
        Self::on(Store::start(&config))
    }

    fn on(store: Store) -> Self {
        let matrix = Self { store, kills: BTreeMap::new(), pauses: 0, was_half: false };
        matrix.publish("v1", 0);
        matrix.store.wait_for("v1", "live");
        matrix
    }

    /// Publishes a version with so many files beside the model, so that copying and deleting take a while.
    fn publish(&self, version: &str, more_files: usize) {
        let (model, golden) = (sum_times(factor(version)), golden(factor(version)));
        let names: Vec<String> = (0..more_files).map(|at| format!("part{at}.bin")).collect();
        let part = version.repeat(1000);
        let mut files: Vec<(&str, &[u8])> =
            vec![("model.onnx", model.as_slice()), ("golden.jsonl", golden.as_bytes())];
        files.extend(names.iter().map(|name| (name.as_str(), part.as_bytes())));
        self.store.publish(&format!("m/{version}"), &files);
    }

    fn past(&self) -> Past {
        Past::of(self.store.gateway.dir.path())
    }

    /// Waits for some part of `most`.
    fn pause(&mut self, most: Duration) {
        self.pauses += 1;
        std::thread::park_timeout(spread(self.pauses, most));
    }

    fn total(&self) -> u32 {
        self.kills.values().sum()
    }

    /// Every caller asks once.
    fn ask(&self) -> Asked {
        loop {
            let then = self.past().now();
            let mut client = self.store.gateway.client();
            let got = (0..CALLERS).map(|caller| {
                let headers = format!("x-user: u{caller}\r\n");
                client.send(&crate::support::client::post("/v2/models/m/infer", &headers, BODY));
                let reply = client.reply();
                let version = reply.header("x-pointsman-version").unwrap_or_default().to_owned();
                if reply.status == 200 {
                    let value = reply.json()["outputs"][0]["data"][0].as_f64().unwrap();
                    let expected = f64::from(factor(&version)) * 10.0;
                    assert!((value - expected).abs() < 1e-3, "{version} answers {value}");
                }
                (reply.status, version)
            });
            let got = got.collect();
            // Only what holds from the first answer to the last is a picture of one moment.
            if self.past().now().exposure() == then.exposure() {
                return Asked { then, got };
            }
        }
    }

    /// SIGKILL, now and then another one during the recovery, and all that is promised of the time after. Returns what
    /// the journal said at the kill.
    fn kill(mut self, about: &str, before: Option<&Asked>) -> (Self, Then) {
        let (config, is_fifth) = (self.store.config.clone(), self.total() % 5 == 4);
        let mut dir = self.store.gateway.kill();
        let past = Past::of(dir.path());
        let then = past.now();
        self.was_half = is_under_way(&dir.path().join(format!("data/models/m/{about}")));
        if is_fifth {
            let again = Gateway::spawn(dir, &config);
            self.pauses += 1;
            std::thread::park_timeout(spread(self.pauses, Duration::from_millis(120)));
            dir = again.kill();
            *self.kills.entry("recovering".to_owned()).or_default() += 1;
        }
        self.store.gateway = Gateway::start_in(dir, &config);
        *self.kills.entry(then.stage(about).to_owned()).or_default() += 1;
        let asked = self.ask();
        let now = self.past();
        self.goes_on_from(&past, &now);
        self.nobody_else_answers(&past, &now, &asked, before);
        self.is_shown_as_written();
        self.is_whole(&then);
        (self, then)
    }

    /// The journal is what it was, and the first thing after it is the start.
    fn goes_on_from(&self, past: &Past, now: &Past) {
        assert!(now.text.starts_with(&past.text), "what is written stays");
        assert_eq!(now.kind(past.count()), "recovered");
    }

    /// Nobody answers whom the journal has not let answer, and no caller meets a version that it did not meet before.
    fn nobody_else_answers(&self, past: &Past, now: &Past, after: &Asked, before: Option<&Asked>) {
        let (then, may) = (past.now(), now.answerers_since(past.count()));
        for (status, version) in &after.got {
            match status {
                200 => assert!(may.contains(version), "{version} answers; {may:?} may: {then:#?}"),
                // A kill switch, or the first moments of a model without a champion.
                503 => assert!(may.is_empty(), "{may:?} may answer, and nobody does: {then:#?}"),
                other => panic!("{other} by {version}: {then:#?}"),
            }
        }
        let Some(before) = before.filter(|before| before.then.exposure() == then.exposure()) else {
            return;
        };
        if after.then.exposure() != then.exposure() {
            return;
        }
        let champions = then.champions();
        for (was, is) in before.got.iter().zip(&after.got) {
            assert!(is == was || champions.contains(&is.1), "{was:?} was answered, now {is:?}");
        }
    }

    /// The API shows every version where the journal has it, with its marks.
    fn is_shown_as_written(&self) {
        eventually("the API shows what is written", || {
            let written = self.past();
            let shown = self.store.get("/api/v1/releases").json();
            // What is written in between is another moment.
            (self.past().count() == written.count()).then_some(())?;
            let model = &shown["models"]["m"];
            let now = written.now();
            let is_so = |(name, one): (&String, &One)| {
                let versions = model["versions"].as_array().unwrap();
                let shown = versions.iter().find(|shown| shown["version"] == **name).unwrap();
                let stage = if one.stage == "deleted" { "evicted" } else { one.stage.as_str() };
                shown["stage"] == stage
                    && shown["pinned"] == one.pinned
                    && shown["held"] == one.held
                    && shown["killed"] == one.killed
            };
            let switches = (model["killed"].is_object(), shown["killed"].is_object());
            let is_shown = now.versions.iter().all(is_so)
                && switches == (now.model_killed, now.gateway_killed);
            is_shown.then_some(())
        });
    }

    /// Every copy that counts is whole, and none that is needed has gone.
    fn is_whole(&self, then: &Then) {
        let keeps_evicted = self.store.config.contains("grace     = \"1h\"");
        for (version, one) in &then.versions {
            let source = self.store.folder(&format!("m/{version}"));
            let copies = self.store.gateway.dir.path().join(format!("data/models/m/{version}"));
            let found: Vec<_> = whole_copies(&copies);
            for copy in &found {
                for file in std::fs::read_dir(&source).unwrap() {
                    let file = file.unwrap();
                    let copied = std::fs::read(copy.join(file.file_name()));
                    let is_same = copied.ok() == Some(std::fs::read(file.path()).unwrap());
                    // It may be on its way out by now, under another name.
                    assert!(is_same || !copy.exists(), "{version}: a copy that is not whole");
                }
            }
            let is_needed = match one.stage.as_str() {
                "validating" | "warming" | "shadow" | "canary" | "live" | "standby"
                | "draining" => true,
                // One that was turned away before its turn was never fetched.
                "evicted" => keeps_evicted,
                _ => false,
            };
            assert!(!is_needed || found.len() == 1, "{version} is {} and gone", one.stage);
        }
    }

    /// Checks that each of these stages was met so often.
    fn has_killed(&self, stages: &[&str], often: u32) {
        for stage in stages {
            let count = self.kills.get(*stage).copied().unwrap_or(0);
            assert!(count >= often, "{stage}: {:?}", self.kills);
        }
    }
}

/// The pause of this number: pauses are spread evenly over `most`, and the same in every run.
fn spread(number: u32, most: Duration) -> Duration {
    most.mul_f64((f64::from(number) * 0.618_034).fract())
}

/// The copies of a version that are under their own name.
fn whole_copies(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_none()).collect()
}

/// Whether something is being copied or deleted there.
fn is_under_way(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|end| end == "fetching"))
}
