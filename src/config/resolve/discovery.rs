//! Sources of discovery, and references to them.
//!
//! Owns which keys belong to which kind of source. Never looks where a source looks, but for the
//! environment, which is an input of the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Checks;
use crate::config::diagnostic::{Code, Finding, closest};
use crate::config::form;
use crate::config::interpolate::Environment;
use crate::config::keys;
use crate::config::reader::{At, Fields, listed};
use crate::domain::ids::{ModelName, SourceName, VersionName, is_valid_name};
use crate::domain::spec::{
    BackendAddress, CatalogueSpec, DirectorySpec, DiscoveryPlace, DiscoverySpec, DnsSpec,
    KubernetesSpec, LeaseSpec,
};

use super::{Peer, Rules};

/// The version of what stands in environment variables, unless set.
const FIRST: &str = "v1";

/// Keys that belong to some kinds of source alone.
const OWN: [(&str, &[&str]); 7] = [
    ("server", &["dns", "srv"]),
    ("ready", &["directory"]),
    ("settle", &["directory"]),
    ("signature", &["directory"]),
    ("registrations", &["lease"]),
    ("ask", &["file", "dns", "srv", "catalogue"]),
    ("model", &["file", "dns", "srv", "lease", "catalogue", "kubernetes"]),
];

impl Rules<'_> {
    /// Reads `[discovery.*]`.
    pub(super) fn discovery(
        &mut self,
        top: &Fields<'_>,
        environment: &dyn Environment,
    ) -> BTreeMap<SourceName, DiscoverySpec> {
        let mut sources = BTreeMap::new();
        for source in &top.named("discovery") {
            let fields = Fields::of(self.context, source, &keys::DISCOVERY);
            let spec = self.source(&fields, environment);
            self.sources
                .insert(SourceName::new(source.name), spec.as_ref().map(|s| s.place.kind()));
            if let Some(spec) = spec {
                sources.insert(SourceName::new(source.name), spec);
            }
        }
        sources
    }

    fn source(
        &mut self,
        fields: &Fields<'_>,
        environment: &dyn Environment,
    ) -> Option<DiscoverySpec> {
        for (key, kinds) in OWN {
            let fits = kinds.iter().any(|kind| fields.key_place(kind).is_some());
            if let Some(place) = fields.key_place(key).filter(|_| !fits) {
                let message = format!("`{}` means nothing for this source", fields.path_of(key));
                let finding = Finding::error(Code::Choice, place, message);
                let kinds = listed(kinds.iter().copied());
                fields.add(finding.help(format!("leave it out: it is for sources with {kinds}")));
            }
        }
        let name = |key: &str| fields.parse(key, form::name).map(|at| at.value);
        let version = name("version").map(VersionName::new);
        let model = name("model").map(ModelName::new);
        let ask = fields.flag("ask").unwrap_or_default();
        let interval = fields.duration("interval").unwrap_or(Duration::from_secs(30));
        let shrink_after = fields.duration("shrink_after").unwrap_or(Duration::from_secs(600));
        let place = self.discovery_place(fields, environment)?;
        let is_environment = matches!(place, DiscoveryPlace::Environment(_));
        let version = version.or_else(|| is_environment.then(|| VersionName::new(FIRST)));
        if let (Some(_), None, false) = (&version, &model, is_environment) {
            // For a directory, both names are in the path.
            let message = format!("`{}` needs `model`", fields.path_of("version"));
            let finding = Finding::error(Code::Choice, fields.place("version"), message);
            fields.add(finding.help("add the model that this is a version of"));
        }
        Some(DiscoverySpec { place, model, version, ask, interval, shrink_after })
    }

    /// Where a source looks; `None` where that is wrong, which has been said.
    fn discovery_place(
        &mut self,
        fields: &Fields<'_>,
        environment: &dyn Environment,
    ) -> Option<DiscoveryPlace> {
        let has = |key: &str| fields.key_place(key).is_some();
        if has("directory") {
            let path = fields.file("directory")?;
            if self.checks == Checks::Full && !path.value.is_dir() {
                let finding = Finding::warning(
                    Code::File,
                    path.place,
                    format!("`{}` is no directory now", fields.path_of("directory")),
                );
                fields.add(finding.help("it is looked for again and again"));
            }
            let ready = fields.flag("ready").unwrap_or_default();
            let settle = fields.duration("settle").unwrap_or(Duration::from_secs(5));
            let signature = fields.parse("signature", form::public_key).map(|at| at.value);
            return Some(DiscoveryPlace::Directory(DirectorySpec {
                path: path.value,
                ready,
                settle,
                signature,
            }));
        }
        if has("file") {
            return Some(DiscoveryPlace::File(fields.file("file")?.value));
        }
        if has("dns") {
            let found = fields.parse("dns", form::host_port)?;
            let BackendAddress { host: name, port } = found.value;
            return Some(DiscoveryPlace::Dns(DnsSpec { name, port, server: server(fields) }));
        }
        if has("srv") {
            let name = fields.parse("srv", form::host)?.value;
            return Some(DiscoveryPlace::Srv(DnsSpec { name, port: 0, server: server(fields) }));
        }
        if has("lease") {
            let lease = fields.duration("lease")?;
            let registrations = fields.integer("registrations").unwrap_or(1024);
            return Some(DiscoveryPlace::Lease(LeaseSpec { lease, registrations }));
        }
        if has("catalogue") {
            return self.catalogue(fields);
        }
        if has("kubernetes") {
            if !cfg!(feature = "discovery-kubernetes") {
                let message = "this build cannot watch a Kubernetes cluster";
                let place = fields.place("kubernetes");
                let finding = Finding::error(Code::Unavailable, place, message);
                fields.add(
                    finding.help("build with `--features discovery-kubernetes`, or use `dns`"),
                );
            }
            let (spec, peer) = fields.table("kubernetes", |fields| kubernetes(&fields))??;
            self.peers.push(peer);
            return Some(DiscoveryPlace::Kubernetes(spec));
        }
        let prefix = fields.parse("environment", form::node)?;
        Some(DiscoveryPlace::Environment(services(fields, &prefix, environment)))
    }

    fn catalogue(&mut self, fields: &Fields<'_>) -> Option<DiscoveryPlace> {
        let url = fields.parse("catalogue", form::sink_url)?;
        let (text, address) = url.value;
        let peer = At { value: address.clone(), place: url.place, hidden: url.hidden };
        self.peers.push(Peer { what: "catalogue", address: peer });
        let uri: http::Uri = text.parse().ok()?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Some(DiscoveryPlace::Catalogue(CatalogueSpec { address, path }))
    }

    /// The source that `discovered` names; it must be there and list servers.
    pub(super) fn discovered(&self, fields: &Fields<'_>) -> Option<SourceName> {
        let name = fields.text("discovered")?;
        let names = || self.sources.keys().map(SourceName::as_str);
        match self.sources.get(name.value) {
            Some(Some("directory")) => {
                let message = format!("{} lists models, not prediction servers", name.shown());
                let finding = Finding::error(Code::Choice, name.place, message);
                fields.add(finding.help("name a source of another kind, or use `onnx`"));
                None
            }
            Some(_) => Some(SourceName::new(name.value)),
            None => {
                let message = format!("there is no source {}", name.shown());
                let finding = Finding::error(Code::UnknownReference, name.place, message);
                let help = match closest(name.value, names()) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None if self.sources.is_empty() => "declare one: [discovery.NAME]".to_owned(),
                    None => format!("declared: {}", listed(names().take(20))),
                };
                fields.add(finding.help(help));
                None
            }
        }
    }
}

fn server(fields: &Fields<'_>) -> Option<SocketAddr> {
    fields.parse("server", form::address).map(|at| at.value)
}

fn kubernetes(fields: &Fields<'_>) -> Option<(KubernetesSpec, Peer)> {
    let name = |key: &str| fields.parse(key, form::name).map(|at| at.value);
    let namespace = name("namespace").unwrap_or_else(|| "default".to_owned());
    let port = name("port");
    let token_file = fields.file("token_file").map(|at| at.value);
    let selector = fields.parse("selector", form::some_text);
    let api = fields.parse("api", form::backend)?;
    let spec = KubernetesSpec {
        api: api.value.clone(),
        namespace,
        selector: selector?.value,
        port,
        token_file,
    };
    Some((spec, Peer { what: "API server", address: api }))
}

/// The services in the environment. A variable that is no address is a mistake: whoever set it means a
/// server.
fn services(
    fields: &Fields<'_>,
    prefix: &At<String>,
    environment: &dyn Environment,
) -> Vec<(ModelName, BackendAddress)> {
    let mut services = Vec::new();
    for (variable, value) in environment.variables() {
        let Some(rest) = variable.strip_prefix(&prefix.value) else { continue };
        let name = rest.to_ascii_lowercase();
        let text = value.strip_prefix("http://").unwrap_or(&value);
        match form::host_port(text) {
            Ok(address) if is_valid_name(&name) => services.push((ModelName::new(name), address)),
            Ok(_) | Err(_) => {
                // The value may be a secret of somebody else.
                let message = format!("the variable `{}` is no service", variable.escape_debug());
                let finding = Finding::error(Code::Malformed, prefix.place, message);
                fields.add(finding.help(format!("set {}NAME=HOST:PORT", prefix.value)));
            }
        }
    }
    if services.is_empty() {
        let message = format!("no variable of the environment starts with `{}`", prefix.value);
        let finding = Finding::warning(Code::NoEffect, prefix.place, message);
        fields.add(finding.help("the environment is read once, when the gateway starts"));
    }
    services
}
