//! Labels through the real gateway: late, out of order, doubled, corrected and taken back; the quality that the admin
//! listener tells is scikit-learn's to the last digit (`tests/data/stats/quality.json`), also after SIGKILL.

use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::gateway::command_in;
use crate::support::{Backend, Client, Gateway, Reply, eventually};

const NDJSON: &str = "content-type: application/x-ndjson\r\n";

fn config(backend: &Backend) -> String {
    format!(
        "{}[models.m.log]\ndurability = \"os\"\nheaders = [\"x-region\"]\nfeedback_key = \"header:x-order\"\n\
         [models.m.labels]\nclasses = [\"no\", \"yes\"]\npositive = \"yes\"\npredicted = \"/class\"\n\
         probabilities = \"/p\"\nslice = \"header:x-region\"\n",
        backend.as_model()
    )
}

/// A row of the fixture: truth, prediction, score as a text.
struct Row {
    truth: u64,
    predicted: u64,
    score: String,
}

/// The rows of a case, and what scikit-learn says about them.
fn fixture() -> (Vec<Row>, Value) {
    let text = include_str!("../data/stats/quality.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let case = golden["binary"][0].clone();
    let row = |row: &Value| Row {
        truth: row[0].as_u64().unwrap(),
        predicted: row[1].as_u64().unwrap(),
        score: row[2].as_str().unwrap().to_owned(),
    };
    (case["rows"].as_array().unwrap().iter().map(row).collect(), case)
}

fn name(class: u64) -> &'static str {
    if class == 1 { "yes" } else { "no" }
}

fn quality(gateway: &Gateway, query: &str) -> Reply {
    let mut client = Client::connect(gateway.admin);
    let path = format!("/api/v1/models/m/versions/v1/quality{query}");
    client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
    client.reply()
}

/// Waits until so many predictions have a label and the log is read to its end.
fn labelled(gateway: &Gateway, count: u64) -> String {
    eventually("the labels are joined", || {
        let reply = quality(gateway, "");
        let found = (reply.status == 200).then(|| reply.json())?;
        let written = gateway.metric("pointsman_log_written_lsn");
        let is_done = found["whole"]["labelled"] == count
            && found["complete"] == true
            && found["lsn"].as_f64() >= Some(written);
        is_done.then(|| reply.text())
    })
}

/// The digits of a number of the whole: no reader in between rounds them.
fn digits<'a>(text: &'a str, metric: &str, field: &str) -> &'a str {
    let whole = text.split_once("\"whole\":").unwrap().1;
    let part = whole.split_once(&format!("\"{metric}\":{{")).unwrap().1;
    let part = part.split_once(&format!("\"{field}\":")).unwrap().1;
    part.split([',', '}']).next().unwrap()
}

fn agrees_with_scikit_learn(text: &str, case: &Value) {
    for part in ["counts", "exact"] {
        for (metric, wanted) in case[part].as_object().unwrap() {
            let found: f64 = digits(text, metric, "value").parse().unwrap();
            let wanted: f64 = wanted.as_str().unwrap().parse().unwrap();
            assert_eq!(found.to_bits(), wanted.to_bits(), "{metric}: {found} is not {wanted}");
        }
    }
    for (metric, wanted) in case["areas"].as_object().unwrap() {
        let bound = |field| digits(text, metric, field).parse::<f64>().unwrap();
        let wanted: f64 = wanted.as_str().unwrap().parse().unwrap();
        assert!(bound("lower") <= wanted && wanted <= bound("upper"), "{metric}: {wanted}");
    }
}

/// Makes the predictions of the fixture; returns their ids.
fn predict(gateway: &Gateway, rows: &[Row]) -> Vec<String> {
    let mut ids = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let body = format!("{{\"class\":{},\"p\":{}}}", row.predicted, row.score);
        let region = ["north", "south"][n % 2];
        let headers = format!("x-request-id: r-{n}\r\nx-order: o-{n}\r\nx-region: {region}\r\n");
        let reply = gateway.request(&post("/v2/models/m/infer", &headers, &body));
        assert_eq!(reply.status, 200, "{}", reply.text());
        ids.push(reply.header("x-prediction-id").unwrap().to_owned());
    }
    ids
}

/// The target of statement about prediction `n`: its id, its request's, or its key, in turn.
fn target(n: usize, id: &str) -> Value {
    match n % 3 {
        0 => json!({ "prediction_id": id }),
        1 => json!({ "request_id": format!("r-{n}") }),
        _ => json!({ "feedback_key": format!("o-{n}") }),
    }
}

fn line(mut target: Value, more: Value) -> String {
    let (Value::Object(target), Value::Object(more)) = (&mut target, more) else { unreachable!() };
    target.extend(more);
    format!("{}\n", json!(target))
}

/// What labels have said, in a report.
fn whole(report: &str) -> (Value, Value, Value) {
    let report: Value = serde_json::from_str(report).unwrap();
    (report["whole"].clone(), report["confusion"].clone(), report["estimated"].clone())
}

/// A stop keeps a checkpoint; after the next crash the log is read on from there, with what came since: the label of
/// `row`, which was wrong, is right again, and so is the report.
fn goes_on_from_a_checkpoint(
    gateway: Gateway,
    backend: &Backend,
    row: &Row,
    (id, before): (&str, &str),
) {
    let (all, case) = fixture();
    let labels = all.len() as u64;
    let gateway = Gateway::start_in(gateway.stop(), &config(backend));
    let resumed = |text: &str| {
        let report: Value = serde_json::from_str(text).unwrap();
        report["resumed_after_lsn"].as_u64().unwrap()
    };
    let stopped = labelled(&gateway, labels);
    assert!(resumed(&stopped) > 400, "{}", resumed(&stopped));
    let right = json!({ "prediction_id": id, "label": name(row.truth), "id": "later" });
    assert_eq!(gateway.post("/v1/feedback", &right.to_string()).json()["status"], "replaced");
    let gateway = Gateway::start_in(gateway.kill(), &config(backend));
    let last = eventually("the correction of the correction is read", || {
        let text = labelled(&gateway, labels);
        (whole(&text) == whole(before)).then_some(text)
    });
    agrees_with_scikit_learn(&last, &case);
    assert_eq!(
        resumed(&last),
        resumed(&stopped),
        "the checkpoint of the stop, and what came after it"
    );
    gateway.stop();
}

#[test]
fn late_doubled_and_corrected_labels_give_the_quality_of_scikit_learn_and_survive_sigkill() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config(&backend));
    let (rows, case) = fixture();
    // The first label is there before its prediction.
    let early = json!({ "feedback_key": "o-0", "label": name(rows[0].truth) });
    assert_eq!(gateway.post("/v1/feedback", &early.to_string()).json()["status"], "pending");
    let ids = predict(&gateway, &rows);
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (n, row) in rows.iter().enumerate().skip(1) {
        let about = || target(n, &ids[n]);
        if n % 5 == 0 {
            // Wrong at first.
            lines.push((n, line(about(), json!({ "label": name(1 - row.truth) }))));
        }
        let right = line(about(), json!({ "label": name(row.truth) }));
        lines.push((n, right.clone()));
        if n % 7 == 0 {
            lines.push((n, right));
        }
        if n % 11 == 0 {
            // Taken back, and said again under an id of its own.
            lines.push((n, line(about(), json!({ "retract": true }))));
            let again = json!({ "label": name(row.truth), "id": format!("again-{n}") });
            lines.push((n, line(about(), again)));
        }
    }
    // The order of predictions is not that of their labels; that of the statements about one is kept.
    let (odd, even): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.0 % 2 == 1);
    let lines: Vec<String> = even.into_iter().chain(odd).map(|line| line.1).collect();
    for part in lines.chunks(100) {
        let mut body = part.concat();
        body.push_str("{broken\n{\"feedback_key\":\"nobody's\",\"label\":\"yes\"}\n");
        for _ in 0..2 {
            let reply = gateway.request(&post("/v1/feedback", NDJSON, &body));
            assert_eq!(reply.status, 200, "{}", reply.text());
            let text = reply.text();
            let last = text.lines().rev().nth(1).unwrap();
            assert!(last.contains("invalid"), "the malformed line has its own answer: {last}");
        }
    }
    let text = labelled(&gateway, rows.len() as u64);
    agrees_with_scikit_learn(&text, &case);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["whole"]["coverage"], 1.0);
    assert_eq!(report["slices"], json!(["north", "south"]));
    let south = quality(&gateway, "?slice=south&window=day").json();
    assert_eq!(south["whole"]["n"], rows.len() as u64 / 2);
    gateway.metric_reaches("pointsman_labels_total{model=\"m\",status=\"joined\"}", 400.0);
    assert_eq!(gateway.metric("pointsman_labels_waiting"), 1.0, "nobody's");
    let accuracy =
        gateway.metric("pointsman_quality{model=\"m\",version=\"v1\",metric=\"accuracy\"}");
    assert!((accuracy - digits(&text, "accuracy", "value").parse::<f64>().unwrap()).abs() < 1e-12);

    assert_eq!(report["resumed_after_lsn"], 0, "there was nothing to go on from");
    let gateway = Gateway::start_in(gateway.kill(), &config(&backend));
    let again = labelled(&gateway, rows.len() as u64);
    agrees_with_scikit_learn(&again, &case);
    assert_eq!(whole(&text), whole(&again), "the same after SIGKILL");
    // And it goes on: one label is corrected.
    let wrong = name(1 - rows[3].truth);
    let corrected = json!({ "prediction_id": ids[3], "label": wrong, "id": "late" });
    assert_eq!(gateway.post("/v1/feedback", &corrected.to_string()).json()["status"], "replaced");
    eventually("the correction is counted", || {
        let report = quality(&gateway, "").json();
        (report["labels"]["replaced"].as_u64()
            > serde_json::from_str::<Value>(&again).unwrap()["labels"]["replaced"].as_u64())
        .then_some(())
    });
    goes_on_from_a_checkpoint(gateway, &backend, &rows[3], (ids[3].as_str(), again.as_str()));
}

/// Batches in binary tensors over gzip, proxied: each row has a label of its own.
#[test]
fn rows_of_a_batch_in_binary_tensors_have_labels_of_their_own() {
    let head = r#"{"model_name":"m","outputs":[{"name":"p","datatype":"FP32","shape":[2,2],"parameters":{"binary_data_size":16}}]}"#;
    let backend = Backend::script(move |connection| {
        while connection.request().is_some() {
            let mut body = head.as_bytes().to_vec();
            body.extend([0.75f32, 0.25, 0.125, 0.875].iter().flat_map(|p| p.to_le_bytes()));
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, &body).unwrap();
            let body = gzip.finish().unwrap();
            connection.send(&format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-encoding: gzip\r\n\
                 inference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n",
                head.len(),
                body.len()
            ));
            connection.send_bytes(&body);
        }
    });
    let gateway = Gateway::start(&format!(
        "{}[models.m.log]\ndurability = \"os\"\n[models.m.labels]\nclasses = [\"no\", \"yes\"]\npositive = \"yes\"\n",
        backend.as_model()
    ));
    let body = r#"{"inputs":[{"name":"x","shape":[2,1],"datatype":"FP32","data":[1,2]}]}"#;
    let reply = gateway.request(&post("/v2/models/m/infer", "accept-encoding: gzip\r\n", body));
    let id = reply.header("x-prediction-id").unwrap().to_owned();
    let whole = json!({ "prediction_id": id, "label": "yes" });
    assert_eq!(gateway.post("/v1/feedback", &whole.to_string()).json()["status"], "accepted");
    let rows = json!({ "prediction_id": id, "label": ["yes", "yes"] });
    assert_eq!(gateway.post("/v1/feedback", &rows.to_string()).json()["status"], "replaced");
    let report = eventually("both rows are joined", || {
        let reply = quality(&gateway, "");
        let report = (reply.status == 200).then(|| reply.json())?;
        (report["whole"]["labelled"] == 2).then_some(report)
    });
    assert_eq!(
        report["labels"],
        json!({ "joined": 1, "invalid": 1 }),
        "one label is none for two rows"
    );
    assert_eq!(report["whole"]["predictions"], 2);
    assert_eq!(report["whole"]["metrics"]["accuracy"]["value"], 0.5);
    gateway.stop();
}

/// More feedback than is kept for predictions that may still come: each item is answered, what is too much is counted, and
/// labels of predictions that there are go on being joined.
#[test]
fn a_flood_of_feedback_is_answered_counted_and_bounded() {
    const REQUESTS: usize = 7;
    const ITEMS: usize = 10_000;
    let backend = Backend::echo();
    let gateway = Gateway::start(&config(&backend));
    let (rows, _) = fixture();
    let ids = predict(&gateway, &rows[..1]);
    let item = |n: usize| json!({ "feedback_key": format!("nobody's {n}"), "label": "yes" });
    for request in 0..REQUESTS {
        let lines: String =
            (0..ITEMS).map(|n| format!("{}\n", item(request * ITEMS + n))).collect();
        let reply = gateway.request(&post("/v1/feedback", NDJSON, &lines));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let text = reply.text();
        assert_eq!(text.lines().filter(|line| line.contains("pending")).count(), ITEMS);
    }
    let more: Value = (0..=ITEMS).map(item).collect::<Vec<_>>().into();
    let reply = gateway.post("/v1/feedback", &more.to_string());
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("send them in several requests"), "{}", reply.text());
    let large = json!({ "feedback_key": "k", "label": "x".repeat(9 << 20) }).to_string();
    assert_eq!(gateway.post("/v1/feedback", &large).status, 413);

    let label = json!({ "prediction_id": ids[0], "label": "yes" });
    assert_eq!(gateway.post("/v1/feedback", &label.to_string()).json()["status"], "accepted");
    labelled(&gateway, 1);
    let waiting = gateway.metric("pointsman_labels_waiting");
    let unmatched = gateway.metric("pointsman_labels_unmatched_total");
    assert!((1000.0..=50_001.0).contains(&waiting), "{waiting}");
    assert_eq!(waiting + unmatched, (REQUESTS * ITEMS) as f64, "each is counted");
    let (bytes, most) = (
        gateway.metric("pointsman_labels_memory_bytes"),
        gateway.metric("pointsman_labels_memory_limit_bytes"),
    );
    assert!(bytes <= most, "{bytes} of {most}");
    gateway.stop();
}

#[test]
fn questions_about_quality_have_clear_answers() {
    let backend = Backend::echo();
    let gateway = Gateway::start(&config(&backend));
    let refused = |query: &str, status: u16, words: &str| {
        let reply = quality(&gateway, query);
        assert_eq!(reply.status, status, "{}", reply.text());
        assert!(reply.text().contains(words), "{}", reply.text());
    };
    refused("", 404, "no prediction of `m/v1` is known");
    let ids = predict(&gateway, &fixture().0[..4]);
    let body = json!({ "prediction_id": ids[0], "label": "no class" });
    assert_eq!(gateway.post("/v1/feedback", &body.to_string()).json()["status"], "accepted");
    eventually("the label is looked at", || {
        (quality(&gateway, "").json()["labels"]["invalid"] == 1).then_some(())
    });
    let report = quality(&gateway, "?window=minute").json();
    assert_eq!(
        (&report["whole"]["n"], &report["whole"]["state"]),
        (&json!(0), &json!("insufficient"))
    );
    let windows = report["series"].as_array().unwrap();
    let predictions: u64 = windows.iter().map(|one| one["predictions"].as_u64().unwrap()).sum();
    assert_eq!(predictions, 4);
    assert!(report["estimated"]["accuracy"]["value"].is_number());
    assert!(report["estimated"]["calibration"].as_str().unwrap().starts_with("none"));
    // The baseline's calibration: whatever the score, it comes true in one of four.
    let baseline = json!({
        "format": 1, "model": "m", "version": "v1", "n": 5000,
        "features": [{ "name": "p", "kind": "numeric", "edges": [0.5], "mass": [0.5, 0.5] }],
        "outputs": [],
        "calibration": { "method": "isotonic", "x": [0.0, 1.0], "y": [0.25, 0.25] },
    })
    .to_string();
    let mut client = Client::connect(gateway.admin);
    client.send(&format!(
        "PUT /api/v1/models/m/versions/v1/baseline HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{baseline}",
        baseline.len()
    ));
    let reply = client.reply();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let report = quality(&gateway, "").json();
    assert_eq!(report["estimated"]["calibration"], "baseline");
    let accuracy = report["estimated"]["accuracy"]["value"].as_f64().unwrap();
    let yes =
        fixture().0[..4].iter().filter(|row| row.score.parse::<f64>().unwrap() >= 0.5).count();
    assert!((accuracy - (0.25 * yes as f64 + 0.75 * (4 - yes) as f64) / 4.0).abs() < 1e-9);
    let elsewhere = tempfile::tempdir().unwrap();
    let file = format!(
        "listen = \"127.0.0.1:1\"\nadmin = \"{}\"\ndata_dir = \"data\"\n{}",
        gateway.admin,
        config(&backend)
    );
    std::fs::write(elsewhere.path().join("pointsman.toml"), file).unwrap();
    let output = command_in(elsewhere.path(), &["quality", "m", "v1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("4 predictions, 0 of them labelled"), "{text}");
    assert!(
        text.contains("estimated: from the scores alone") && text.contains("calibration: baseline"),
        "{text}"
    );
    refused("?window=week", 400, "minute, hour or day");
    refused("?slice=west", 404, "north, south");
    refused("?slice=north&window=minute", 400, "hour");
    refused("?control=v9", 404, "m/v9");
    let control = quality(&gateway, "?control=v1").json();
    assert_eq!(control["comparison"]["state"], "insufficient");
    gateway.stop();
}
