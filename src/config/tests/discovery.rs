//! Sources of discovery: each key sets its field, and mistakes are found where they stand.

use std::time::Duration;

use super::*;
use crate::domain::ids::{ModelName, SourceName, VersionName};
use crate::domain::spec::{
    BackendAddress, CatalogueSpec, DirectorySpec, DiscoveryPlace, DiscoverySpec, DnsSpec,
    LeaseSpec, VersionSpec,
};

fn source(text: &str) -> DiscoverySpec {
    let loaded = load_text(&format!("{SMALL}\n[discovery.s]\n{text}\n"));
    let mut intent = loaded.unwrap_or_else(|found| panic!("{}", found.render_human(false))).intent;
    intent.discovery.remove("s").expect("the source")
}

fn address(host: &str, port: u16) -> BackendAddress {
    BackendAddress { host: host.into(), port }
}

#[test]
fn every_key_of_a_source_sets_its_field() {
    let all = source(
        "file = \"list.json\"\nmodel = \"m\"\nversion = \"v\"\nask = true\ninterval = \"1s\"\nshrink_after = \"2s\"",
    );
    assert!(matches!(&all.place, DiscoveryPlace::File(path) if path.ends_with("list.json")));
    assert_eq!((all.model, all.version), (Some(ModelName::new("m")), Some(VersionName::new("v"))));
    assert_eq!((all.interval, all.shrink_after), (Duration::from_secs(1), Duration::from_secs(2)));
    assert!(all.ask);
    let none = source("file = \"list.json\"");
    assert_eq!((none.model, none.version, none.ask), (None, None, false));
    assert_eq!((none.interval.as_secs(), none.shrink_after.as_secs()), (30, 600));
}

#[test]
fn every_kind_of_place_is_read() {
    let dns = source("dns = \"a.internal:80\"\nserver = \"10.0.0.2:53\"").place;
    let server = Some("10.0.0.2:53".parse().expect("an address"));
    assert_eq!(dns, DiscoveryPlace::Dns(DnsSpec { name: "a.internal".into(), port: 80, server }));
    let srv = source("srv = \"_p._tcp.a\"").place;
    assert_eq!(
        srv,
        DiscoveryPlace::Srv(DnsSpec { name: "_p._tcp.a".into(), port: 0, server: None })
    );
    let lease = source("lease = \"30s\"\nregistrations = 7").place;
    let spec = LeaseSpec { lease: Duration::from_secs(30), registrations: 7 };
    assert_eq!(lease, DiscoveryPlace::Lease(spec));
    let catalogue = source("catalogue = \"http://hub/x?y=1\"").place;
    let spec = CatalogueSpec { address: address("hub", 80), path: "/x?y=1".into() };
    assert_eq!(catalogue, DiscoveryPlace::Catalogue(spec));
    let key = format!("ed25519:{}=", "A".repeat(43));
    let text = format!("directory = \"m\"\nready = true\nsettle = \"1s\"\nsignature = \"{key}\"");
    match source(&text).place {
        DiscoveryPlace::Directory(DirectorySpec { path, ready, settle, signature }) => {
            assert!(path.ends_with("m") && ready && settle == Duration::from_secs(1));
            assert_eq!(signature, Some([0; 32]));
        }
        other => panic!("{other:?}"),
    }
}

#[cfg(feature = "discovery-kubernetes")]
#[test]
fn every_key_of_a_cluster_sets_its_field() {
    let text = "kubernetes = { api = \"http://127.0.0.1:8001\", selector = \"app=x\", namespace = \"ml\", \
                port = \"http\", token_file = \"token\" }";
    match source(text).place {
        DiscoveryPlace::Kubernetes(spec) => {
            assert_eq!(spec.api, address("127.0.0.1", 8001));
            assert_eq!((spec.selector.as_str(), spec.namespace.as_str()), ("app=x", "ml"));
            assert_eq!(spec.port.as_deref(), Some("http"));
            assert!(spec.token_file.is_some_and(|path| path.ends_with("token")));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn services_come_from_the_environment() {
    let mut bench = Bench::new();
    let mut set = |name: &str, value: &str| {
        bench.environment.0.insert(name.to_owned(), value.to_owned());
    };
    set("SERVICE_IRIS_SVC", "iris_svc:8000");
    set("SERVICE_RF", "http://10.0.0.1:80");
    bench.write("main.toml", format!("{SMALL}\n[discovery.s]\nenvironment = \"SERVICE_\"\n"));
    let loaded =
        bench.load(Checks::Full).unwrap_or_else(|found| panic!("{}", found.render_human(false)));
    let spec = &loaded.intent.discovery[&SourceName::new("s")];
    let expected = vec![
        (ModelName::new("iris_svc"), address("iris_svc", 8000)),
        (ModelName::new("rf"), address("10.0.0.1", 80)),
    ];
    assert_eq!(spec.place, DiscoveryPlace::Environment(expected));
    assert_eq!(spec.version, Some(VersionName::new("v1")));
    bench.environment.0.insert("SERVICE_KEY".to_owned(), "hunter2".to_owned());
    let found = bench.load(Checks::Full).expect_err("a mistake");
    assert_eq!(codes(&found), ["PM-C006@7:15"]);
    let human = found.render_human(false);
    assert!(human.contains("SERVICE_KEY") && !human.contains("hunter2"), "{human}");
}

#[test]
fn members_may_be_those_of_a_source() {
    let text = "listen = \"127.0.0.1:8080\"\n[discovery.fleet]\ndns = \"a:1\"\n\
                [models.m.versions.v1]\ndiscovered = \"fleet\"\ndialect = \"ask\"\n\
                [pools.p]\ndiscovered = \"fleet\"\n";
    let intent = load_text(text).expect("sound").intent;
    assert!(intent.discovers());
    let VersionSpec::Backends(spec) = &intent.models["m"].versions["v1"] else {
        panic!("served by backends")
    };
    assert_eq!(spec.discovered, Some(SourceName::new("fleet")));
    assert_eq!(intent.pools["p"].discovered, Some(SourceName::new("fleet")));
    assert!(!load_text(SMALL).expect("sound").intent.discovers());
}
