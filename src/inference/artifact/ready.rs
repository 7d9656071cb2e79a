//! What `READY` beside a model file says.
//!
//! Owns how it is read, by whoever looks: it may be empty, or have lines as `sha256sum` writes them, with or without
//! `--tag`; all other lines are words for people. Where it has digests, one must be that of the model file, and all
//! about files that are looked at must be true. A file may be named from the folder of `READY` or from any folder
//! above it. Never reads a file that it names.

use std::io;
use std::path::Path;

use super::seal::{hex, read_small};

/// The name of the file.
pub(super) const READY: &str = "READY";

/// Why `READY` is not true.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untrue {
    #[error("{READY} is not text")]
    NoText,
    #[error("`{0}`, which {READY} lists, is missing")]
    Missing(String),
    #[error("`{file}` is not yet what {READY} says")]
    Another { file: String, digest: String },
    #[error("{READY} has digests, but none of {0}")]
    Silent(String),
}

/// The files that `READY` is held against.
#[derive(Debug)]
pub(super) struct Files<'a> {
    /// Where `READY` lies.
    pub(super) folder: &'a Path,
    /// The name of the model file.
    pub(super) model: &'a str,
    /// The names of files and their digests, that of the model file among them.
    pub(super) digests: Vec<(&'a str, &'a [u8; 32])>,
    /// Whether these are all that there are.
    pub(super) all: bool,
}

/// The bytes of `READY` in this folder, `None` where there is none.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_small(&folder.join(READY)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Files<'_> {
    /// Holds the bytes of `READY` against the files.
    ///
    /// # Errors
    /// What is not true.
    pub(super) fn agree(&self, bytes: &[u8]) -> Result<(), Untrue> {
        let text = std::str::from_utf8(bytes).map_err(|_bytes| Untrue::NoText)?;
        let (mut any, mut about_model) = (false, false);
        for (digest, name) in text.lines().filter_map(digest_line) {
            any = true;
            let is_it = |file: &str| file == name || self.folder.join(file).ends_with(name);
            match self.digests.iter().find(|(file, _)| is_it(file)) {
                None if self.all => return Err(Untrue::Missing(name.to_owned())),
                None => {}
                Some((file, found)) => {
                    let found = hex(*found);
                    if !found.eq_ignore_ascii_case(digest) {
                        return Err(Untrue::Another { file: (*file).to_owned(), digest: found });
                    }
                    about_model |= *file == self.model;
                }
            }
        }
        if any && !about_model { Err(Untrue::Silent(self.model.to_owned())) } else { Ok(()) }
    }
}

/// The digest and the name in a line as `sha256sum` writes it; `None` for words.
fn digest_line(line: &str) -> Option<(&str, &str)> {
    const DIGEST_CHARS: usize = 64;
    let (digest, name) = match line.strip_prefix("SHA256 (") {
        Some(tagged) => {
            tagged.rsplit_once(") = ").map(|(name, digest)| (digest.trim_end(), name))?
        }
        None => {
            let (digest, name) = line.split_once(' ')?;
            // A blank or a star stands before the name.
            (digest, name.strip_prefix([' ', '*']).unwrap_or(name))
        }
    };
    let name = name.strip_prefix("./").unwrap_or(name);
    let is_digest = digest.len() == DIGEST_CHARS && digest.bytes().all(|c| c.is_ascii_hexdigit());
    (is_digest && !name.is_empty()).then_some((digest, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A digest of one digit.
    fn of(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn agree(all: bool, text: &str) -> Result<(), Untrue> {
        let (model, part) = ([0x11; 32], [0x22; 32]);
        let digests = vec![("model.onnx", &model), ("parts/w.bin", &part)];
        let folder = Path::new("/models/m/v1");
        Files { folder, model: "model.onnx", digests, all }.agree(text.as_bytes())
    }

    #[test]
    fn lines_about_the_files_must_be_true_however_these_are_named() {
        for all in [false, true] {
            for (name, digit) in [("model.onnx", '1'), ("parts/w.bin", '2')] {
                for name in [name.to_owned(), format!("./{name}"), format!("v1/{name}")] {
                    let model = format!("{}  model.onnx\n", of('1'));
                    for line in [
                        format!("{}  {name}", of(digit)),
                        format!("{} *{name}", of(digit)),
                        format!("SHA256 ({name}) = {}", of(digit)),
                    ] {
                        assert_eq!(agree(all, &(model.clone() + &line)), Ok(()), "{line}");
                    }
                    let other = agree(all, &format!("{model}{}  {name}", of('3')));
                    assert!(matches!(other, Err(Untrue::Another { .. })), "{name}: {other:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_digest_is_words() {
        for text in ["", "abc  model.onnx\n", "by the pipeline", "SHA256 (model.onnx) = abc"] {
            assert_eq!((agree(false, text), agree(true, text)), (Ok(()), Ok(())), "{text}");
        }
        let (long, odd) = (of('1') + "1", of('g'));
        for text in [format!("{long}  model.onnx"), format!("{odd}  model.onnx"), of('1') + "  "] {
            assert_eq!(agree(true, &text), Ok(()), "{text}");
        }
    }

    #[test]
    fn digests_without_that_of_the_model_are_another_folders() {
        let text = format!("{}  parts/w.bin\n", of('2'));
        for all in [false, true] {
            assert_eq!(agree(all, &text), Err(Untrue::Silent("model.onnx".to_owned())));
        }
    }

    #[test]
    fn a_file_that_is_not_looked_at_may_be_anything() {
        let text = format!("{}  model.onnx\n{}  notes.md\n", of('1'), of('9'));
        assert_eq!(agree(false, &text), Ok(()));
        assert_eq!(agree(true, &text), Err(Untrue::Missing("notes.md".to_owned())));
    }
}
