//! Sinks: where else the prediction log is delivered.
//!
//! Owns which keys belong to which kind of sink. Never connects to one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::diagnostic::{Code, Finding};
use crate::config::form;
use crate::config::keys;
use crate::config::reader::{At, Fields};
use crate::domain::ids::SinkName;
use crate::domain::spec::{SinkSpec, SinkTarget};

use super::settings::bytes;
use super::{Peer, Rules};

/// The name under which the log's own Parquet files keep their place.
const RESERVED: &str = "parquet";

/// The region, unless set.
const REGION: &str = "us-east-1";

/// Keys that belong to one kind of sink alone.
const HTTP_KEYS: [&str; 1] = ["authorization"];
const S3_KEYS: [&str; 4] = ["endpoint", "region", "access_key_id", "secret_access_key"];

/// Sizes and times, unless set.
struct Defaults {
    batch: usize,
    batch_bytes: usize,
    linger: Duration,
}

/// A request of an HTTP sink: small and soon.
const HTTP: Defaults =
    Defaults { batch: 100, batch_bytes: 1024 * 1024, linger: Duration::from_secs(1) };

/// A file in a bucket: worth its request.
const S3: Defaults =
    Defaults { batch: 50_000, batch_bytes: 32 * 1024 * 1024, linger: Duration::from_secs(60) };

impl Rules<'_> {
    /// Reads `[sinks.*]`.
    pub(super) fn sinks(&mut self, top: &Fields<'_>) -> BTreeMap<SinkName, SinkSpec> {
        let mut sinks = BTreeMap::new();
        for sink in &top.named("sinks") {
            if sink.name == RESERVED {
                let message = format!("`{RESERVED}` cannot be the name of a sink");
                let finding = Finding::error(Code::BadName, sink.key, message);
                top.add(finding.help("the log's own Parquet files have that name"));
            }
            let fields = Fields::of(self.context, sink, &keys::SINK);
            let spec = self.sink(&fields);
            sinks.insert(SinkName::new(sink.name), spec);
        }
        sinks
    }

    fn sink(&mut self, fields: &Fields<'_>) -> SinkSpec {
        let bucket = fields.key_place("s3").is_some();
        let default = if bucket { S3 } else { HTTP };
        let target = if bucket { self.bucket(fields) } else { self.http(fields) };
        let spec = SinkSpec {
            target,
            required: fields.flag("required").unwrap_or_default(),
            batch: fields.integer("batch").unwrap_or(default.batch),
            batch_bytes: bytes(fields, "batch_bytes", default.batch_bytes),
            linger: fields.duration("linger").unwrap_or(default.linger),
            timeout: fields.duration("timeout").unwrap_or(Duration::from_secs(10)),
            backoff: fields.duration("backoff").unwrap_or(Duration::from_secs(60)),
        };
        // With both kinds there, the section has said so.
        if fields.key_place("http").is_none() || !bucket {
            let (strange, kind) =
                if bucket { (&HTTP_KEYS[..], "http") } else { (&S3_KEYS[..], "s3") };
            for place in strange.iter().filter_map(|name| fields.key_place(name)) {
                let message = format!("this key belongs to a sink with `{kind}`");
                let finding = Finding::error(Code::Choice, place, message);
                fields.add(finding.help("leave it out"));
            }
        }
        spec
    }

    fn http(&mut self, fields: &Fields<'_>) -> SinkTarget {
        let url = fields.parse("http", form::sink_url);
        let authorization = fields.secret("authorization", form::secret);
        let url = url.map(|at| {
            let (url, address) = at.value;
            let peer = At { value: address, place: at.place, hidden: at.hidden };
            self.peers.push(Peer { what: "sink", address: peer });
            url
        });
        SinkTarget::Http { url: url.unwrap_or_default(), authorization }
    }

    fn bucket(&self, fields: &Fields<'_>) -> SinkTarget {
        let name = fields.parse("s3", form::bucket);
        if !cfg!(feature = "sink-s3") {
            let message = "this build cannot deliver to S3";
            let finding = Finding::error(Code::Unavailable, fields.place("s3"), message);
            fields.add(finding.help("build with `--features sink-s3`, or use an `http` sink"));
        }
        let pair = ["access_key_id", "secret_access_key"];
        if let [Some(place), None] | [None, Some(place)] = pair.map(|name| fields.key_place(name)) {
            let message = "one half of the credentials is missing";
            let finding = Finding::error(Code::Missing, place, message);
            fields.add(finding.help("set `access_key_id` and `secret_access_key`, or neither"));
        }
        let (bucket, prefix) = name.map(|at| at.value).unwrap_or_default();
        let region = fields.parse("region", form::region);
        SinkTarget::S3 {
            bucket,
            prefix,
            endpoint: fields.parse("endpoint", form::endpoint).map(|at| at.value),
            region: region.map_or_else(|| REGION.to_owned(), |at| at.value),
            access_key_id: fields.secret("access_key_id", form::secret),
            secret_access_key: fields.secret("secret_access_key", form::secret),
        }
    }
}
