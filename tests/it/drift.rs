//! Baselines that are made of data and handed over, and what is concluded from traffic against them.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::gateway::command_in;
use crate::support::{Backend, Gateway, repository};

/// How long a minute may take to be closed and judged.
const MINUTE: Duration = Duration::from_secs(90);

/// Numbers around zero with a spread of about one, always the same.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> f64 {
        (0..12)
            .map(|_| {
                self.0 = self
                    .0
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (self.0 >> 11) as f64 / (1_u64 << 53) as f64
            })
            .sum::<f64>()
            - 6.0
    }
}

/// A pipeline's data: 3 000 rows of an age and a country.
fn data(dir: &Path) {
    let mut numbers = Numbers(1);
    let mut rows = String::from("age,country\n");
    for at in 0..3000 {
        let country = if at % 3 == 0 { "fr" } else { "de" };
        rows.push_str(&format!("{},{country}\n", 40.0 + 8.0 * numbers.next()));
    }
    std::fs::write(dir.join("data.csv"), rows).unwrap();
}

fn made(dir: &Path, arguments: &[&str]) -> Value {
    let output = command_in(dir, &[&["baseline"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Sends rows of an age with this mean; the other values are as in the data.
fn send(gateway: &Gateway, count: usize, mean: f64) {
    let mut client = gateway.client();
    let mut numbers = Numbers(2);
    for at in 0..count {
        let country = if at % 3 == 0 { "fr" } else { "de" };
        let age = mean + 8.0 * numbers.next();
        let body = format!(r#"{{"instances":[{{"age":{age},"country":"{country}"}}]}}"#);
        client.send(&post("/v1/models/m:predict", "", &body));
        assert_eq!(client.reply().status, 200);
    }
}

/// The last judgement of the version, once it takes in `judged` windows.
fn judgement(gateway: &Gateway, judged: u64) -> Value {
    let until = Instant::now() + MINUTE;
    loop {
        let shown = gateway.ask("GET", "/api/v1/models/m/versions/v1/drift", "").json();
        if shown["judged"].as_u64() >= Some(judged) {
            return shown;
        }
        assert!(Instant::now() < until, "not judged: {shown}\n{}", gateway.log());
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn feature<'a>(judgement: &'a Value, name: &str) -> &'a Value {
    let features = judgement["features"].as_array().unwrap();
    features.iter().find(|feature| feature["name"] == name).unwrap()
}

/// What the command prints, and what it complains of.
fn drift_command(gateway: &Gateway, backend: &Backend) -> (String, String) {
    // The command finds the gateway by its configuration, and this one has a free port.
    let elsewhere = tempfile::tempdir().unwrap();
    let found = format!(
        "listen = \"127.0.0.1:1\"\nadmin = \"{}\"\ndata_dir = \"data\"\n{}",
        gateway.admin,
        backend.as_model()
    );
    std::fs::write(elsewhere.path().join("pointsman.toml"), found).unwrap();
    let output = command_in(elsewhere.path(), &["drift", "m"]);
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_baseline_of_data_is_handed_over_and_drift_from_it_is_told() {
    let backend = Backend::replying(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\r\n\
         {\"predictions\":[0.5]}",
    );
    let config = format!(
        "{}[monitor.drift]\nwindow = \"minute\"\n[monitor]\ncpu = \"100%\"\n",
        backend.as_model()
    );
    let gateway = Gateway::start(&config);
    let dir = gateway.dir.path();
    data(dir);
    let file = dir.join("data.csv").display().to_string();
    let baseline = made(dir, &["m", "v1", "--data", &file, "--weight", "age=0.9"]);
    assert_eq!((&baseline["n"], &baseline["features"][0]["weight"]), (&json!(3000), &json!(0.9)));
    assert_eq!(baseline["features"][1]["values"], json!(["de", "fr"]));

    let path = "/api/v1/models/m/versions/v1/baseline";
    let refused = |baseline: &Value| {
        let reply = gateway.ask("PUT", path, &baseline.to_string());
        assert_eq!(reply.status, 422, "{}", reply.text());
        reply.text()
    };
    let mut unsorted = baseline.clone();
    unsorted["features"][0]["edges"][3] = json!(-1e6);
    let told = refused(&unsorted);
    assert!(told.contains("`features[0]` (\\\"age\\\"): `edges[3]` is -1000000"), "{told}");
    assert!(refused(&json!([])).contains("the baseline is not understood"));
    let mut other = baseline.clone();
    other["version"] = json!("v0");
    let told = refused(&other);
    assert!(told.contains("of the version `v0`, and this is `v1`"), "{told}");
    let absent = gateway.ask("DELETE", path, "");
    assert_eq!(absent.status, 404, "{}", absent.text());
    assert_eq!(gateway.ask("GET", path, "").status, 404);
    let nowhere = gateway.ask("PUT", "/api/v1/models/m/versions/v9/baseline", "{}");
    assert_eq!(nowhere.status, 404, "{}", nowhere.text());
    let reply = gateway.ask("PUT", path, &baseline.to_string());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let shown = gateway.ask("GET", "/api/v1/models/m/versions/v1/drift", "").json();
    assert_eq!(shown["state"], "insufficient", "{shown}");
    let in_force = gateway.ask("GET", path, "").json();
    assert_eq!(in_force["features"][1]["values"], baseline["features"][1]["values"]);
    assert_eq!(in_force["features"][0]["edges"], baseline["features"][0]["edges"]);

    // A restart keeps what was handed over.
    let gateway = Gateway::start_in(gateway.stop(), &config);
    // All in one minute, so that it is judged by itself.
    while jiff_second() > 50 {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    send(&gateway, 250, 48.0);
    let shown = judgement(&gateway, 1);
    let age = feature(&shown, "age");
    assert_eq!(age["verdict"]["outcome"], "breach", "{shown}");
    assert_eq!((&age["n"], &age["groups"], &age["bins"]), (&json!(250), &json!(10), &json!(60)));
    assert!(age["verdict"]["p"].as_f64().unwrap() < 1e-6);
    assert_eq!(feature(&shown, "country")["verdict"]["outcome"], "pass", "{shown}");
    assert_eq!(shown["roles"]["input"]["outcome"], "breach");
    gateway.metric_is("pointsman_drift_breaches{model=\"m\",version=\"v1\"}", 2.0);
    let (printed, told) = drift_command(&gateway, &backend);
    assert!(printed.contains("age      input  breach"), "{printed}{told}");
    // The state of the verdict is that of the windows that are kept.
    let gateway = Gateway::start_in(gateway.stop(), &config);
    let again = judgement(&gateway, 1);
    assert_eq!(feature(&again, "age")["verdict"], age["verdict"]);
    // It is known from the start, and what was in force can be handed over again.
    let reply = gateway.ask("PUT", path, &in_force.to_string());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let forgotten = gateway.ask("DELETE", path, "");
    assert_eq!(forgotten.status, 200, "{}", forgotten.text());
    assert_eq!(forgotten.json()["baseline"]["state"], "learning");
    assert_eq!(gateway.ask("GET", path, "").status, 404);
    let nothing = gateway.ask("DELETE", path, "");
    assert_eq!(nothing.status, 404, "{}", nothing.text());
}

/// The second of the minute.
fn jiff_second() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() % 60
}

#[test]
fn a_baseline_for_another_artifact_or_with_an_unknown_feature_is_refused() {
    let model = repository("config/models/iris/v1/model.onnx");
    let config = format!("[models.iris.versions.v1]\nonnx = {:?}\n", model.display().to_string());
    let gateway = Gateway::start(&config);
    let refused = |baseline: &Value| {
        let path = "/api/v1/models/iris/versions/v1/baseline";
        let reply = gateway.ask("PUT", path, &baseline.to_string());
        assert_eq!(reply.status, 422, "{}", reply.text());
        reply.text()
    };
    let feature = |name: &str| json!({"name": name, "kind": "numeric", "mass": [1.0]});
    let mut baseline = json!({
        "format": 1, "model": "iris", "version": "v1", "n": 10, "features": [feature("sepal_length")],
        "digest": format!("sha256:{}", "00".repeat(32)),
    });
    let told = refused(&baseline);
    assert!(told.contains("was made for the artifact sha256:0000"), "{told}");
    baseline["digest"] = Value::Null;
    baseline["features"] = json!([feature("petal"), feature("width_of_the_moon")]);
    let told = refused(&baseline);
    assert!(told.contains("which the model does not have"), "{told}");
}

#[test]
fn parquet_and_csv_make_the_same_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let csv = repository("tests/data/stats/columns.csv").display().to_string();
    let parquet = repository("tests/data/stats/columns.parquet").display().to_string();
    let options = ["--score", "p", "--categorical", "code", "--time", "at", "--ignore", "label"];
    let of = |file: &str| {
        let mut baseline = made(dir.path(), &[&["m", "v1", "--data", file][..], &options].concat());
        baseline["created"] = Value::Null;
        baseline
    };
    let (from_csv, from_parquet) = (of(&csv), of(&parquet));
    assert_eq!(from_csv, from_parquet);
    let names: Vec<&str> = from_csv["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["x", "zeros", "code", "country", "flag"]);
    assert_eq!(from_csv["outputs"][0]["edges"].as_array().unwrap().len(), 63);
    assert!(from_csv["features"][0]["missing"].as_f64().unwrap() > 0.01);
    assert!(from_csv["features"][0]["noise"]["psi_q50"].is_number());

    // One field that is no number makes texts of a column, and says so.
    let gaps = dir.path().join("gap.csv").display().to_string();
    std::fs::write(&gaps, "x,y\n1,a\n2,3\nN/A,b\n4,c\n").unwrap();
    let gap = |more: &[&str]| {
        let all = [&["baseline", "m", "v1", "--data", &gaps], more].concat();
        let output = command_in(dir.path(), &all);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        told
    };
    let told = gap(&[]);
    assert!(told.contains("column `x`: 3 of 4 fields are numbers, but \"N/A\" is not"), "{told}");
    assert!(!told.contains("column `y`"), "{told}");
    assert!(!gap(&["--categorical", "x"]).contains("column `x`"));

    let unknown =
        command_in(dir.path(), &["baseline", "m", "v1", "--data", &csv, "--time", "when"]);
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(told.contains("there is no column `when`; there are: at, x, zeros"), "{told}");
}
