//! Tensors whose data lies in further files (ONNX IR, "External Tensor Data",
//! <https://onnx.ai/onnx/repo-docs/ExternalData.html>).
//!
//! Owns which files a model may read: those in the folder of the model file and below it, whatever links
//! stand in between. The data is taken into the graph, so that nothing behind this module opens a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};

use super::ArtifactError;

/// The sha256 of each further file that a model reads, by its name relative to the folder.
pub(in crate::inference) type Further = BTreeMap<String, [u8; 32]>;

/// Takes the data of every external tensor of `model` into it, at most `limit` bytes.
pub(in crate::inference) fn take_in(
    model: &mut ModelProto,
    path: &Path,
    limit: u64,
) -> Result<Further, ArtifactError> {
    let mut taking = Taking { path, folder: None, left: limit, limit, files: BTreeMap::new() };
    if let Some(graph) = &mut model.graph {
        taking.graph(graph)?;
    }
    taking.files.into_iter().map(|(name, file)| Ok((name, file.digest(path)?))).collect()
}

struct Taking<'a> {
    path: &'a Path,
    /// The folder of the model file without links; looked up when the first tensor needs it.
    folder: Option<PathBuf>,
    left: u64,
    limit: u64,
    files: BTreeMap<String, Opened>,
}

struct Opened {
    file: File,
    bytes: u64,
}

/// Where the data of one tensor lies.
struct Reference {
    location: String,
    offset: u64,
    length: Option<u64>,
}

impl Taking<'_> {
    /// Goes through a graph and its branches; their depth is bounded by the protobuf decoder.
    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), ArtifactError> {
        graph.initializer.iter_mut().try_for_each(|tensor| self.tensor(tensor))?;
        for sparse in &mut graph.sparse_initializer {
            sparse.values.iter_mut().try_for_each(|tensor| self.tensor(tensor))?;
            sparse.indices.iter_mut().try_for_each(|tensor| self.tensor(tensor))?;
        }
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            attribute.t.iter_mut().try_for_each(|tensor| self.tensor(tensor))?;
            attribute.tensors.iter_mut().try_for_each(|tensor| self.tensor(tensor))?;
            attribute.g.iter_mut().try_for_each(|graph| self.graph(graph))?;
            attribute.graphs.iter_mut().try_for_each(|graph| self.graph(graph))?;
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<(), ArtifactError> {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let name = tensor.name.clone();
        let refuse = |location: &str, reason: String| ArtifactError::External {
            path: self.path.to_owned(),
            tensor: name.clone(),
            location: location.to_owned(),
            reason,
        };
        let reference = reference(&tensor.external_data).map_err(|reason| refuse("", reason))?;
        let refuse = |reason| refuse(&reference.location, reason);
        let wanted = size_of(tensor).ok_or_else(|| refuse("its size is not known".to_owned()))?;
        if reference.length.is_some_and(|length| length != wanted) {
            return Err(refuse(format!("its shape needs {wanted} bytes")));
        }
        if wanted > self.left {
            return Err(ArtifactError::TooLarge {
                path: self.path.to_owned(),
                bytes: self.limit.saturating_sub(self.left).saturating_add(wanted),
                limit: self.limit,
            });
        }
        let data = self.read(&reference, wanted).map_err(|reason| ArtifactError::External {
            path: self.path.to_owned(),
            tensor: tensor.name.clone(),
            location: reference.location.clone(),
            reason,
        })?;
        self.left -= wanted;
        tensor.raw_data = data;
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    }

    fn read(&mut self, reference: &Reference, length: u64) -> Result<Vec<u8>, String> {
        let opened = self.open(&reference.location)?;
        let end = reference.offset.checked_add(length);
        if end.is_none_or(|end| end > opened.bytes) {
            let bytes = opened.bytes;
            return Err(format!(
                "bytes {} to {} lie beyond its end at {bytes}",
                reference.offset,
                reference.offset.saturating_add(length),
            ));
        }
        let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
        opened.file.seek(SeekFrom::Start(reference.offset)).map_err(unreadable)?;
        let mut data = Vec::new();
        (&opened.file).take(length).read_to_end(&mut data).map_err(unreadable)?;
        if data.len() as u64 == length {
            Ok(data)
        } else {
            Err("it became shorter while it was read".to_owned())
        }
    }

    /// Opens a file in or below the folder of the model.
    fn open(&mut self, location: &str) -> Result<&mut Opened, String> {
        let relative = Path::new(location);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !relative.components().all(plain) {
            return Err("only files in the model's folder may be named".to_owned());
        }
        let unreadable = |error: std::io::Error| format!("it cannot be opened: {error}");
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
                Ok(entry.insert(Opened { file, bytes: metadata.len() }))
            }
        }
    }
}

impl Opened {
    /// The sha256 of the whole file.
    fn digest(mut self, path: &Path) -> Result<[u8; 32], ArtifactError> {
        let mut hash = Sha256::new();
        let whole = self.file.rewind().and_then(|()| std::io::copy(&mut self.file, &mut hash));
        match whole {
            Ok(_bytes) => Ok(hash.finalize().into()),
            Err(source) => Err(ArtifactError::Read { path: path.to_owned(), source }),
        }
    }
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
