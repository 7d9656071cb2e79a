//! The folder of a version as a whole: which files it has, whether they stay as they are, what their digests
//! are, and what `READY` says about them.
//!
//! Owns when a folder is complete. Never looks into a model, and never trusts a time stamp alone: a file is
//! the same while its place, size and both of its times are, and its digest is read again now and then.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::ready::{self, Files, READY};

/// The name of the model file in a folder.
pub const MODEL_FILE: &str = "model.onnx";
/// The most files of a folder, with those in folders below.
const FILES_MAX: usize = 1024;
/// How deep folders may lie in it.
const DEPTH_MAX: usize = 4;
/// How much is read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The files of a folder by name. Hidden ones are not: they are what copying leaves for a moment.
pub type Marks = BTreeMap<String, Mark>;

/// The sha256 of each file by its name.
pub type Digests = BTreeMap<String, [u8; 32]>;

/// What `READY` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// There is none.
    Absent,
    /// The folder is what it says.
    Agrees,
    /// Something is missing or is another: the words say what.
    Disagrees(String),
}

/// Looks at the files of a folder without reading them.
///
/// # Errors
/// The system's, or a folder with too many files.
pub fn marks(folder: &Path) -> io::Result<Marks> {
    let mut found = Marks::new();
    collect(folder, "", 0, &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, prefix: &str, depth: usize, found: &mut Marks) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        // Links are followed: a mounted folder may consist of them.
        let metadata = fs::metadata(entry.path())?;
        let name = format!("{prefix}{name}");
        if metadata.is_dir() {
            if depth >= DEPTH_MAX {
                return Err(io::Error::other(format!("`{name}` lies more than {DEPTH_MAX} deep")));
            }
            collect(&entry.path(), &format!("{name}/"), depth + 1, found)?;
        } else if metadata.is_file() {
            if found.len() >= FILES_MAX {
                return Err(io::Error::other(format!("it has more than {FILES_MAX} files")));
            }
            found.insert(name, Mark::of(&metadata));
        }
    }
    Ok(())
}

/// Reads the files of a folder and digests them. Blocks for as long as that takes.
///
/// # Errors
/// The system's, or a file that is another than its mark says.
pub fn digests(folder: &Path, marks: &Marks) -> io::Result<Digests> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut found = Digests::new();
    for (name, mark) in marks.iter().filter(|(name, _)| *name != READY) {
        let mut file = File::open(folder.join(name))?;
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer)?;
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
            hasher.update(piece);
            bytes += piece.len() as u64;
        }
        if bytes != mark.bytes || Mark::of(&file.metadata()?) != *mark {
            return Err(io::Error::other(format!("`{name}` changed while it was read")));
        }
        found.insert(name.clone(), hasher.finalize().into());
    }
    Ok(found)
}

/// Holds `READY` against the files, all of which it may name.
///
/// # Errors
/// It cannot be read.
pub fn ready(folder: &Path, digests: &Digests) -> io::Result<Ready> {
    let Some(bytes) = ready::read(folder)? else { return Ok(Ready::Absent) };
    let digests = digests.iter().map(|(name, digest)| (&**name, digest)).collect();
    let files = Files { folder, model: MODEL_FILE, digests, all: true };
    Ok(match files.agree(&bytes) {
        Ok(()) => Ready::Agrees,
        Err(untrue) => Ready::Disagrees(untrue.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_what_ready_says_or_the_words_say_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let look = || {
            let marks = marks(dir.path()).unwrap();
            let digests = digests(dir.path(), &marks).unwrap();
            (digests.keys().cloned().collect::<Vec<_>>(), ready(dir.path(), &digests).unwrap())
        };
        write("model.onnx", "abc");
        write(".model.onnx.part", "a");
        fs::create_dir(dir.path().join("data")).unwrap();
        write("data/weights", "xyz");
        assert_eq!(look(), (vec!["data/weights".into(), "model.onnx".into()], Ready::Absent));
        write("READY", "");
        assert_eq!(look().1, Ready::Agrees);
        // `printf abc | sha256sum`
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        write("READY", &format!("{digest}  model.onnx\n{} *data/weights\n", "0".repeat(64)));
        assert!(
            matches!(look().1, Ready::Disagrees(why) if why.starts_with("`data/weights` is not"))
        );
        write("READY", &format!("{digest}  model.onnx\n{digest}  baseline.json\n"));
        assert!(matches!(look().1, Ready::Disagrees(why) if why.contains("is missing")));
        write("READY", &format!("{}  ./model.onnx\nby the pipeline\n", digest.to_uppercase()));
        assert_eq!(look().1, Ready::Agrees);
    }

    #[test]
    fn a_file_that_grows_has_another_mark_and_is_not_digested_as_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.onnx");
        fs::write(&path, "abc").unwrap();
        let before = marks(dir.path()).unwrap();
        fs::write(&path, "abcd").unwrap();
        assert_ne!(marks(dir.path()).unwrap(), before);
        assert!(digests(dir.path(), &before).is_err());
    }
}
