//! Model files that were made to take everything cost one process and some time, and nothing else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message as _;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, OperatorSetIdProto};

use crate::support::gateway::run_in;
use crate::support::onnx::{FLOAT, Graph, INT64, int, tensor};
use crate::support::{Client, Gateway, IRIS_BODY, repository};

const BOUNDS: &str = "[inference]\nload_memory = \"512MiB\"\nload_time = \"2s\"\n";

/// A graph that adds to its input what `constant` builds up under the name `c`.
fn adding(constant: impl FnOnce(Graph) -> Graph) -> Vec<u8> {
    let graph = Graph::default().input("x", FLOAT, &["N", "1"]);
    let graph = constant(graph).node("ReduceSum", &["c"], "sum").node("Add", &["x", "sum"], "y");
    graph.output("y", FLOAT, &["N", "1"]).encode()
}

/// A constant of a terabyte, from a few bytes.
fn huge_constant() -> Vec<u8> {
    adding(|graph| graph.ints("size", &[1], &[1 << 38]).node("ConstantOfShape", &["size"], "c"))
}

/// A constant that doubles with each of forty nodes.
fn doubling() -> Vec<u8> {
    adding(|graph| {
        let graph = graph.floats("c0", &[1], &[1.0]);
        let double = |graph: Graph, step: usize| {
            let (from, to) = (format!("c{step}"), format!("c{}", step + 1));
            graph.node_with("Concat", &[&from, &from], &to, vec![int("axis", 0)])
        };
        (0..40).fold(graph, double).node("Identity", &["c40"], "c")
    })
}

/// One number spread over a terabyte.
fn spread() -> Vec<u8> {
    adding(|graph| {
        let graph = graph.floats("one", &[1], &[1.0]);
        graph.ints("size", &[2], &[1 << 20, 1 << 18]).node("Expand", &["one", "size"], "c")
    })
}

/// A constant that claims more elements than it has.
fn false_claim() -> Vec<u8> {
    adding(|graph| graph.constant(tensor("c", FLOAT, &[1 << 40], vec![0; 4])))
}

/// An input that cannot exist.
fn absurd_input() -> Vec<u8> {
    let size = (1i64 << 45).to_string();
    let graph = Graph::default().input("x", FLOAT, &["N", &size]).node("Relu", &["x"], "y");
    graph.output("y", FLOAT, &["N", &size]).encode()
}

/// An input whose number of elements overflows.
fn overflowing_input() -> Vec<u8> {
    let size = i64::MAX.to_string();
    let graph = Graph::default().input("x", INT64, &["N", &size, &size]).node("Relu", &["x"], "y");
    graph.output("y", INT64, &["N", &size, &size]).encode()
}

/// Branches within branches.
fn nested(depth: usize) -> Vec<u8> {
    let branch = |inner: GraphProto, name: &str| AttributeProto {
        name: name.to_owned(),
        r#type: 5,
        g: Some(inner),
        ..AttributeProto::default()
    };
    let leaf = || Graph::default().floats("leaf", &[1], &[1.0]).output("leaf", FLOAT, &["1"]).0;
    let mut graph = leaf();
    for level in 0..depth {
        let name = format!("c{level}");
        let branches = vec![branch(graph, "then_branch"), branch(leaf(), "else_branch")];
        let outer = Graph::default().node_with("If", &["x"], &name, branches);
        graph = outer.output(&name, FLOAT, &["1"]).0;
    }
    graph = Graph(graph).input("x", 9, &["1"]).0;
    Graph(graph).encode()
}

/// Twelve million empty nodes, two bytes each.
fn empty_nodes() -> Vec<u8> {
    let nodes = [0x0a, 0x00].repeat(12_000_000);
    let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
    let head = ModelProto { ir_version: 8, opset_import: vec![opset], ..ModelProto::default() };
    let mut bytes = head.encode_to_vec();
    bytes.push(7 << 3 | 2);
    prost::encoding::encode_varint(nodes.len() as u64, &mut bytes);
    bytes.extend(nodes);
    bytes
}

/// A chain that is as long as it is pointless.
fn long_chain() -> Vec<u8> {
    let name = |step: usize| format!("h{step}");
    let graph = Graph::default().input("h0", FLOAT, &["N", "1"]);
    let step = |graph: Graph, step: usize| graph.node("Sin", &[&name(step)], &name(step + 1));
    let graph = (0..400_000).fold(graph, step);
    graph.output(&name(400_000), FLOAT, &["N", "1"]).encode()
}

/// The end of a hostile file, as the gateway tells it.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("huge_constant", huge_constant()),
        ("doubling", doubling()),
        ("spread", spread()),
        ("false_claim", false_claim()),
        ("absurd_input", absurd_input()),
        ("overflowing_input", overflowing_input()),
        ("nested_too_deep", nested(300)),
        ("empty_nodes", empty_nodes()),
        ("long_chain", long_chain()),
    ]
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(format!("{name}.onnx"));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn every_hostile_file_is_refused_within_bounds_and_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n".to_owned() + BOUNDS;
    let files = hostile();
    for (name, bytes) in &files {
        let path = write(dir.path(), name, bytes);
        config +=
            &format!("[models.{name}.versions.v1]\nonnx = {:?}\n", path.display().to_string());
    }
    let began = Instant::now();
    let output = run_in(dir.path(), &["run"], &config);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for (name, _) in &files {
        let line = stderr.lines().find(|line| {
            line.contains(&format!("model `{name}/v1` cannot be served"))
                && line.contains(&format!("{name}.onnx"))
        });
        assert!(line.is_some(), "nothing about {name} in {stderr}");
    }
}

#[test]
fn branches_within_reason_are_no_crime() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "nested", &nested(20));
    let path = path.display().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["vet-model", &path, "--file-bytes=1000000", "--memory=1000000000", "--seconds=20"])
        .output()
        .unwrap();
    let verdict = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(verdict.contains("Fit") || verdict.contains("Refused"), "{verdict}");
}

#[test]
fn a_hostile_version_at_run_time_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read(repository("config/models/iris/v1/model.onnx")).unwrap();
    write(dir.path(), "good", &good);
    let second = write(dir.path(), "second", &good);
    let config = format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\" }}\n\
         [models.iris.versions.v1]\nonnx = \"good.onnx\"\n\
         [models.iris.versions.v2]\nonnx = \"second.onnx\"\n{BOUNDS}"
    );
    let gateway = Gateway::start_in(dir, &config);
    let order = |what: &str| {
        let mut client = Client::connect(gateway.admin);
        client.send(&format!(
            "POST /api/v1/models/iris/versions/v2/{what} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
        ));
        client.reply()
    };
    assert_eq!(order("unload").status, 200);
    for (name, bytes) in [("doubling", doubling()), ("long_chain", long_chain())] {
        std::fs::write(&second, bytes).unwrap();
        let refused = order("load");
        assert_eq!(refused.status, 422, "{name}: {}", refused.text());
        assert!(refused.text().contains("second.onnx"), "{}", refused.text());
        assert_eq!(gateway.post("/v2/models/iris/infer", IRIS_BODY).status, 200);
    }
    std::fs::write(&second, &good).unwrap();
    let loaded = order("load");
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    let path = "/v2/models/iris/versions/v2/infer";
    assert_eq!(gateway.post(path, IRIS_BODY).status, 200);
}

/// Descriptors that whoever started the tests hands on to every process.
fn inherited() -> usize {
    let close_on_exec = 0o2_000_000;
    let entries = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let handed_on = entries.filter(|entry| {
        let entry = entry.as_ref().unwrap();
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        number > 2 && flags.is_some_and(|flags| flags & close_on_exec == 0)
    });
    handed_on.count()
}

#[test]
fn the_process_that_looks_first_has_nothing_of_ours_open_and_is_asked_once() {
    let gateway = Gateway::start(&crate::support::iris());
    let vetted = gateway.dir.path().join("data/state/vetted");
    let files = || -> Vec<PathBuf> {
        std::fs::read_dir(&vetted).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let before = files();
    assert_eq!(before.len(), 1);
    let text = std::fs::read_to_string(&before[0]).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = 3 + inherited();
    assert_eq!(entry["verdict"]["descriptors"], expected, "in, out and err: {entry}");
    assert!(entry["verdict"]["memory_peak"].as_u64().unwrap() < 64 << 20, "{entry}");
    let written = std::fs::metadata(&before[0]).unwrap().modified().unwrap();
    let gateway = Gateway::start_in(gateway.stop(), &crate::support::iris());
    let vetted = gateway.dir.path().join("data/state/vetted");
    let again = std::fs::read_dir(vetted).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::metadata(again).unwrap().modified().unwrap(), written);
}
