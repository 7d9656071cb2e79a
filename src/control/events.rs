//! Events: what the gateway has found out and decided, one sentence each, with its numbers.
//!
//! Owns a bounded ring of them in memory and in a file below `state/`, and their way into the log and to the webhook
//! of alarms. Never decides anything, and never fails whoever tells it something: an event that cannot be
//! written is counted.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::store;
use crate::monitor::alarms::{Teller, Told};

/// Events that are kept.
pub const EVENTS_MAX: usize = 1024;
/// The longest sentence, in bytes.
const WORDS_MAX: usize = 1000;
/// The file below `state/`.
const FILE: &str = "events.jsonl";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// To be known.
    Info,
    /// Somebody should look.
    Alarm,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts events, over restarts.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What kind, such as `discovery.gone`.
    pub kind: String,
    /// How much it matters.
    pub weight: Weight,
    /// What it is about: a source, or `MODEL/VERSION`.
    pub about: String,
    /// The sentence.
    pub words: String,
}

/// The events of this gateway.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    /// Taken for a moment by the controller, and by whoever reads.
    ring: Mutex<Ring>,
    lost: AtomicU64,
    /// Where there is a webhook.
    teller: Option<Teller>,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Event>,
    next: u64,
    file: Option<File>,
    lines: usize,
}

impl Events {
    /// The events below `data_dir`, with those of earlier runs. What cannot be read is told and left aside.
    pub fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(store::STATE_DIR).join(FILE);
        let mut ring = Ring::default();
        match store::read(&path, FILE_BYTES_MAX) {
            Ok(bytes) => ring.restore(&bytes.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "earlier events cannot be read");
                // Whatever is there is in the way of those to come.
                drop(store::put_aside(&path));
            }
        }
        Self { path, ring: Mutex::new(ring), lost: AtomicU64::new(0), teller: None }
    }

    /// From now on they are told to the webhook as well; first those that the last process left untold.
    #[must_use]
    pub fn told_to(mut self, teller: Option<Teller>) -> Self {
        if let Some((teller, last)) = teller.as_ref().and_then(|it| Some((it, it.last()?))) {
            self.after(Some(last), EVENTS_MAX).iter().for_each(|event| teller.tell(event.into()));
        }
        self.teller = teller;
        self
    }

    /// Notes an event and logs it.
    pub fn tell(&self, now_ms: u64, kind: &str, weight: Weight, about: &str, words: &str) {
        match weight {
            Weight::Info => tracing::info!(kind, about, "{words}"),
            Weight::Alarm => tracing::warn!(kind, about, "{words}"),
        }
        let mut ring = self.ring.lock();
        let event = Event {
            number: ring.next,
            at_ms: now_ms,
            kind: kind.to_owned(),
            weight,
            about: about.to_owned(),
            words: shortened(words),
        };
        ring.next += 1;
        let written = ring.write(&self.path, &event);
        // Under the lock, so that events are told in their order; it only notes them.
        if let Some(teller) = &self.teller {
            teller.tell((&event).into());
        }
        ring.keep(event);
        if let Err(error) = written {
            ring.file = None;
            self.lost.fetch_add(1, Relaxed);
            tracing::debug!(%error, "an event is not written");
        }
    }

    /// The events after a number, oldest first, at most so many: the latest.
    pub fn after(&self, number: Option<u64>, most: usize) -> Vec<Event> {
        let ring = self.ring.lock();
        let newer = |event: &&Event| number.is_none_or(|number| event.number > number);
        let mut found: Vec<Event> =
            ring.kept.iter().rev().filter(newer).take(most).cloned().collect();
        found.reverse();
        found
    }

    /// Events so far, over restarts.
    pub fn total(&self) -> u64 {
        self.ring.lock().next
    }

    /// Events that are not in the file.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl From<&Event> for Told {
    fn from(event: &Event) -> Self {
        Self {
            number: event.number,
            at_ms: event.at_ms,
            kind: event.kind.clone(),
            is_alarm: event.weight == Weight::Alarm,
            about: event.about.clone(),
            words: event.words.clone(),
        }
    }
}

impl Ring {
    fn restore(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n') {
            self.lines += 1;
            // The last line of a process that was killed may be a part of one.
            let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
            self.next = self.next.max(event.number.saturating_add(1));
            self.keep(event);
        }
    }

    fn keep(&mut self, event: Event) {
        if self.kept.len() >= EVENTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    fn write(&mut self, path: &Path, event: &Event) -> io::Result<()> {
        if self.lines >= 2 * EVENTS_MAX {
            self.file = None;
            let mut all = Vec::new();
            for kept in &self.kept {
                serde_json::to_writer(&mut all, kept)?;
                all.push(b'\n');
            }
            store::replace(path, &all)?;
            self.lines = self.kept.len();
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                // What was cut off there must not take this line with it.
                line.insert(0, b'\n');
                self.file.insert(OpenOptions::new().create(true).append(true).open(path)?)
            }
        };
        file.write_all(&line)?;
        self.lines += 1;
        Ok(())
    }
}

fn shortened(words: &str) -> String {
    if words.len() <= WORDS_MAX {
        return words.to_owned();
    }
    let end = (0..=WORDS_MAX).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", words.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(events: &Events, words: &str) {
        events.tell(7, "discovery.gone", Weight::Info, "fleet", words);
    }

    #[test]
    fn events_survive_the_process_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path());
        tell(&events, "one");
        tell(&events, "two");
        let path = dir.path().join("state/events.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"number\": 2, \"at").unwrap();
        let again = Events::open(dir.path());
        tell(&again, "three");
        let third = Events::open(dir.path());
        let words: Vec<_> = third.after(None, 9).into_iter().map(|e| (e.number, e.words)).collect();
        assert_eq!(words, [(0, "one".into()), (1, "two".into()), (2, "three".into())]);
        assert_eq!((third.total(), third.lost()), (3, 0));
        assert_eq!(third.after(Some(0), 1)[0].words, "three");
    }

    #[test]
    fn the_ring_and_its_file_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::open(dir.path());
        for _ in 0..4 * EVENTS_MAX {
            tell(&events, &"é".repeat(WORDS_MAX));
        }
        let kept = Events::open(dir.path()).after(None, usize::MAX);
        assert_eq!(kept.len(), EVENTS_MAX);
        assert_eq!(kept.last().map(|event| event.number), Some(4 * EVENTS_MAX as u64 - 1));
        assert!(kept[0].words.len() <= WORDS_MAX + '…'.len_utf8());
        let text = std::fs::read_to_string(dir.path().join("state/events.jsonl")).unwrap();
        assert!(text.lines().count() <= 2 * EVENTS_MAX + 2);
    }

    #[test]
    fn an_event_that_cannot_be_written_is_counted_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("state"), "a file").unwrap();
        let events = Events::open(dir.path());
        tell(&events, "one");
        assert_eq!((events.lost(), events.after(None, 9).len()), (1, 1));
    }
}
