//! A file that lists prediction servers.
//!
//! Owns reading it. A file that is not there, or is read while somebody writes it, is a failed answer: what
//! was known stays.

use std::path::PathBuf;

use super::listed::{self, Format, LIST_BYTES_MAX};
use super::source::{Look, Source};
use crate::control::store;
use crate::domain::discovery::Answer;
use crate::domain::spec::DiscoverySpec;

/// The file.
#[derive(Debug)]
pub(super) struct ListFile {
    path: PathBuf,
    spec: DiscoverySpec,
}

impl ListFile {
    pub(super) fn new(path: PathBuf, spec: DiscoverySpec) -> Self {
        Self { path, spec }
    }
}

impl Source for ListFile {
    async fn look(&mut self) -> Look {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || store::read(&path, LIST_BYTES_MAX as u64));
        let is_toml = self.path.extension().is_some_and(|end| end.eq_ignore_ascii_case("toml"));
        let format = if is_toml { Format::Toml } else { Format::Json };
        let path = self.path.display();
        match read.await {
            Ok(Ok(Some(text))) => listed::read(&text, format, &self.spec),
            Ok(Ok(None)) => Answer::Failed(format!("{path} does not exist")),
            Ok(Err(error)) => Answer::Failed(format!("{path} cannot be read: {error}")),
            Err(gone) => Answer::Failed(gone.to_string()),
        }
        .into()
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.path.parent().map(PathBuf::from).into_iter().collect()
    }
}
