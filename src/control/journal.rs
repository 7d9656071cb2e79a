//! The journal of the life cycle on disk: every event, synced before anything follows from it.
//!
//! Owns the files below `state/lifecycle`, their recovery and their bound. [`Journal::append`] returns once the
//! event is on the disk; a caller that gets an error has changed nothing. Never decides, and never publishes:
//! whoever holds the journal folds an event only after it was appended.
//!
//! ```text
//! journal.jsonl     crc32c of the JSON, a space, one event as JSON, a newline; the tail may be torn
//! state.json        the state up to some event: written when the journal has grown, then the journal
//!                   becomes journal.1.jsonl, the past that can still be read, and a new one begins
//! ```
//!
//! A line that was not written to its end was never acknowledged and is cut off. A line in the midst that does
//! not read stops the recovery with its place: what follows it cannot be trusted, and a person has to look.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::domain::lifecycle::event::{Draft, Event};
use crate::domain::lifecycle::state::{FoldError, State};
use crate::domain::lifecycle::time::Now;

/// Bytes of the journal after which the state is written and a new journal begins.
pub const JOURNAL_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The longest event: a line above is not written, and one that long is damage.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// The format of `state.json`.
const FORMAT: u32 = 1;

const JOURNAL: &str = "journal.jsonl";
const PAST: &str = "journal.1.jsonl";
const STATE: &str = "state.json";
const NEW_STATE: &str = "state.json.new";

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A file or its folder could not be read, written or synced.
    #[error("{path}: cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A line in the midst does not read.
    #[error(
        "{path}:{line}: {why}; later lines cannot be trusted. Move the file away to start from the \
         last written state, or restore it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The state file does not read.
    #[error("{path}: {why}. Restore it: the journal goes on from it")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An event does not fit the state: nothing was written.
    #[error("the event does not fit the state")]
    Fold(#[source] FoldError),
    /// An event is too long, or has no JSON form: nothing was written.
    #[error("an event of {bytes} bytes cannot be written: {EVENT_BYTES_MAX} at most")]
    Event {
        /// Its length, as far as known.
        bytes: usize,
    },
    /// An earlier write failed half way and could not be taken back, or the journal could not be replaced.
    #[error("an earlier write failed half way; restart the gateway")]
    Broken,
}

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Events that were folded, besides those in the written state.
    pub events: usize,
    /// Bytes at the end that were never acknowledged and are cut off.
    pub torn: usize,
}

/// The open journal with the state that it adds up to.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    state: State,
    /// A write failed half way and could not be taken back.
    broken: bool,
    /// Why the journal could not be replaced when it had grown; it is tried again with each event.
    trouble: Option<JournalError>,
}

/// What stands in `state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    v: u32,
    state: State,
}

impl Journal {
    /// Opens or creates the journal in `folder` and recovers the state.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if a file cannot be read, or says something that cannot be.
    pub fn open(folder: &Path) -> Result<(Self, Recovery), JournalError> {
        Self::open_with(folder, JOURNAL_BYTES_MAX)
    }

    fn open_with(folder: &Path, bytes_max: u64) -> Result<(Self, Recovery), JournalError> {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let mut state = read_state(&folder.join(STATE))?;
        let path = folder.join(JOURNAL);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed("read", &path))?;
        let (whole, events) = read_lines(&path, &content)?;
        let mut recovery = Recovery { events: 0, torn: content.len() - whole };
        for (line, event) in events {
            // A crash between the written state and the new journal leaves events that it holds.
            if event.seq <= state.seq() {
                continue;
            }
            state.apply(&event).map_err(|error| JournalError::Damaged {
                path: path.clone(),
                line,
                why: error.to_string(),
            })?;
            recovery.events += 1;
        }
        let bytes = whole as u64;
        file.set_len(bytes).map_err(failed("cut", &path))?;
        file.seek(SeekFrom::Start(bytes)).map_err(failed("seek", &path))?;
        file.sync_all().map_err(failed("sync", &path))?;
        sync_folder(folder)?;
        let folder = folder.to_path_buf();
        Ok((Self { folder, file, bytes, bytes_max, state, broken: false, trouble: None }, recovery))
    }

    /// The state that the written events add up to.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Writes the next event, syncs it, and folds it.
    ///
    /// # Errors
    ///
    /// [`JournalError`]: then nothing has changed.
    pub fn append(&mut self, draft: Draft, now: Now) -> Result<Event, JournalError> {
        if self.broken {
            return Err(JournalError::Broken);
        }
        let event = self.state.stamp(draft, now);
        let line = encode(&event)?;
        // A rejected event must not reach the disk, or no recovery would get past it.
        let mut after = self.state.clone();
        after.apply(&event).map_err(JournalError::Fold)?;
        self.write(line.as_bytes())?;
        self.state = after;
        if self.bytes >= self.bytes_max {
            // The event is written and folded, whatever becomes of this.
            self.trouble = self.compact().err();
        }
        Ok(event)
    }

    /// Why the journal grows beyond its bound, if it does.
    pub fn trouble(&self) -> Option<&JournalError> {
        self.trouble.as_ref()
    }

    fn write(&mut self, line: &[u8]) -> Result<(), JournalError> {
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        let Err(cause) = written else {
            self.bytes += line.len() as u64;
            return Ok(());
        };
        // What came to the disk is taken back, or a later start would find an event that was refused.
        let back = self
            .file
            .set_len(self.bytes)
            .and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)))
            .and_then(|_at| self.file.sync_all());
        self.broken = back.is_err();
        Err(failed("append to", &self.folder.join(JOURNAL))(cause))
    }

    /// Writes the state down and begins a new journal.
    fn compact(&mut self) -> Result<(), JournalError> {
        let (new, path) = (self.folder.join(NEW_STATE), self.folder.join(STATE));
        let written = Written { v: FORMAT, state: self.state.clone() };
        let json = serde_json::to_vec(&written)
            .map_err(|cause| failed("write", &new)(io::Error::other(cause)))?;
        let mut file = File::create(&new).map_err(failed("create", &new))?;
        file.write_all(&json).map_err(failed("write", &new))?;
        file.sync_all().map_err(failed("sync", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))?;
        sync_folder(&self.folder)?;
        let (journal, past) = (self.folder.join(JOURNAL), self.folder.join(PAST));
        // From here on the open file may be the past: without a new one nothing is appended.
        self.broken = true;
        fs::rename(&journal, &past).map_err(failed("replace", &past))?;
        self.file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&journal)
            .map_err(failed("create", &journal))?;
        sync_folder(&self.folder)?;
        self.bytes = 0;
        self.broken = false;
        Ok(())
    }

    /// The events that can still be read, oldest first: at most those of two journals.
    ///
    /// # Errors
    ///
    /// [`JournalError`] if a file cannot be read.
    pub fn events(&self) -> Result<Vec<Event>, JournalError> {
        let mut events = Vec::new();
        for name in [PAST, JOURNAL] {
            let path = self.folder.join(name);
            let content = match fs::read(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(failed("read", &path)(cause)),
            };
            let (_, read) = read_lines(&path, &content)?;
            events.extend(read.into_iter().map(|(_, event)| event));
        }
        Ok(events)
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError + use<> {
    let path = path.to_path_buf();
    move |cause| JournalError::Io { operation, path: path.clone(), cause }
}

fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(failed("sync", folder))
}

/// One line of the journal.
fn encode(event: &Event) -> Result<String, JournalError> {
    let json = serde_json::to_string(event).map_err(|_error| JournalError::Event { bytes: 0 })?;
    if json.len() > EVENT_BYTES_MAX {
        return Err(JournalError::Event { bytes: json.len() });
    }
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())))
}

/// The event of one line without its newline.
fn decode(line: &[u8]) -> Result<Event, String> {
    let text = std::str::from_utf8(line).map_err(|_error| "it is no text".to_owned())?;
    let (crc, json) = text.split_once(' ').ok_or("it has no checksum")?;
    let crc = u32::from_str_radix(crc, 16).map_err(|_error| "its checksum is no number")?;
    if crc != crc32c::crc32c(json.as_bytes()) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_str(json).map_err(|error| format!("it is no event: {error}"))
}

/// Whether a line that is no event begins with one.
fn begins_with_event(line: &[u8]) -> bool {
    let Some((crc, rest)) = line.split_first_chunk::<9>() else { return false };
    let crc = std::str::from_utf8(crc).ok().and_then(|crc| crc.strip_suffix(' '));
    let crc = crc.and_then(|crc| u32::from_str_radix(crc, 16).ok());
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
    let is_value = values.next().is_some_and(|value| value.is_ok());
    let json = rest.get(..values.byte_offset()).unwrap_or_default();
    is_value && crc == Some(crc32c::crc32c(json))
}

/// Events with their lines, from 1.
type Lines = Vec<(usize, Event)>;

/// The events of a file, and how many bytes they take; what stands behind is torn.
fn read_lines(path: &Path, content: &[u8]) -> Result<(usize, Lines), JournalError> {
    let (mut events, mut whole) = (Vec::new(), 0);
    let mut lines = content.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let Some(body) = line.strip_suffix(b"\n") else { break };
        match decode(body) {
            Ok(event) => {
                events.push((index + 1, event));
                whole += line.len();
            }
            // Blocks of one write may reach the disk in any order: the last line, too, may have its
            // newline and lack its beginning. With a whole event in it, two lines have become one.
            Err(_torn) if lines.peek().is_none() && !begins_with_event(body) => break,
            Err(why) => {
                return Err(JournalError::Damaged {
                    path: path.to_path_buf(),
                    line: index + 1,
                    why,
                });
            }
        }
    }
    Ok((whole, events))
}

fn read_state(path: &Path) -> Result<State, JournalError> {
    let broken = |why: String| JournalError::State { path: path.to_path_buf(), why };
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        Err(cause) => return Err(failed("read", path)(cause)),
    };
    let written: Written =
        serde_json::from_slice(&content).map_err(|error| broken(error.to_string()))?;
    if written.v > FORMAT {
        return Err(broken(format!("it has format {}; this program reads {FORMAT}", written.v)));
    }
    Ok(written.state)
}

#[cfg(test)]
mod tests;
