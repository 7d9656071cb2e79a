//! From the merged tree to the validated [`Intent`].
//!
//! Owns what the keys mean and every rule between them. Never parses text and never stops early: a
//! value that is wrong is replaced by its default until all mistakes are known, and then the whole is
//! refused.

mod alarms;
mod discovery;
mod labels;
mod models;
mod recording;
mod releases;
mod routes;
mod settings;
mod sinks;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::domain::ids::SourceName;
use crate::domain::spec::{AlarmsSpec, BackendAddress, Intent};

use super::Checks;
use super::diagnostic::{Code, Finding};
use super::form;
use super::interpolate::Environment;
use super::keys;
use super::reader::{At, Context, Fields};
use super::source::Place;
use super::tree::Table;

use models::Declared;
use recording::Above;

/// The address of the admin listener, unless set.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// Stands in for a `listen` that is wrong or unseen; such an intent is never run.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What the rules between sections need to remember.
struct Rules<'t> {
    context: Context<'t>,
    checks: Checks,
    /// Every address to which the gateway will connect.
    peers: Vec<Peer>,
    /// The declared sources of discovery and their kinds; `None` where that is wrong.
    sources: BTreeMap<SourceName, Option<&'static str>>,
}

/// An address to which the gateway will connect.
struct Peer {
    /// What it is.
    what: &'static str,
    /// Where it leads, and where it is named.
    address: At<BackendAddress>,
}

/// Builds the intent. What is wrong goes to the report; with any error there, the result is of no use.
pub(super) fn intent(
    context: Context<'_>,
    root: &Table,
    checks: Checks,
    environment: &dyn Environment,
) -> Intent {
    let top = Fields::new(context, root, &keys::TOP, "", Place::top(0));
    let mut rules = Rules { context, checks, peers: Vec::new(), sources: BTreeMap::new() };
    let listen = top.parse("listen", form::address);
    let admin = top.parse("admin", form::address);
    let feedback = top.key_place("feedback");
    let (log, level) =
        top.table("log", |log| settings::log(&log, feedback.is_some())).unwrap_or_default();
    let above = Above { recording: &log.recording, queue: log.queue, feedback: feedback.is_some() };
    let alarms = rules.alarms(&top);
    let discovery = rules.discovery(&top, environment);
    let models = rules.models(&top, above, &alarms.rules);
    let pools = rules.pools(&top);
    let routes = rules.routes(&top, &models, &pools, above);
    let sinks = rules.sinks(&top);
    rules.addresses(&top, listen.as_ref(), admin.as_ref());
    if models.is_empty() && pools.is_empty() && context.report.errors() == 0 {
        let message = "nothing to serve: there is no model and no pool";
        let finding = Finding::warning(Code::NoEffect, Place::top(0), message);
        top.add(finding.help("add a model: [models.NAME.versions.v1]"));
    }
    let mut levels = BTreeMap::new();
    let models = models.into_iter().map(|(name, Declared { spec: (spec, level), .. })| {
        levels.insert(name.clone(), level);
        (name, spec)
    });
    let models = models.collect();
    recording::warn_idle(context.report, &level, &levels, &routes);
    let intent = Intent {
        node: top.parse("node", form::node).map_or_else(|| environment.host_name(), |at| at.value),
        listen: listen.map_or(NOWHERE, |at| at.value),
        admin: admin.map_or(ADMIN, |at| at.value),
        data_dir: top
            .file("data_dir")
            .map_or_else(|| context.sources.resolve(0, "data"), |at| at.value),
        workers: top.integer("workers"),
        limits: top.table("limits", settings::limits).unwrap_or_default(),
        forwarding: top.table("forwarding", settings::forwarding).unwrap_or_default(),
        protocols: top.table("protocols", settings::protocols).unwrap_or_default(),
        inference: top.table("inference", settings::inference).unwrap_or_default(),
        log,
        sinks,
        discovery,
        feedback: top.table("feedback", settings::feedback).unwrap_or_default(),
        monitor: top.table("monitor", settings::monitor).unwrap_or_default(),
        alarms: AlarmsSpec { rules: alarms::named(alarms.rules, None), ..alarms },
        drain: top.table("drain", settings::drain).unwrap_or_default(),
        telemetry: top.table("telemetry", settings::telemetry).unwrap_or_default(),
        models,
        pools: pools.into_iter().map(|(name, pool)| (name, pool.spec)).collect(),
        routes: routes.into_iter().map(|(name, (spec, _))| (name, spec)).collect(),
    };
    if !intent.records() {
        for (name, what) in [("sinks", "deliver"), ("feedback", "join")] {
            if let Some(place) = top.key_place(name) {
                let message = format!("nothing is recorded, so there is nothing to {what}");
                let finding = Finding::warning(Code::NoEffect, place, message);
                top.add(finding.help("set `durability` to something else than \"off\""));
            }
        }
    }
    intent
}

impl Rules<'_> {
    /// Refuses addresses of which only one could be bound, and backends that lead back here.
    fn addresses(
        &self,
        top: &Fields<'_>,
        listen: Option<&At<SocketAddr>>,
        admin: Option<&At<SocketAddr>>,
    ) {
        let Some(listen) = listen else { return };
        let admin_address = admin.map_or(ADMIN, |at| at.value);
        if collide(listen.value, admin_address) {
            let place = admin.map_or(listen.place, |at| at.place);
            let message = match admin {
                Some(_) => "`admin` and `listen` cannot share an address".to_owned(),
                None => format!("`listen` takes {ADMIN}, the default of `admin`"),
            };
            let finding = Finding::error(Code::AddressConflict, place, message);
            top.add(finding.also(listen.place, "`listen` is here").help("give one another port"));
        }
        for Peer { what: peer, address } in &self.peers {
            for (own, what) in [(listen.value, "listen"), (admin_address, "admin")] {
                if leads_to(&address.value, own) {
                    let message = format!("the {peer} is this gateway's own `{what}` address");
                    let finding = Finding::error(Code::AddressConflict, address.place, message);
                    top.add(finding.help("requests would go round in circles"));
                }
            }
        }
    }
}

/// Whether the second of two sockets could not be bound: the same port, and addresses of which one
/// covers the other. Port 0 takes any free one.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: IpAddr, other: IpAddr| match wide {
        IpAddr::V4(ip) => ip.is_unspecified() && other.is_ipv4(),
        // On Linux `[::]` takes IPv4 connections as well.
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

/// Whether connecting to `backend` reaches a socket bound to `own`, as far as can be told without
/// looking at the interfaces.
fn leads_to(backend: &BackendAddress, own: SocketAddr) -> bool {
    let ip = match backend.host.as_str() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => match host.parse::<IpAddr>() {
            Ok(ip) => ip,
            Err(_) => return false,
        },
    };
    let here =
        ip == own.ip() || (own.ip().is_unspecified() && (ip.is_loopback() || ip.is_unspecified()));
    backend.port == own.port() && here
}
