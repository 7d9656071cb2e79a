//! The one table of keys: what may be written where, of what kind, with which default and range.
//!
//! Owns what both the reader and the JSON Schema know about a key. Never holds a value that was read.
//! Defaults here are what the schema shows; a test holds them against the defaults of
//! [`crate::domain::spec`].

mod alarms;
mod card;
mod discovery;
mod labels;
mod log;
mod models;
mod monitor;
mod releases;
mod sections;

use std::time::Duration;

use crate::domain::ids::Permille;

pub(super) use alarms::{ALARM_KINDS, ALARMS, MODEL_ALARMS};
pub(super) use card::{CARD, CARD_INPUT, CARD_OUTPUT};
pub(super) use discovery::{DISCOVERY, KUBERNETES};
pub(super) use labels::LABELS;
pub(super) use log::{FEEDBACK, LOG, PARQUET, RECORDING, REDACT, SINK};
pub(super) use models::{BATCH, CONTAINER, EXECUTION, MODEL, RAW, VERSION};
pub(super) use monitor::{DRIFT, MODEL_MONITOR, MONITOR};
pub(super) use releases::{ERROR_RATIO, EVICT, GUARD, LATENCY, RELEASE, SHADOW};
pub(super) use sections::{
    DRAIN, FORWARDING, INFERENCE, KEEP_ALIVE, LIMITS, POOL, PROTOCOLS, ROUTE, TELEMETRY, TIMEOUTS,
    TOP,
};

/// A table of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// What it describes, with its article: `a model`.
    pub(super) what: &'static str,
    /// One sentence for the schema.
    pub(super) doc: &'static str,
    /// Every key that may stand in it.
    pub(super) keys: &'static [Key],
    /// Keys of which exactly one must be there.
    pub(super) exactly_one: &'static [&'static str],
    /// Keys of which at most one may be there.
    pub(super) at_most_one: &'static [&'static str],
}

impl Section {
    /// The key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct Key {
    /// As written.
    pub(super) name: &'static str,
    /// What may be assigned to it.
    pub(super) kind: Kind,
    /// What leaving it out means.
    pub(super) absent: Absent,
    /// One or two sentences for the schema.
    pub(super) doc: &'static str,
}

/// What leaving a key out means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Absent {
    /// An error.
    Error,
    /// The same as this text; `[]` for lists, `{}` for tables.
    Same(&'static str),
    /// Something that cannot be written as a value.
    Means(&'static str),
}

/// What may be assigned to a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A string of a form.
    Text(Form),
    /// One of some words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number in a range.
    Integer(i64, i64),
    /// A duration in a range.
    Duration(Duration, Duration),
    /// A size in bytes, in a range.
    Size(u64, u64),
    /// A ratio in thousandths, in a range.
    Ratio(Permille, Permille),
    /// A ratio above 0 and up to 1, as fine as wished.
    Fraction,
    /// A number in a range.
    Number(f64, f64),
    /// A list of strings of a form, with the least and the most entries.
    List(Form, usize, usize),
    /// A table with known keys.
    Table(&'static Section),
    /// A table whose keys are names given by the operator, at most so many.
    Named(&'static Section, &'static str, usize),
    /// A table of shares by name.
    Shares,
    /// A table of strings by header name, at most so many.
    Headers(usize),
    /// A table of declared names by another name, at most so many.
    Aliases(usize),
    /// A table of JSON pointers by the name of what they lead to, at most so many.
    Pointers(usize),
    /// A list of strings, at most so many.
    Texts(usize),
    /// A list of numbers, at most so many.
    Numbers(usize),
    /// A table whose keys are the names of tensors, at most so many.
    Tensors(&'static Section, &'static str, usize),
}

/// The forms of strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `IP:PORT`.
    Address,
    /// `http://HOST:PORT`.
    Backend,
    /// `HOST:PORT`.
    HostPort,
    /// A name of a model, a version or the like, declared or not.
    Name,
    /// A path of the file system.
    File,
    /// A pattern of file names.
    Glob,
    /// The name of a gateway.
    Node,
    /// `10.0.0.0/8`.
    Cidr,
    /// A header's name.
    HeaderName,
    /// What identifies a caller.
    Sticky,
    /// A log filter.
    Level,
    /// A host name.
    Host,
    /// A whole path of a URL.
    Path,
    /// The first segments of a path of a URL.
    PathPrefix,
    /// The name of a declared model, version or pool.
    Reference,
    /// The name of a model or version at a backend.
    RemoteName,
    /// A JSON pointer.
    Pointer,
    /// Where a field of a record is found.
    FieldSource,
    /// The URL of a sink.
    SinkUrl,
    /// A bucket and a prefix.
    Bucket,
    /// The server of a bucket.
    Endpoint,
    /// The region of a bucket.
    Region,
    /// A secret.
    Secret,
    /// A secret that clients bring.
    Token,
    /// The secret key of a keyed hash.
    HashKey,
    /// The sha256 of an artifact.
    Digest,
    /// An ed25519 public key.
    PublicKey,
    /// Words for people.
    Prose,
    /// A date and a time.
    Moment,
    /// The URL of a page.
    Link,
    /// Hours of the day, and days of the week.
    MuteHours,
    /// Where a response has something.
    Output,
    /// What divides predictions.
    Slice,
    /// A share in percent.
    Share,
    /// A check before any traffic.
    Check,
    /// A rate that is compared between candidate and control.
    Metric,
}

impl Form {
    /// What is expected, as in "must be …".
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Address => "an address such as \"127.0.0.1:8080\"",
            Self::Backend => "a backend address such as \"http://10.0.0.1:8000\"",
            Self::HostPort => "a host name and a port such as \"predictors.internal:8080\"",
            Self::Name => "a name of 1 to 128 letters, digits, `-`, `_` and `.`",
            Self::File => "a path, relative to this file or absolute",
            Self::Glob => "a pattern of file names such as \"conf.d/*.toml\"",
            Self::Node => "a name of visible ASCII characters",
            Self::Cidr => "an address range such as \"10.0.0.0/8\"",
            Self::HeaderName => "the name of a header such as \"x-tenant\"",
            Self::Sticky => "\"header:NAME\", \"cookie:NAME\", \"query:NAME\" or \"client\"",
            Self::Level => "a level such as \"info\" or \"info,pointsman::proxy=debug\"",
            Self::Host => "a host name without port such as \"api.example.com\"",
            Self::Path => "a path such as \"/v1/score\"",
            Self::PathPrefix => "the first segments of a path such as \"/api\"",
            Self::Reference => "a declared name",
            Self::RemoteName => "a name of 1 to 256 characters without slashes",
            Self::Pointer => "a JSON pointer such as \"/inputs/*/data\"",
            Self::FieldSource => {
                "\"header:NAME\", \"request:/json/pointer\" or \"response:/json/pointer\""
            }
            Self::SinkUrl => "a URL such as \"http://10.0.0.9:8080/events\"",
            Self::Bucket => "a bucket and a prefix such as \"predictions/edge-1\"",
            Self::Endpoint => "a server such as \"http://10.0.0.9:8333\"",
            Self::Region => "a region such as \"eu-central-1\"",
            Self::Secret => "a secret such as \"${env:NAME}\" or \"${file:PATH}\"",
            Self::Digest => "a digest such as \"sha256:4f5e…\", 64 hexadecimal digits",
            Self::PublicKey => "a key such as \"ed25519:MCow…\", 32 bytes in base64",
            Self::Prose => "a text",
            Self::Moment => "a moment such as \"2026-11-26T20:00:00Z\"",
            Self::Link => "the URL of a page such as \"https://wiki/runbooks/{alarm}\"",
            Self::MuteHours => "hours in UTC such as \"22:00-06:00\" or \"sat-sun 00:00-24:00\"",
            Self::Output => "the name of an output, or a JSON pointer such as \"/predictions/0\"",
            Self::Slice => {
                "\"session\", \"header:NAME\", \"request:/json/pointer\" or \"response:/json/pointer\""
            }
            Self::Token => {
                "a secret of at least 16 visible characters, from \"${env:NAME}\" or \"${file:PATH}\""
            }
            Self::Share => "a share such as \"5%\"",
            Self::Check => {
                "\"identity\", \"interface\", \"probes\", \"determinism\", \"batch\", \"golden\", \
                 \"golden_metric\", \"collapse\", \"latency\" or \"baseline\""
            }
            Self::Metric => "\"errors\", \"invalid\", \"slow\" or \"labels\"",
            Self::HashKey => {
                "a secret of at least 16 bytes, from \"${env:NAME}\" or \"${file:PATH}\""
            }
        }
    }

    /// A regular expression (ECMA-262) that every good text matches, if one helps an editor.
    pub(super) const fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Address => Some("^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[0-9]+$"),
            Self::Backend => Some("^http://[^/?#@\\s]+:[0-9]+$"),
            Self::HostPort => Some("^[^/?#@\\s]+:[0-9]+$"),
            Self::Name => Some("^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$"),
            Self::Sticky => Some("^((header|cookie|query):.+|client)$"),
            Self::Path | Self::PathPrefix | Self::Pointer => Some("^/"),
            Self::FieldSource => Some("^(header:.+|(request|response):/.*)$"),
            Self::Slice => Some("^(session|header:.+|(request|response):/.*)$"),
            Self::SinkUrl | Self::Endpoint => Some("^http://[^/?#@\\s]+"),
            // What comes from elsewhere is all that matches, next to this.
            Self::Secret | Self::Token | Self::HashKey => Some("\\$\\{(env|file):"),
            Self::Link => Some("^https?://"),
            Self::MuteHours => {
                Some("^([a-z]{3}(-[a-z]{3})? +)?[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}$")
            }
            Self::Cidr => Some("^[0-9A-Fa-f:.]+(/[0-9]+)?$"),
            Self::Digest => Some("^sha256:[0-9A-Fa-f]{64}$"),
            Self::PublicKey => Some("^ed25519:[0-9A-Za-z+/]+=*$"),
            Self::Moment => Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}"),
            Self::Share => Some("^[0-9]*\\.?[0-9]*%$"),
            Self::Check => Some(
                "^(identity|interface|probes|determinism|batch|golden|golden_metric|collapse|latency|\
                 baseline)$",
            ),
            Self::Metric => Some("^(errors|invalid|slow|labels)$"),
            Self::File
            | Self::Prose
            | Self::Output
            | Self::Glob
            | Self::Node
            | Self::HeaderName
            | Self::Level
            | Self::Host
            | Self::Reference
            | Self::RemoteName
            | Self::Bucket
            | Self::Region => None,
        }
    }
}

impl Kind {
    /// What is expected, as in "must be …".
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Text(form) => form.expected().to_owned(),
            Self::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Flag => "true or false".to_owned(),
            Self::Integer(..) => "a whole number".to_owned(),
            Self::Number(..) => "a number such as 2.5".to_owned(),
            Self::Duration(..) => "a duration such as \"250ms\" or \"5s\"".to_owned(),
            Self::Size(..) => "a size such as \"64KiB\" or \"16MiB\"".to_owned(),
            Self::Ratio(..) | Self::Fraction => "a ratio such as \"1%\" or 0.01".to_owned(),
            Self::List(form, ..) => format!("a list, each entry {}", form.expected()),
            Self::Table(_) => "a table".to_owned(),
            Self::Named(_, what, _) => format!("a table of {what}s by name"),
            Self::Shares => "a table such as { v1 = \"90%\", v2 = \"10%\" }".to_owned(),
            Self::Headers(_) => "a table such as { x-tenant = \"acme\" }".to_owned(),
            Self::Aliases(_) => "a table such as { prod = \"v3\" }".to_owned(),
            Self::Pointers(_) => "a table such as { age = \"/rows/*/age\" }".to_owned(),
            Self::Texts(_) => "a list of texts such as [\"a\", \"b\"]".to_owned(),
            Self::Numbers(_) => "a list of numbers such as [1, 2.5]".to_owned(),
            Self::Tensors(_, what, _) => format!("a table of {what}s by name"),
        }
    }
}

/// Whether the value of a key of this name is a secret, wherever it stands.
pub(super) fn is_secret(name: &str) -> bool {
    let secret =
        |key: &Key| matches!(key.kind, Kind::Text(Form::Secret | Form::Token | Form::HashKey));
    HOMES.iter().any(|(section, _)| section.key(name).is_some_and(secret))
}

/// Every section, and how it is written in the file.
static HOMES: [(&Section, &str); 52] = [
    (&TOP, "the top of the file, above the first `[table]`"),
    (&LIMITS, "`[limits]`"),
    (&FORWARDING, "`[forwarding]`"),
    (&PROTOCOLS, "`[protocols]`"),
    (&RAW, "`raw = { … }` of a version"),
    (&CONTAINER, "`sagemaker = { … }` of a version"),
    (&INFERENCE, "`[inference]`"),
    (&LOG, "`[log]`"),
    (&PARQUET, "`parquet = { … }` of `[log]`"),
    (&RECORDING, "`log = { … }` of a model or route"),
    (&REDACT, "`redact = { … }` of `[log]`, a model or a route"),
    (&SINK, "`[sinks.NAME]`"),
    (&FEEDBACK, "`[feedback]`"),
    (&DISCOVERY, "`[discovery.NAME]`"),
    (&KUBERNETES, "`kubernetes = { … }` of `[discovery.NAME]`"),
    (&MONITOR, "`[monitor]`"),
    (&DRIFT, "`[monitor.drift]`"),
    (&MODEL_MONITOR, "`[models.NAME.monitor]`"),
    (&ALARMS, "`[alarms]`"),
    (&MODEL_ALARMS, "`[models.NAME.alarms]`"),
    (ALARM_KINDS[0].1, "`silence = { … }` of alarms"),
    (ALARM_KINDS[1].1, "`request_rate = { … }` of alarms"),
    (ALARM_KINDS[2].1, "`repeated_input = { … }` of alarms"),
    (ALARM_KINDS[3].1, "`class_share = { … }` of alarms"),
    (ALARM_KINDS[4].1, "`schema_shape = { … }` of alarms"),
    (ALARM_KINDS[5].1, "`drift = { … }` of alarms"),
    (ALARM_KINDS[6].1, "`error_rate = { … }` of alarms"),
    (ALARM_KINDS[7].1, "`rejection_rate = { … }` of alarms"),
    (ALARM_KINDS[8].1, "`latency = { … }` of alarms"),
    (ALARM_KINDS[9].1, "`quality = { … }` of alarms"),
    (ALARM_KINDS[10].1, "`error_change = { … }` of alarms"),
    (ALARM_KINDS[11].1, "`labels = { … }` of alarms"),
    (ALARM_KINDS[12].1, "`baseline_missing = { … }` of alarms"),
    (ALARM_KINDS[13].1, "`stale_pipeline = { … }` of alarms"),
    (ALARM_KINDS[14].1, "`log_lag = { … }` of `[alarms]`"),
    (&LABELS, "`[models.NAME.labels]`"),
    (&RELEASE, "`[models.NAME.release]`"),
    (&SHADOW, "`shadow = { … }` of `[models.NAME.release]`"),
    (&EVICT, "`[models.NAME.evict]`"),
    (&GUARD, "`[models.NAME.guard]`"),
    (&ERROR_RATIO, "`error_ratio = { … }` of `[models.NAME.guard]`"),
    (&LATENCY, "`latency = { … }` of `[models.NAME.guard]`"),
    (&DRAIN, "`[drain]`"),
    (&TELEMETRY, "`[telemetry]`"),
    (&MODEL, "`[models.NAME]`"),
    (&VERSION, "`[models.NAME.versions.VERSION]`"),
    (&POOL, "`[pools.NAME]`"),
    (&ROUTE, "`[routes.NAME]`"),
    (&TIMEOUTS, "`timeouts = { … }` of a model or pool"),
    (&KEEP_ALIVE, "`keep_alive = { … }` of a model or pool"),
    (&EXECUTION, "`execution = { … }` of a model"),
    (&BATCH, "`batch = { … }` of a version"),
];

/// Finds the sections in which a key of this name may stand, as they are written in the file.
pub(super) fn homes_of(name: &str) -> Vec<&'static str> {
    let has = |(section, _): &&(&Section, _)| section.key(name).is_some();
    HOMES.iter().filter(has).map(|(_, home)| *home).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits every section once.
    fn walk(section: &'static Section, visit: &mut impl FnMut(&'static Section)) {
        visit(section);
        for key in section.keys {
            if let Kind::Table(inner) | Kind::Named(inner, ..) | Kind::Tensors(inner, ..) = key.kind
            {
                walk(inner, visit);
            }
        }
    }

    #[test]
    fn every_key_is_documented_and_named_once() {
        let mut check = |section: &'static Section| {
            for (at, key) in section.keys.iter().enumerate() {
                let twin = section.keys.iter().skip(at + 1).find(|other| other.name == key.name);
                assert!(twin.is_none(), "{} is twice in {}", key.name, section.what);
                assert!(key.doc.ends_with('.') && key.doc.len() > 10, "{}: {}", key.name, key.doc);
                let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                assert!(key.name.bytes().all(good), "{}", key.name);
            }
            let named = section.exactly_one.iter().chain(section.at_most_one);
            named.for_each(|name| assert!(section.key(name).is_some(), "{name}"));
        };
        walk(&TOP, &mut check);
        walk(&CARD, &mut check);
    }
}
