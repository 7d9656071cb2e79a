//! Versions at prediction servers against the golden set that the configuration names for them.

use super::*;

/// Rows of the golden set by the sum of their inputs, and whether the truth is yes: all of them are told right by a
/// score of at least a half, of a server that multiplies by one.
const ROWS: [(f64, bool, usize); 4] =
    [(0.2, false, 50), (0.51, true, 3), (0.53, true, 2), (0.9, true, 45)];

/// A golden set of one request of a hundred rows.
fn hundred(with_answers: bool) -> String {
    let rows = ROWS.iter().flat_map(|row| std::iter::repeat_n(row, row.2));
    let inputs: Vec<f64> = rows.clone().flat_map(|(sum, ..)| [*sum, 0.0, 0.0, 0.0]).collect();
    let labels: Vec<bool> = rows.clone().map(|(_, truth, _)| *truth).collect();
    let mut case = json!({
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [100, 4], "data": inputs }],
        "labels": labels,
    });
    if with_answers {
        let sums: Vec<f64> = rows.map(|(sum, ..)| *sum).collect();
        let y = json!({ "name": "y", "datatype": "FP32", "shape": [100, 1], "data": sums });
        case["outputs"] = json!([y]);
    }
    case.to_string()
}

/// A gateway whose model has a golden set, and whose trials on copies do not end.
fn store(golden: &str) -> Store {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("models")).unwrap();
    std::fs::write(dir.path().join("truths.jsonl"), golden).unwrap();
    let more = "
[discovery.register]
lease = \"10m\"
[models.m.release]
golden  = \"truths.jsonl\"
between = \"0s\"
shadow  = { pairs = 1000000 }
";
    Store::start_in(dir, more)
}

/// A prediction server that has registered itself.
fn server(store: &Store, version: &'static str, factor: f64) -> Server {
    let server = Server::start(version, factor);
    let reply = store.order("registrations", &server.entry());
    assert_eq!(reply.status, 201, "{}", reply.text());
    server
}

#[test]
fn a_server_five_points_worse_is_stopped_and_one_that_cannot_be_told_waits_for_an_approval() {
    let store = store(&hundred(false));
    let _first = server(&store, "v1", 1.0);
    // Truths alone prove no first version.
    store.approve_first();

    let _worse = server(&store, "v2", 0.9);
    let stopped = store.wait_for("v2", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("golden metric: accuracy 0.9500 against the champion's 1.0000"), "{why}");

    let _undecided = server(&store, "v3", 0.97);
    let waits =
        "an operator's approval of golden metric: accuracy 0.9700 against the champion's 1.0000";
    store.wait_for_words("v3", waits);
    store.ordered("models/m/versions/v3/approve");
    store.wait_for("v3", "shadow");

    let _as_good = server(&store, "v4", 1.01);
    store.wait_for("v4", "shadow");
    let of = |outcome: &str| {
        format!("pointsman_admission_checks_total{{check=\"golden_metric\",outcome=\"{outcome}\"}}")
    };
    store.gateway.metric_reaches(&of("passed"), 1.0);
    store.gateway.metric_reaches(&of("needs_approval"), 1.0);
}

#[test]
fn recorded_answers_prove_the_first_server_and_stop_one_that_answers_otherwise() {
    let store = store(&hundred(true));
    let _first = server(&store, "v1", 1.0);
    store.wait_for("v1", "live");
    assert_eq!(store.predict().0, 200);
    let _other = server(&store, "v2", 1.3);
    let stopped = store.wait_for("v2", "quarantined");
    let why = stopped["why"].as_str().unwrap();
    assert!(why.contains("golden answers: 1 of 1 recorded answers do not come out again"), "{why}");
}
