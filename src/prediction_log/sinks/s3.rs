//! Delivery to object storage: each finished Parquet file becomes one object.
//!
//! Owns the names of objects, `PREFIX/dt=…/hour=…/replica=NODE/FIRST-LAST.parquet`, and the order of
//! uploads. An object is only ever created (`If-None-Match: *`, RFC 9110 section 13.1.2), and its name
//! follows from the numbers of its records, so that a retry finds its own object and never makes a
//! second one. One file is held in memory at a time: conditional creation is a single PUT, whose
//! checksum is signed before the first byte is sent. Never deletes or replaces anything.

use std::collections::VecDeque;
use std::error::Error as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::{Path as ObjectPath, PathPart};
use object_store::{
    ClientOptions, Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::statistics::Statistics;

use super::state::FailureReason;
use super::{Failure, LogPlace, Lot, Parcel, Sink, SinkError, Source, SourceError};
use crate::domain::ids::SinkName;
use crate::domain::spec::{SinkSpec, SinkTarget};
use crate::prediction_log::consumers::Consumers;
use crate::prediction_log::cursor::Cursor;
use crate::prediction_log::parquet::{ParquetFile, catalog};
use crate::prediction_log::recorder::Recorder;

/// The consumer that writes the Parquet files.
const PARQUET: &str = "parquet";
/// How often finished files are looked for.
const POLL: Duration = Duration::from_millis(250);
/// The most bytes of one object: S3 takes 5 GiB in a single PUT, and the file must fit into memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Microseconds of an hour.
const HOUR_US: u64 = 3_600_000_000;
/// The column of a record's time.
const TIME: &str = "ts";
/// The longest error text that is kept.
const DETAIL_CHARS_MAX: usize = 400;

/// Opens the sink of a bucket, and the source of files behind `cursor`.
pub(super) fn open(
    name: &SinkName,
    spec: &SinkSpec,
    place: LogPlace<'_>,
    recorder: &Recorder,
    cursor: &Cursor,
) -> Result<(S3Sink, Files), SinkError> {
    let settings = |detail: String| SinkError::Settings { name: name.clone(), detail };
    let Some(parquet_dir) = place.parquet_dir else {
        let detail = "it delivers Parquet files, and none are written: set `log.parquet.enabled`";
        return Err(settings(detail.to_owned()));
    };
    let sink = S3Sink::new(spec, place.node).map_err(|error| settings(error.to_string()))?;
    let files = Files {
        parquet_dir: parquet_dir.to_owned(),
        consumers: recorder.consumers(),
        taken: cursor.position(),
        queue: VecDeque::new(),
    };
    Ok((sink, files))
}

/// A bucket.
pub(super) struct S3Sink {
    store: AmazonS3,
    prefix: String,
    node: String,
}

impl S3Sink {
    fn new(spec: &SinkSpec, node: &str) -> Result<Self, Error> {
        let SinkTarget::S3 { bucket, prefix, endpoint, region, access_key_id, secret_access_key } =
            &spec.target
        else {
            let source = "the sink is no bucket".into();
            return Err(Error::Generic { store: "S3", source });
        };
        // One provider for the process; another sink may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = match (access_key_id, secret_access_key) {
            (Some(id), Some(key)) => AmazonS3Builder::new()
                .with_access_key_id(id.expose())
                .with_secret_access_key(key.expose()),
            _ => AmazonS3Builder::from_env(),
        };
        // The driver has the patience, and the reasons are counted there.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let client = ClientOptions::new().with_timeout(spec.timeout);
        builder = builder
            .with_bucket_name(bucket)
            .with_region(region)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let store = builder.with_client_options(client.with_allow_http(plain)).build()?;
        Ok(Self { store, prefix: prefix.clone(), node: node.to_owned() })
    }

    /// The object of a file.
    fn object(&self, file: &ParquetFile) -> ObjectPath {
        let names = |path: &Path| -> Vec<String> {
            path.iter().map(|name| name.to_string_lossy().into_owned()).collect()
        };
        let mut parts: Vec<String> = self.prefix.split('/').map(str::to_owned).collect();
        parts.retain(|part| !part.is_empty());
        parts.extend(names(&file.hour.dir()));
        parts.push(format!("replica={}", self.node));
        parts.extend(file.path.file_name().map(|name| name.to_string_lossy().into_owned()));
        // Each becomes one segment, whatever characters a node's name has.
        ObjectPath::from_iter(parts.iter().map(|part| PathPart::from(part.as_str())))
    }

    async fn upload(&self, file: &ParquetFile) -> Result<(), Failure> {
        if file.bytes > FILE_BYTES_MAX {
            let detail = format!("a file of {} bytes is too large for one PUT", file.bytes);
            return Err(Failure { is_final: true, ..refused(detail) });
        }
        let bytes = std::fs::read(&file.path).map_err(|error| {
            let detail = format!("cannot read {}: {error}", file.path.display());
            match error.kind() {
                // Removed by retention: what the log no longer has cannot be delivered.
                io::ErrorKind::NotFound => Failure { is_final: true, ..refused(detail) },
                _ => Failure::passing(FailureReason::Read, detail),
            }
        })?;
        let length = bytes.len() as u64;
        let object = self.object(file);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&object, PutPayload::from(bytes), options).await {
            Ok(_created) => Ok(()),
            Err(Error::AlreadyExists { .. }) => self.confirm(&object, length).await,
            Err(error) => Err(failure(&error)),
        }
    }

    /// Whether the object that exists is the one that was to be created. (Object storage also says
    /// "exists" when two creations meet and neither has won yet.)
    async fn confirm(&self, object: &ObjectPath, length: u64) -> Result<(), Failure> {
        let found = self.store.head(object).await.map_err(|error| failure(&error))?;
        if found.size == length {
            return Ok(());
        }
        let detail = format!(
            "the object `{object}` exists with {} bytes instead of {length}: does another gateway \
             with the same `node` write there?",
            found.size
        );
        Err(Failure { is_final: true, ..refused(detail) })
    }
}

impl Sink for S3Sink {
    type Content = ParquetFile;

    async fn deliver(&mut self, parcels: &[Parcel<ParquetFile>]) -> Result<(), Failure> {
        for parcel in parcels {
            self.upload(&parcel.content).await?;
        }
        Ok(())
    }
}

fn refused(detail: String) -> Failure {
    Failure::passing(FailureReason::Refused, detail)
}

/// Nothing that object storage says is about a record: all of it may pass.
fn failure(error: &Error) -> Failure {
    let reason = match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::NotFound { .. } => {
            FailureReason::Denied
        }
        error if is_connect(error) => FailureReason::Connect,
        _ => FailureReason::Failed,
    };
    let detail: String = error.to_string().chars().take(DETAIL_CHARS_MAX).collect();
    Failure::passing(reason, detail)
}

/// Whether a connection could not be made or broke: an input or output error is at the bottom.
fn is_connect(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The finished Parquet files, oldest first, one in each lot.
pub(super) struct Files {
    parquet_dir: PathBuf,
    consumers: Arc<Consumers>,
    /// Everything up to this number was handed out.
    taken: u64,
    queue: VecDeque<Parcel<ParquetFile>>,
}

impl Files {
    /// How far the log has become Parquet files.
    fn converted(&self) -> u64 {
        let stats = self.consumers.stats();
        stats.iter().find(|stats| stats.name == PARQUET).map_or(0, |stats| stats.position)
    }

    /// Queues the files of records after those that were handed out, up to `converted`.
    fn look(&mut self, converted: u64) -> io::Result<()> {
        let taken = self.taken;
        let mut files = catalog(&self.parquet_dir)?;
        files.retain(|file| file.last_lsn > taken && file.first_lsn <= converted);
        self.queue = parcels(files, taken, converted).into();
        Ok(())
    }
}

/// Files as parcels, by their first number. A segment whose records lie in several hours has several
/// files with the same numbers: it is done with the last of them.
fn parcels(files: Vec<ParquetFile>, taken: u64, converted: u64) -> Vec<Parcel<ParquetFile>> {
    let mut parcels = Vec::with_capacity(files.len());
    // What is done once a file is delivered: all before the first number of any later file.
    let mut next_first = converted.saturating_add(1);
    for file in files.into_iter().rev() {
        parcels.push(Parcel {
            first_lsn: file.first_lsn,
            last_lsn: file.last_lsn,
            done: next_first.saturating_sub(1).clamp(taken, converted),
            records: (file.last_lsn + 1).saturating_sub(file.first_lsn),
            bytes: file.bytes,
            ts_us: file.hour.end_us().saturating_sub(HOUR_US),
            content: file.clone(),
        });
        next_first = next_first.min(file.first_lsn);
    }
    parcels.reverse();
    parcels
}

/// Replaces what the name of a file says by what its footer says. Without it the hour's beginning
/// stands for the time, and the numbers for the records, of which other hours have some.
fn look_inside(parcel: &mut Parcel<ParquetFile>) {
    let file = File::open(&parcel.content.path).ok();
    let Some(reader) = file.and_then(|file| SerializedFileReader::new(file).ok()) else { return };
    let metadata = reader.metadata();
    if let Ok(rows) = u64::try_from(metadata.file_metadata().num_rows()) {
        parcel.records = rows;
    }
    parcel.ts_us = oldest(metadata).unwrap_or(parcel.ts_us);
}

/// The least `ts` of a file, in microseconds since the Unix epoch, from its statistics.
fn oldest(metadata: &ParquetMetaData) -> Option<u64> {
    let columns = metadata.row_groups().iter().flat_map(|group| group.columns());
    let times = columns.filter(|column| column.column_path().string() == TIME);
    let least = times.filter_map(|column| match column.statistics()? {
        Statistics::Int64(values) => values.min_opt().copied(),
        _ => None,
    });
    least.min().and_then(|ts| u64::try_from(ts).ok())
}

impl Source for Files {
    type Content = ParquetFile;

    fn next(&mut self, stopping: bool) -> Result<Lot<ParquetFile>, SourceError> {
        if self.queue.is_empty() {
            let converted = self.converted();
            if converted > self.taken {
                self.look(converted).map_err(SourceError::Catalog)?;
                if self.queue.is_empty() {
                    // Segments without a record that becomes a row.
                    self.taken = converted;
                }
            } else if !stopping {
                std::thread::park_timeout(POLL);
            }
        }
        let mut parcels: Vec<_> = self.queue.pop_front().into_iter().collect();
        if let Some(parcel) = parcels.first_mut() {
            self.taken = parcel.done;
            look_inside(parcel);
        }
        Ok(Lot { parcels, done: self.taken, clear_to: 0, missing: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction_log::parquet::Hour;

    fn file(hour: u64, first_lsn: u64, last_lsn: u64) -> ParquetFile {
        let hour = Hour::of(hour * HOUR_US);
        let path = PathBuf::from(format!("{first_lsn:020}-{last_lsn:020}.parquet"));
        ParquetFile { path, hour, first_lsn, last_lsn, bytes: 1 }
    }

    #[test]
    fn the_cursor_passes_a_segment_with_the_last_of_its_files() {
        let files = vec![file(0, 1, 10), file(1, 1, 10), file(1, 11, 20), file(2, 11, 20)];
        let done: Vec<_> =
            parcels(files, 0, 25).iter().map(|parcel| (parcel.first_lsn, parcel.done)).collect();
        assert_eq!(done, [(1, 0), (1, 10), (11, 10), (11, 25)]);
        assert_eq!(parcels(vec![file(0, 1, 30)], 10, 20)[0].done, 20);
    }

    #[test]
    fn objects_lie_below_the_prefix_by_day_hour_and_gateway() {
        let spec = SinkSpec {
            target: SinkTarget::S3 {
                bucket: "b".to_owned(),
                prefix: "/a/b/".to_owned(),
                endpoint: Some("http://127.0.0.1:1".to_owned()),
                region: "us-east-1".to_owned(),
                access_key_id: Some(crate::domain::spec::Secret::new("k")),
                secret_access_key: Some(crate::domain::spec::Secret::new("s")),
            },
            required: false,
            batch: 1,
            batch_bytes: 1,
            linger: Duration::ZERO,
            timeout: Duration::from_secs(1),
            backoff: Duration::from_secs(1),
        };
        let sink = S3Sink::new(&spec, "edge/1").expect("a client");
        let object = sink.object(&file(0, 1, 2));
        let name = "00000000000000000001-00000000000000000002.parquet";
        let folder = "a/b/dt=1970-01-01/hour=00/replica=edge%2F1";
        assert_eq!(object.as_ref(), format!("{folder}/{name}"));
    }
}
