//! The validated intent: what the operator wants, with every reference resolved and every value in
//! range.
//!
//! Owns the meaning of the settings and their defaults. Never knows the file they came from: the
//! configuration builds an [`Intent`], and nothing can change it afterwards.

mod alarms;
mod backends;
mod card;
mod discovery;
#[cfg(test)]
pub(crate) mod examples;
mod labels;
mod log;
mod monitor;
mod onnx;
mod pointer;
mod trial;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use self::alarms::{
    AlarmLimits, AlarmRules, AlarmsSpec, CalledEvents, QualityCeilings, QualityFloors, Switched,
    WebhookSpec,
};
pub use self::backends::{
    BackendsSpec, ContainerForm, ProtocolSpec, RawSpec, SpokenDialect, StrictStatus,
};
pub use self::card::{InputCard, ModelCard, OutputCard};
pub use self::discovery::{
    CatalogueSpec, DirectorySpec, DiscoveryPlace, DiscoverySpec, DnsSpec, KubernetesSpec, LeaseSpec,
};
pub use self::labels::{LabelPolicy, LabelTask, LabelsSpec, OutputRef, SliceSource};
pub use self::log::{
    BodyPolicy, Durability, FeedbackSpec, FieldSource, LogSpec, ParquetSpec, Recording, RedactRule,
    Redaction, RedactionKind, Secret, SinkSpec, SinkTarget, WhenFull,
};
pub use self::monitor::{DriftSpec, ModelMonitorSpec, MonitorSpec};
pub use self::onnx::{BatchSpec, Execution, InferenceSpec, OnnxSpec};
pub use self::pointer::{Extractors, JsonPointer, PointerError, Step};
pub use self::trial::{KillScope, KillSpec, ShadowSpec, Tolerance, TrialSpec};
use super::ids::{ModelName, Permille, PoolName, RouteName, SinkName, SourceName, VersionName};
use super::lifecycle::policy::Policy;

/// Everything one gateway is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// The name of this gateway in records and metrics.
    pub node: String,
    /// Where predictions are served.
    pub listen: SocketAddr,
    /// Where health, metrics and the admin API are served.
    pub admin: SocketAddr,
    /// The directory for everything that is kept.
    pub data_dir: PathBuf,
    /// Data-plane workers; `None` for one a core that this process may use.
    pub workers: Option<usize>,
    /// Models by name.
    pub models: BTreeMap<ModelName, ModelSpec>,
    /// Pools of plain backends by name.
    pub pools: BTreeMap<PoolName, PoolSpec>,
    /// Routing rules by name.
    pub routes: BTreeMap<RouteName, RouteSpec>,
    /// What one client may ask for.
    pub limits: Limits,
    /// Whose word about the client is believed, and what backends are told.
    pub forwarding: Forwarding,
    /// How prediction protocols are spoken.
    pub protocols: ProtocolSpec,
    /// What models in this process may take.
    pub inference: InferenceSpec,
    /// The prediction log.
    pub log: LogSpec,
    /// Where else the prediction log is delivered, by name.
    pub sinks: BTreeMap<SinkName, SinkSpec>,
    /// Where versions and prediction servers are looked for, by name.
    pub discovery: BTreeMap<SourceName, DiscoverySpec>,
    /// Delayed ground truth.
    pub feedback: FeedbackSpec,
    /// What is counted about versions.
    pub monitor: MonitorSpec,
    /// What someone is called for.
    pub alarms: AlarmsSpec,
    /// How the process ends.
    pub drain: Drain,
    /// Logging of the gateway's own doings.
    pub telemetry: TelemetrySpec,
}

impl Intent {
    /// Whether anything is recorded at all.
    pub fn records(&self) -> bool {
        let models = self.models.values().map(|model| &model.recording);
        let routes = self.routes.values().map(|route| &route.recording);
        let mut all = models.chain(routes).chain([&self.log.recording]);
        all.any(|recording| recording.durability != Durability::Off)
    }

    /// Whether the members of any version or pool are discovered.
    pub fn discovers(&self) -> bool {
        let pools = self.pools.values().map(|pool| &pool.discovered);
        let versions = self.models.values().flat_map(|model| model.versions.values());
        let versions = versions.filter_map(|version| match version {
            VersionSpec::Backends(spec) => Some(&spec.discovered),
            VersionSpec::Onnx(_) => None,
        });
        versions.chain(pools).any(Option::is_some)
    }
}

/// A model and how its traffic divides over its versions.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The releases, by name; at least one, where no life cycle brings them.
    pub versions: BTreeMap<VersionName, VersionSpec>,
    /// Other names of versions, by which clients may ask for them.
    pub aliases: BTreeMap<VersionName, VersionName>,
    /// The share of each version; adds up to 1000, or empty where no version may answer.
    pub traffic: BTreeMap<VersionName, Permille>,
    /// A version on trial, and an equal slice of the champion beside it.
    pub trial: Option<TrialSpec>,
    /// Who gets copies of the requests that the champion answers.
    pub shadow: Option<ShadowSpec>,
    /// Why nobody answers: the kill switch of the model or of the gateway.
    pub killed: Option<KillSpec>,
    /// Versions that are cut off: they are in no split, and a request for one is refused.
    pub killed_versions: BTreeMap<VersionName, KillSpec>,
    /// What keeps one caller on one version.
    pub sticky: Option<StickyKey>,
    /// How backends of one version are chosen.
    pub balance: Balance,
    /// Limits in time towards the backends of this model.
    pub timeouts: Timeouts,
    /// Connections kept to the backends of this model.
    pub keep_alive: KeepAlive,
    /// How in-process versions run.
    pub execution: Execution,
    /// What is recorded of its exchanges.
    pub recording: Recording,
    /// How it is monitored.
    pub monitor: ModelMonitorSpec,
    /// What someone is called for about it.
    pub alarms: AlarmRules,
    /// What its labels say; `None` where they are not looked at.
    pub labels: Option<LabelsSpec>,
    /// What its releases follow; `None` where versions and shares are those of the configuration.
    pub lifecycle: Option<Policy>,
}

/// Where one version's answers come from.
#[derive(Debug, Clone, PartialEq)]
pub enum VersionSpec {
    /// An ONNX file that runs in this process.
    Onnx(OnnxSpec),
    /// Prediction servers.
    Backends(BackendsSpec),
}

/// A set of interchangeable plain backends.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSpec {
    /// The members; none where they are discovered.
    pub backends: Vec<BackendAddress>,
    /// The source of discovery whose servers are the members.
    pub discovered: Option<SourceName>,
    /// Whether they are spoken to over HTTP/2.
    pub http2: bool,
    /// How a member is chosen.
    pub balance: Balance,
    /// Limits in time towards the members.
    pub timeouts: Timeouts,
    /// Connections kept to the members.
    pub keep_alive: KeepAlive,
}

/// One network endpoint, `http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendAddress {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl BackendAddress {
    /// `HOST:PORT`, IPv6 addresses in brackets: what the `Host` header carries.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The socket address, when the host is an IP address and needs no name resolution.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// A rule that maps requests to a model or to a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSpec {
    /// Which requests.
    pub matches: RouteMatch,
    /// Where they go.
    pub target: RouteTarget,
    /// What is recorded of its exchanges: the route's own settings over those of its model.
    pub recording: Recording,
}

/// Which requests a route takes: all conditions that are present must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RouteMatch {
    /// The host name, lower case, without port.
    pub host: Option<String>,
    /// The path.
    pub path: Option<PathMatch>,
    /// The method, upper case.
    pub method: Option<String>,
    /// Header name (lower case) and exact value.
    pub headers: BTreeMap<String, String>,
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Leading whole segments: `/api` takes `/api` and `/api/x`, not `/apix`.
    Prefix(String),
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// A model, or one pinned version of it.
    Model(ModelName, Option<VersionName>),
    /// A pool of plain backends.
    Pool(PoolName),
}

/// What identifies a caller, so that the same caller meets the same version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StickyKey {
    /// The value of a header (name in lower case).
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter.
    Query(String),
    /// The client's address, after the trust rule for `X-Forwarded-For`.
    ClientAddress,
}

/// How one of several backends is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight from this gateway.
    LeastInFlight,
}

/// Limits in time towards a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the TCP connection stands.
    pub connect: Duration,
    /// From the end of the request to the first byte of the response head.
    pub first_byte: Duration,
    /// Between two pieces of a body, in either direction.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        }
    }
}

/// Connections kept open to backends between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long an unused connection is kept. Below the backend's own limit, or requests meet
    /// connections that are closing: gunicorn and uvicorn stop at 2 and 5 seconds.
    pub idle: Duration,
    /// How old a connection may become.
    pub age: Duration,
    /// Unused connections kept per backend and worker.
    pub connections: usize,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { idle: Duration::from_millis(1500), age: Duration::from_secs(300), connections: 128 }
    }
}

/// What one client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head (431).
    pub header_bytes: usize,
    /// Headers of a request (431).
    pub header_count: usize,
    /// From the first byte of a head to its end (408).
    pub header_time: Duration,
    /// Bytes of a request body (413).
    pub body: u64,
    /// Bytes of all bodies that are held whole at a time, over all clients (503).
    pub held_bodies: u64,
    /// Whole request, from its head to the last byte of the response (504).
    pub request_time: Duration,
    /// How long an unused client connection is kept.
    pub idle: Duration,
    /// Client connections, over all workers.
    pub connections: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            header_count: 100,
            header_time: Duration::from_secs(10),
            body: 16 * 1024 * 1024,
            held_bodies: 256 * 1024 * 1024,
            request_time: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            connections: 16_384,
            streams: 128,
        }
    }
}

/// The one trust rule for what a request says about where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// Peers whose `X-Forwarded-*` headers are believed; others' are replaced.
    pub trust: Vec<IpNet>,
    /// Whether `Via` is added towards backends and clients.
    pub via: bool,
}

impl Forwarding {
    /// Whether `peer` is trusted to speak for its clients.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trust.iter().any(|net| net.contains(peer))
    }
}

/// An address range in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    address: IpAddr,
    prefix: u8,
}

impl IpNet {
    /// Parses `10.0.0.0/8`, `::1/128` or a single address; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `ip` lies in the range; an IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix);
                (u64::from(net.to_bits()) >> shift) == (u64::from(ip.to_bits()) >> shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix);
                shift == 128 || (net.to_bits() >> shift) == (ip.to_bits() >> shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// How the process ends after SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Between readiness going off and the listeners closing, for load balancers to notice.
    pub delay: Duration,
    /// The longest wait for requests in flight after that.
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::ZERO, timeout: Duration::from_secs(30) }
    }
}

/// Logging of the gateway's own doings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetrySpec {
    /// A filter such as `info` or `info,pointsman::proxy=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for TelemetrySpec {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Human }
    }
}

/// How the gateway's own log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_their_prefix_says() {
        let contains = |net: &str, ip: &str| {
            IpNet::parse(net).expect(net).contains(ip.parse().expect("an address"))
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "192.0.2.1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(contains("127.0.0.1", "127.0.0.1"));
        assert!(!contains("127.0.0.1", "127.0.0.2"));
        for bad in ["", "10.0.0.0/33", "::1/129", "a/8", "10.0.0.0/-1"] {
            assert_eq!(IpNet::parse(bad), None, "{bad}");
        }
    }
}
