//! Tensors whose data lies in further files (ONNX IR, "External Tensor Data",
//! <https://onnx.ai/onnx/repo-docs/ExternalData.html>).
//!
//! Owns which files a model may read: those in the folder of the model file and below it, whatever links
//! stand in between. Each is read once, from its beginning to its end: what is taken from it is what its
//! digest is of. The data is taken into the graph, so that nothing behind this module opens a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};

use super::ArtifactError;

/// How much of a file is read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The sha256 of each further file that a model reads, by its name relative to the folder.
pub(in crate::inference) type Further = BTreeMap<String, [u8; 32]>;

/// Takes the data of every external tensor of `model` into it, at most `limit` bytes out of files of at
/// most as many bytes together.
pub(in crate::inference) fn take_in(
    model: &mut ModelProto,
    path: &Path,
    limit: u64,
) -> Result<Further, ArtifactError> {
    let Some(graph) = &mut model.graph else { return Ok(Further::new()) };
    let mut wanted =
        Wanted { path, folder: None, limit, tensors: 0, files: BTreeMap::new(), bytes: 0 };
    each(graph, &mut |tensor| wanted.note(tensor))?;
    let mut data = vec![Vec::new(); wanted.tensors];
    let mut further = Further::new();
    for (location, opened) in wanted.files {
        let tensor = opened.tensor.clone();
        let digest = opened.read(&mut data).map_err(|reason| ArtifactError::External {
            path: path.to_owned(),
            tensor,
            location: location.clone(),
            reason,
        })?;
        further.insert(location, digest);
    }
    let mut data = data.into_iter();
    each(graph, &mut |tensor| {
        tensor.raw_data = data.next().unwrap_or_default();
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    })?;
    Ok(further)
}

/// Shows every external tensor of a graph and its branches to `see`, always in the same order. The depth
/// of branches is bounded by the protobuf decoder.
fn each(
    graph: &mut GraphProto,
    see: &mut dyn FnMut(&mut TensorProto) -> Result<(), ArtifactError>,
) -> Result<(), ArtifactError> {
    let sparse = graph.sparse_initializer.iter_mut();
    let sparse = sparse.flat_map(|sparse| sparse.values.iter_mut().chain(&mut sparse.indices));
    let tensors = graph.initializer.iter_mut().chain(sparse);
    tensors.filter(|tensor| is_external(tensor)).try_for_each(&mut *see)?;
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        let tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
        tensors.filter(|tensor| is_external(tensor)).try_for_each(&mut *see)?;
        let mut graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
        graphs.try_for_each(|graph| each(graph, see))?;
    }
    Ok(())
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32)
}

/// What is to be read.
struct Wanted<'a> {
    path: &'a Path,
    /// The folder of the model file without links; looked up when the first tensor needs it.
    folder: Option<PathBuf>,
    limit: u64,
    /// External tensors so far, and their bytes.
    tensors: usize,
    bytes: u64,
    files: BTreeMap<String, Opened>,
}

/// A file, and what is wanted of it.
struct Opened {
    file: File,
    bytes: u64,
    /// The first tensor that lies there.
    tensor: String,
    ranges: Vec<Range>,
}

/// A part of a file.
struct Range {
    start: u64,
    end: u64,
    /// The number of the tensor that it is.
    tensor: usize,
}

/// Where the data of one tensor lies.
struct Reference {
    location: String,
    offset: u64,
    length: Option<u64>,
}

impl Wanted<'_> {
    /// Notes where the data of a tensor lies.
    fn note(&mut self, tensor: &TensorProto) -> Result<(), ArtifactError> {
        let path = self.path.to_owned();
        let refuse = |location: &str, reason: String| ArtifactError::External {
            path: path.clone(),
            tensor: tensor.name.clone(),
            location: location.to_owned(),
            reason,
        };
        let reference = reference(&tensor.external_data).map_err(|reason| refuse("", reason))?;
        let refuse = |reason| refuse(&reference.location, reason);
        let length = size_of(tensor).ok_or_else(|| refuse("its size is not known".to_owned()))?;
        if reference.length.is_some_and(|told| told != length) {
            return Err(refuse(format!("its shape needs {length} bytes")));
        }
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > self.limit {
            return Err(self.too_large(self.bytes));
        }
        let number = self.tensors;
        self.tensors += 1;
        let opened = self.open(&reference.location, &tensor.name).map_err(&refuse)?;
        let (start, end) = (reference.offset, reference.offset.saturating_add(length));
        if end > opened.bytes {
            let bytes = opened.bytes;
            return Err(refuse(format!("bytes {start} to {end} lie beyond its end at {bytes}")));
        }
        opened.ranges.push(Range { start, end, tensor: number });
        let read = self.files.values().map(|opened| opened.bytes).fold(0, u64::saturating_add);
        if read > self.limit { Err(self.too_large(read)) } else { Ok(()) }
    }

    fn too_large(&self, bytes: u64) -> ArtifactError {
        ArtifactError::TooLarge { path: self.path.to_owned(), bytes, limit: self.limit }
    }

    /// Opens a file in or below the folder of the model.
    fn open(&mut self, location: &str, tensor: &str) -> Result<&mut Opened, String> {
        let relative = Path::new(location);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !relative.components().all(plain) {
            return Err("only files in the model's folder may be named".to_owned());
        }
        let unreadable = |error: io::Error| format!("it cannot be opened: {error}");
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => {
                let parent = self.path.parent().filter(|parent| *parent != Path::new(""));
                parent.unwrap_or_else(|| Path::new(".")).canonicalize().map_err(unreadable)?
            }
        };
        self.folder = Some(folder.clone());
        match self.files.entry(location.to_owned()) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let real = folder.join(relative).canonicalize().map_err(unreadable)?;
                if !real.starts_with(&folder) {
                    return Err("it leads out of the model's folder".to_owned());
                }
                // Asked before the file is opened, because opening a pipe would wait for its writer.
                let metadata = std::fs::metadata(&real).map_err(unreadable)?;
                if !metadata.is_file() {
                    return Err("it is not a regular file".to_owned());
                }
                let file = File::open(&real).map_err(unreadable)?;
                let (bytes, tensor, ranges) = (metadata.len(), tensor.to_owned(), Vec::new());
                Ok(entry.insert(Opened { file, bytes, tensor, ranges }))
            }
        }
    }
}

impl Opened {
    /// Reads the file to its end, puts what is wanted of it into `data`, by the numbers of the tensors,
    /// and gives its sha256.
    fn read(mut self, data: &mut [Vec<u8>]) -> Result<[u8; 32], String> {
        self.ranges.sort_by_key(|range| range.start);
        for range in &self.ranges {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            if let Some(data) = data.get_mut(range.tensor) {
                data.try_reserve_exact(length).map_err(|error| error.to_string())?;
            }
        }
        let mut hash = Sha256::new();
        let mut waiting = self.ranges.as_slice();
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = 0;
        loop {
            let read = match self.file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => piece.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("it cannot be read: {error}")),
            };
            hash.update(read);
            let end = at + read.len() as u64;
            if end > self.bytes {
                return Err("it became longer while it was read".to_owned());
            }
            for range in waiting.iter().take_while(|range| range.start < end) {
                if let (Some(data), Some(part)) =
                    (data.get_mut(range.tensor), common(read, at, range))
                {
                    data.extend_from_slice(part);
                }
            }
            // Those behind one that goes on are passed over again, which costs nothing.
            while let [done, rest @ ..] = waiting
                && done.end <= end
            {
                waiting = rest;
            }
            at = end;
        }
        if at < self.bytes {
            return Err("it became shorter while it was read".to_owned());
        }
        Ok(hash.finalize().into())
    }
}

/// What of `piece`, which begins at `at` in its file, lies in `range`.
fn common<'a>(piece: &'a [u8], at: u64, range: &Range) -> Option<&'a [u8]> {
    let start = usize::try_from(range.start.saturating_sub(at)).ok()?;
    let end = usize::try_from(range.end.saturating_sub(at)).ok()?.min(piece.len());
    piece.get(start..end)
}

fn reference(entries: &[StringStringEntryProto]) -> Result<Reference, String> {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
    let number = |key: &str| match find(key) {
        None => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_bad| format!("its {key} is '{text}'"))
        }
    };
    Ok(Reference {
        location: find("location").ok_or("it names no file")?.to_owned(),
        offset: number("offset")?.unwrap_or(0),
        length: number("length")?,
    })
}

/// The bytes of a tensor's data, `None` where its type has none of its own or its shape is absurd.
fn size_of(tensor: &TensorProto) -> Option<u64> {
    let bytes = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 1,
        DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Int32 | DataType::Uint32 | DataType::Float => 4,
        DataType::Int64 | DataType::Uint64 | DataType::Double => 8,
        _ => return None,
    };
    tensor.dims.iter().try_fold(bytes, |size: u64, dim| {
        u64::try_from(*dim).ok().and_then(|dim| size.checked_mul(dim))
    })
}

#[cfg(test)]
mod tests;
