//! Sound configurations: examples, defaults, every key, includes.

use std::time::Duration;

use super::*;
use crate::config::keys::{Absent, Kind, MODEL, Section, TOP};
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::spec::{
    Balance, BatchSpec, Durability, InferenceSpec, LogFormat, OnnxSpec, PathMatch, RouteTarget,
    Secret, StickyKey, VersionSpec,
};

#[test]
fn the_examples_load_without_warnings() {
    for name in ["quickstart.toml", "examples/canary.toml", "examples/production.toml"] {
        let path = repository("config").join(name);
        let loaded = load_with(&path, Checks::Offline, &Fixed::default())
            .unwrap_or_else(|found| panic!("{name}:\n{found}"));
        assert_eq!(loaded.warnings, [], "{name}");
        let text = std::fs::read_to_string(&path).expect("readable");
        let schema = text.lines().next().and_then(|line| line.strip_prefix("#:schema "));
        let schema = path.parent().expect("a parent").join(schema.expect("a schema line"));
        assert!(schema.is_file(), "{name} points at {}", schema.display());
    }
}

#[test]
fn the_production_example_uses_every_key() {
    let path = repository("config/examples/production.toml");
    let mut text = std::fs::read_to_string(path).expect("readable");
    text.push_str(r#"onnx = "of another version""#);
    fn walk(section: &Section, text: &str) {
        for key in section.keys {
            assert!(text.contains(key.name), "`{}` is not used", key.name);
            if let Kind::Table(inner) | Kind::Named(inner, ..) = key.kind {
                walk(inner, text);
            }
        }
    }
    walk(&TOP, &text);
}

/// The smallest file, with every default of the table of keys written out.
fn explicit() -> String {
    fn lines(section: &Section, header: &str, skip: &[&str], out: &mut String) {
        let mut tables = Vec::new();
        for key in section.keys.iter().filter(|key| !skip.contains(&key.name)) {
            match (key.kind, key.absent) {
                (Kind::Table(inner), _) => tables.push((key.name, inner)),
                (
                    Kind::Flag | Kind::Integer(..) | Kind::Number(..) | Kind::List(..),
                    Absent::Same(text),
                ) => {
                    out.push_str(&format!("{} = {text}\n", key.name));
                }
                (
                    Kind::Named(..)
                    | Kind::Shares
                    | Kind::Headers(_)
                    | Kind::Aliases(_)
                    | Kind::Pointers(_),
                    _,
                ) => {}
                (_, Absent::Same(text)) => out.push_str(&format!("{} = \"{text}\"\n", key.name)),
                (_, Absent::Error | Absent::Means(_)) => {}
            }
        }
        for (name, inner) in tables {
            let header =
                if header.is_empty() { name.to_owned() } else { format!("{header}.{name}") };
            out.push_str(&format!("[{header}]\n"));
            lines(inner, &header, &[], out);
        }
    }
    let mut out = "listen = \"127.0.0.1:8080\"\n".to_owned();
    lines(&TOP, "", &[], &mut out);
    out.push_str("[models.iris]\n");
    lines(&MODEL, "models.iris", &["labels", "release", "evict", "guard"], &mut out);
    out.push_str("[models.iris.versions.v1]\nonnx = \"model.onnx\"\n");
    out
}

#[test]
fn defaults_in_the_table_are_the_defaults_of_the_domain() {
    let (bench, text) = (Bench::new(), explicit());
    bench.write("main.toml", SMALL);
    let implicit = bench.load(Checks::Full).expect("sound").intent;
    bench.write("main.toml", &text);
    let explicit = bench.load(Checks::Full).unwrap_or_else(|found| panic!("{found}\n{text}"));
    assert!(text.matches('=').count() > 34, "{text}");
    assert_eq!(explicit.intent, implicit);
}

const EVERYTHING: &str = r#"
listen = "[::1]:80"
admin = "0.0.0.0:81"
data_dir = "/srv/data"
node = "n1"
workers = 3
[limits]
header_bytes = "1KiB"
header_count = 7
header_time = "1s"
body = "2MiB"
held_bodies = "32MiB"
request_time = "3s"
idle = "4s"
connections = 5
streams = 6
[protocols]
strict_status = "triton"
repository = true
repository_token = "${env:TOKEN}"
[forwarding]
trust = ["10.0.0.0/8", "::1"]
via = true
[inference]
threads = 2
model_bytes = "1MiB"
memory = "3MiB"
run_memory = "2MiB"
isolate = false
load_memory = "64MiB"
load_time = "5s"
[drain]
delay = "1s"
timeout = "2s"
[telemetry]
level = "warn"
format = "json"
[models.m]
traffic = { v1 = 0.001, v2 = "99.9%" }
aliases = { prod = "v2" }
sticky = "cookie:sid"
balance = "least_in_flight"
timeouts = { connect = "1ms", first_byte = "2ms", idle = "3ms" }
keep_alive = { idle = "4ms", age = "5ms", connections = 6 }
execution = { inline_below = "1ms", queue = 2, queue_time = "3ms", concurrency = 3 }
[models.m.versions]
v1 = { onnx = "model.onnx", ready = true, batch = { max_size = 8, max_delay = "2ms" }, digest = "sha256:abababababababababababababababababababababababababababababababab", signature = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }
v2 = { backends = ["http://a:1", "http://[::2]:3"] }
v3 = { backends = ["http://b:1"], dialect = "kserve_v1", http2 = true, remote_model = "b", remote_version = "3", raw = { path = "/x", rows = "/r", prediction = "/p", label = "/l" } }
[pools.p]
backends = ["http://c:1"]
balance = "least_in_flight"
timeouts.connect = "9ms"
http2 = true
keep_alive.connections = 0
[routes.r1]
host = "EXAMPLE.com"
path = "/x"
method = "POST"
headers = { X-A = "b" }
model = "m"
version = "v3"
[routes.r2]
path_prefix = "/"
pool = "p"
"#;

fn everything() -> (Bench, Intent) {
    let bench = Bench::new();
    bench.write("main.toml", EVERYTHING);
    let loaded = bench.load(Checks::Full).unwrap_or_else(|found| panic!("{found}"));
    (bench, loaded.intent)
}

#[test]
fn every_word_for_the_form_of_a_container_sets_it() {
    use crate::domain::spec::{ContainerForm, VersionSpec};
    for (dialect, sagemaker, expected) in [
        ("sagemaker", "", ContainerForm::Json),
        ("sagemaker", "form = \"json\"", ContainerForm::Json),
        ("ask", "form = \"csv\"", ContainerForm::Csv),
        ("sagemaker", "form = \"jsonlines\"", ContainerForm::JsonLines),
        ("sagemaker", "form = \"open_inference\"", ContainerForm::OpenInference),
    ] {
        let text = format!(
            "listen = \"127.0.0.1:8080\"\n[models.m.versions.v]\nbackends = [\"http://a:1\"]\n\
             dialect = \"{dialect}\"\nsagemaker = {{ {sagemaker} }}\n"
        );
        let intent = load_text(&text).unwrap_or_else(|found| panic!("{found}")).intent;
        let versions = intent.models.values().flat_map(|model| model.versions.values());
        let [VersionSpec::Backends(backends)] = versions.collect::<Vec<_>>()[..] else {
            panic!("one")
        };
        assert_eq!(backends.container, expected);
    }
}

#[test]
fn every_key_of_limits_sets_its_field() {
    insta::assert_debug_snapshot!(everything().1.limits, @r#"
    Limits {
        header_bytes: 1024,
        header_count: 7,
        header_time: 1s,
        body: 2097152,
        held_bodies: 33554432,
        request_time: 3s,
        idle: 4s,
        connections: 5,
        streams: 6,
    }
    "#);
}

#[test]
fn every_key_of_pools_sets_its_field() {
    insta::assert_debug_snapshot!(everything().1.pools, @r#"
    {
        "p": PoolSpec {
            backends: [
                BackendAddress {
                    host: "c",
                    port: 1,
                },
            ],
            discovered: None,
            http2: true,
            balance: LeastInFlight,
            timeouts: Timeouts {
                connect: 9ms,
                first_byte: 30s,
                idle: 30s,
            },
            keep_alive: KeepAlive {
                idle: 1.5s,
                age: 300s,
                connections: 0,
            },
        },
    }
    "#);
}

#[test]
fn every_key_of_routes_sets_its_field() {
    let routes = everything().1.routes.into_iter();
    let routes: Vec<_> = routes.map(|(name, route)| (name, route.matches, route.target)).collect();
    insta::assert_debug_snapshot!(routes, @r#"
    [
        (
            "r1",
            RouteMatch {
                host: Some(
                    "example.com",
                ),
                path: Some(
                    Exact(
                        "/x",
                    ),
                ),
                method: Some(
                    "POST",
                ),
                headers: {
                    "x-a": "b",
                },
            },
            Model(
                "m",
                Some(
                    "v3",
                ),
            ),
        ),
        (
            "r2",
            RouteMatch {
                host: None,
                path: Some(
                    Prefix(
                        "/",
                    ),
                ),
                method: None,
                headers: {},
            },
            Pool(
                "p",
            ),
        ),
    ]
    "#);
}

#[test]
fn every_other_key_sets_its_field() {
    let (bench, intent) = everything();
    let model = intent.models.get("m").expect("a model");
    let ms = Duration::from_millis;
    assert_eq!(
        model.traffic.values().map(|share| share.thousandths()).collect::<Vec<_>>(),
        [1, 999, 0]
    );
    assert_eq!(model.sticky, Some(StickyKey::Cookie("sid".to_owned())));
    assert_eq!(model.balance, Balance::LeastInFlight);
    assert_eq!(
        (model.timeouts.connect, model.timeouts.first_byte, model.timeouts.idle),
        (ms(1), ms(2), ms(3))
    );
    assert_eq!(
        (model.keep_alive.idle, model.keep_alive.age, model.keep_alive.connections),
        (ms(4), ms(5), 6)
    );
    assert_eq!(model.execution.inline_below, ms(1));
    assert_eq!((model.execution.queue, model.execution.queue_time), (2, ms(3)));
    assert_eq!(model.execution.concurrency, Some(3));
    let batch = BatchSpec { max_size: 8, max_delay: ms(2) };
    let onnx = OnnxSpec {
        digest: Some([0xab; 32]),
        signature: Some([0; 32]),
        ready: true,
        batch: Some(batch),
        ..OnnxSpec::new(bench.path("model.onnx"))
    };
    assert_eq!(
        intent.inference,
        InferenceSpec {
            threads: Some(2),
            model_bytes: 1 << 20,
            memory: Some(3 << 20),
            run_memory: 2 << 20,
            isolate: false,
            load_memory: 64 << 20,
            load_time: ms(5000),
        }
    );
    assert_eq!(model.versions.get("v1"), Some(&VersionSpec::Onnx(onnx)));
    assert_eq!((intent.drain.delay, intent.drain.timeout), (ms(1000), ms(2000)));
    assert_eq!(
        (intent.telemetry.level.as_str(), intent.telemetry.format),
        ("warn", LogFormat::Json)
    );
    assert!(intent.forwarding.via && intent.forwarding.trusts("10.9.9.9".parse().expect("an IP")));
    assert_eq!((intent.node.as_str(), intent.workers), ("n1", Some(3)));
    assert_eq!(intent.listen.to_string(), "[::1]:80");
    assert_eq!(intent.admin.to_string(), "0.0.0.0:81");
    assert_eq!(intent.data_dir, Path::new("/srv/data"));
    let token = intent.protocols.repository_token.as_ref().map(Secret::expose);
    assert_eq!((intent.protocols.repository, token), (true, Some("token-of-16-bytes")));
}

#[test]
fn defaults_come_from_the_surroundings() {
    let bench = Bench::new();
    bench.write("main.toml", SMALL);
    let intent = bench.load(Checks::Full).expect("sound").intent;
    assert_eq!(intent.node, "edge-7");
    assert_eq!(intent.data_dir, bench.path("data"));
    let model = intent.models.get("iris").expect("a model");
    assert_eq!(model.traffic.get("v1").map(|share| share.thousandths()), Some(1000));
    let host_name = Process.host_name();
    assert!(form::node(&host_name).is_ok(), "{host_name}");
}

#[test]
fn included_files_merge_and_resolve_their_own_paths() {
    let bench = Bench::new();
    bench.write(
        "main.toml",
        format!("include = [\"conf.d/*.toml\", \"conf.d/b.toml\", \"*.toml\"]\n{SMALL}"),
    );
    bench.write(
        "conf.d/a.toml",
        "[models.a.versions.v1]\nonnx = \"m.onnx\"\n[log]\nbody_limit = \"1KiB\"",
    );
    bench.write("conf.d/m.onnx", "");
    bench.write("conf.d/b.toml", "[log]\ndurability = \"os\"\n[models.iris]\nsticky = \"client\"");
    bench.write("conf.d/c.txt", "no configuration");
    let loaded = bench.load(Checks::Full).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(
        loaded.files,
        ["main.toml", "conf.d/a.toml", "conf.d/b.toml"].map(|f| bench.path(f))
    );
    assert_eq!(loaded.warnings, []);
    let (model, version) = (ModelName::new("a"), VersionName::new("v1"));
    let onnx = &loaded.intent.models[&model].versions[&version];
    assert_eq!(*onnx, VersionSpec::Onnx(OnnxSpec::new(bench.path("conf.d/m.onnx"))));
    assert_eq!(
        (loaded.intent.log.recording.durability, loaded.intent.log.recording.body_limit),
        (Durability::Os, 1024)
    );
    assert_eq!(loaded.intent.models["iris"].sticky, Some(StickyKey::ClientAddress));
}

#[test]
fn values_from_outside_take_the_place_of_text() {
    let bench = Bench::new();
    bench.write("host", "api.example.com\n");
    bench.write(
        "main.toml",
        r#"
        listen = "${env:LISTEN:-127.0.0.1:8080}"
        [pools.p]
        backends = ["http://${env:SECRET}:80"]
        [routes.r]
        host = "${file:host}"
        pool = "p"
        "#,
    );
    let intent = bench.load(Checks::Full).unwrap_or_else(|found| panic!("{found}")).intent;
    assert_eq!(intent.pools["p"].backends[0].host, "hunter2");
    assert_eq!(intent.routes["r"].matches.host.as_deref(), Some("api.example.com"));
    assert_eq!(intent.routes["r"].matches.path, None::<PathMatch>);
    assert!(matches!(intent.routes["r"].target, RouteTarget::Pool(_)));
}

#[test]
fn offline_checks_look_at_no_other_file() {
    let bench = Bench::new();
    bench.write(
        "main.toml",
        "listen = \"${file:/nonexistent}\"\ninclude = [\"gone.toml\"]\n[models.a.versions.v1]\nonnx = \"gone.onnx\"",
    );
    let loaded = bench.load(Checks::Offline).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(loaded.warnings.len(), 1);
    let found = bench.load(Checks::Full).expect_err("nothing is there");
    assert_eq!(codes(&found), ["PM-C013@1:10", "PM-C014@2:12", "PM-C017@4:8"], "{found}");
}

#[test]
fn doubtful_but_usable_is_a_warning() {
    for (text, code) in [
        ("", Code::NoEffect),
        (
            "include = [\"none/*.toml\"]\n[models.a.versions.v1]\nonnx = \"model.onnx\"",
            Code::NoEffect,
        ),
        ("[pools.p]\nbackends = [\"http://a:1\"]", Code::NoEffect),
        (
            "[models.a.versions.v1]\nonnx = \"model.onnx\"\n[log]\nheaders = [\"Cookie\"]",
            Code::LogRisk,
        ),
        (
            "[models.a.versions.v1]\nonnx = \"model.onnx\"\n[log]\nbody_limit = \"64MiB\"",
            Code::LogRisk,
        ),
    ] {
        let loaded = load_text(&format!("listen = \"127.0.0.1:8080\"\n{text}"))
            .unwrap_or_else(|found| panic!("{found}"));
        let codes: Vec<Code> = loaded.warnings.iter().map(|warning| warning.code).collect();
        assert_eq!(codes, [code], "{text}");
    }
}
