//! Events: what the gateway has found out and decided, one sentence each, with its numbers.
//!
//! Owns a bounded ring of them in memory and in a file below `state/`, and their way into the log and to the webhook
//! of alarms. Never decides anything, and never fails whoever tells it something, nor keeps them waiting: a thread of
//! its own writes the file, and an event that cannot be written is counted.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
/// Events that may wait for the file; beyond, they are in memory only.
const WAITING_MAX: usize = 1024;
/// How long the end of the process waits for the file.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// To be known.
    Info,
    /// Somebody should look.
    Alarm,
    /// Somebody should look now.
    Critical,
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
    /// Taken for a moment by whoever tells, and by whoever reads.
    ring: Mutex<Ring>,
    /// Absent where the system gave no thread; `None` too while it ends.
    file: Option<SyncSender<ToFile>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
    /// Where there is a webhook.
    teller: Option<Teller>,
}

/// The latest events.
#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Event>,
    next: u64,
}

/// What the thread of the file is told.
#[derive(Debug)]
enum ToFile {
    Write(Event),
    /// Everything before it is written: an answer.
    Flush(SyncSender<()>),
}

/// The file, which belongs to its thread.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    /// What it is made of anew once it has grown.
    kept: VecDeque<Event>,
    file: Option<File>,
    lines: usize,
    lost: Arc<AtomicU64>,
}

impl Events {
    /// The events below `data_dir`, with those of earlier runs. What cannot be read is told and left aside.
    pub fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(store::STATE_DIR).join(FILE);
        let (mut ring, mut lines) = (Ring::default(), 0);
        match store::read(&path, FILE_BYTES_MAX) {
            Ok(bytes) => lines = ring.restore(&bytes.unwrap_or_default()),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "earlier events cannot be read");
                // Whatever is there is in the way of those to come.
                drop(store::put_aside(&path));
            }
        }
        let lost = Arc::new(AtomicU64::new(0));
        let log = Log { path, kept: ring.kept.clone(), file: None, lines, lost: Arc::clone(&lost) };
        let (sender, events) = sync_channel(WAITING_MAX);
        let write = move || log.write_all(&events);
        let thread = thread::Builder::new().name("events".to_owned()).spawn(write);
        if let Err(error) = &thread {
            tracing::warn!(%error, "no thread for the file of events: they are in memory only");
        }
        let thread = thread.ok();
        let file = thread.as_ref().map(|_| sender);
        Self { ring: Mutex::new(ring), file, thread, lost, teller: None }
    }

    /// From now on they are told to the webhook as well; first those that the last process left untold.
    #[must_use]
    pub fn told_to(mut self, teller: Option<Teller>) -> Self {
        if let Some((teller, last)) = teller.as_ref().and_then(|it| Some((it, it.last()?))) {
            // The file may lack the last ones of a process that was killed: no number is given twice.
            let ring = self.ring.get_mut();
            ring.next = ring.next.max(last.saturating_add(1));
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
            Weight::Critical => tracing::error!(kind, about, "{words}"),
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
        // Under the lock, so that the file and the webhook have them in the order of their numbers; neither is waited for.
        let sent = self.file.as_ref().map(|file| file.try_send(ToFile::Write(event.clone())));
        if let Some(teller) = &self.teller {
            teller.tell((&event).into());
        }
        if !matches!(sent, Some(Ok(()))) {
            self.lost.fetch_add(1, Relaxed);
        }
        keep(&mut ring.kept, event);
    }

    /// Waits until the file has what was told, a second at most. Blocks.
    pub fn flush(&self) {
        let (answer, flushed) = sync_channel(1);
        let asked = self.file.as_ref().map(|file| file.try_send(ToFile::Flush(answer)));
        if matches!(asked, Some(Ok(()))) {
            // Whoever waits has waited long enough, whatever comes of it.
            flushed.recv_timeout(FLUSH_MAX).unwrap_or_default();
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
            is_alarm: event.weight != Weight::Info,
            is_critical: event.weight == Weight::Critical,
            about: event.about.clone(),
            words: event.words.clone(),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // The thread ends once nobody can tell it anything.
        self.file = None;
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Ring {
    /// Takes up a file; how many lines it has.
    fn restore(&mut self, bytes: &[u8]) -> usize {
        let mut lines = 0;
        for line in bytes.split(|byte| *byte == b'\n') {
            lines += 1;
            // The last line of a process that was killed may be a part of one.
            let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
            self.next = self.next.max(event.number.saturating_add(1));
            keep(&mut self.kept, event);
        }
        lines
    }
}

fn keep(kept: &mut VecDeque<Event>, event: Event) {
    if kept.len() >= EVENTS_MAX {
        kept.pop_front();
    }
    kept.push_back(event);
}

impl Log {
    /// Writes what comes until nobody is left who could tell anything.
    fn write_all(mut self, events: &Receiver<ToFile>) {
        while let Ok(next) = events.recv() {
            match next {
                ToFile::Write(event) => {
                    if let Err(error) = self.write(&event) {
                        self.file = None;
                        self.lost.fetch_add(1, Relaxed);
                        tracing::debug!(%error, "an event is not written");
                    }
                    keep(&mut self.kept, event);
                }
                // Whoever asked may be gone.
                ToFile::Flush(answer) => drop(answer.try_send(())),
            }
        }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        if self.lines >= 2 * EVENTS_MAX {
            self.file = None;
            let mut all = Vec::new();
            for kept in &self.kept {
                serde_json::to_writer(&mut all, kept)?;
                all.push(b'\n');
            }
            store::replace(&self.path, &all)?;
            self.lines = self.kept.len();
        }
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                // What was cut off there must not take this line with it.
                line.insert(0, b'\n');
                self.file.insert(OpenOptions::new().create(true).append(true).open(&self.path)?)
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
        events.flush();
        let path = dir.path().join("state/events.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"number\": 2, \"at").unwrap();
        let again = Events::open(dir.path());
        tell(&again, "three");
        again.flush();
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
            // Nobody waits for the file, so that a test which fills it has to.
            events.flush();
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
        events.flush();
        assert_eq!((events.lost(), events.after(None, 9).len()), (1, 1));
    }

    #[test]
    fn whoever_tells_waits_for_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::open(dir.path());
        // A disk that does not answer: nobody takes what the file is told.
        let (stuck, _events) = sync_channel(3);
        let file = events.file.replace(stuck);
        for _ in 0..5 {
            tell(&events, "one");
        }
        assert_eq!((events.lost(), events.after(None, 9).len(), events.total()), (2, 5, 5));
        events.file = file;
    }
}
