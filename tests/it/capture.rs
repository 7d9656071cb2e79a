//! What a record holds of an exchange, what it never holds, and what the client is told about it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::client::post;
use crate::support::gateway::records;
use crate::support::{Backend, Gateway, IRIS_BODY, iris, nobody};

/// The record of the request with this id.
fn record<'a>(records: &'a [Value], request_id: &str) -> &'a Value {
    let mut found = records.iter().filter(|row| row["request_id"] == request_id);
    let first = found.next().unwrap_or_else(|| panic!("no record of {request_id}"));
    assert!(found.next().is_none(), "{request_id} stands twice");
    first
}

fn infer(model: &str, id: &str, headers: &str, body: &str) -> String {
    post(&format!("/v2/models/{model}/infer"), &format!("x-request-id: {id}\r\n{headers}"), body)
}

/// A model of this name at the backend, with a recording of its own.
fn model(name: &str, backend: &Backend, log: &str) -> String {
    let address = backend.address;
    format!(
        "[models.{name}.versions.v1]\nbackends = [\"http://{address}\"]\n[models.{name}.log]\n{log}\n"
    )
}

const ZERO: &str = "00000000000000000000000000000000";

#[test]
fn each_model_and_route_is_recorded_as_it_says() {
    let backend = Backend::echo();
    let mut config = "[log]\nheaders = [\"x-a\"]\nopt_out = true\n".to_owned();
    config += &model("full", &backend, "body_limit = \"4B\"");
    config += &model("head", &backend, "body = \"head\"\nhead = \"3B\"\nheaders = [\"x-b\"]");
    config += &model("hash", &backend, "body = \"hash\"\nopt_out = false");
    config += &model("none", &backend, "body = \"none\"");
    config += "[routes.r]\npath = \"/v2/models/none/infer\"\nheaders = { x-route = \"1\" }\n\
               model = \"none\"\n[routes.r.log]\nbody = \"full\"\n";
    let gateway = Gateway::start(&config);
    for name in ["full", "head", "hash", "none"] {
        gateway.request(&infer(name, name, "x-a: 1\r\nx-b: 2\r\n", "hello"));
    }
    gateway.request(&infer("none", "route", "x-route: 1\r\n", "hello"));
    gateway.request(&infer("head", "out", "x-pointsman-log: none\r\n", "hello"));
    gateway.request(&infer("hash", "refused-out", "x-pointsman-log: none\r\n", "hello"));
    let records = records(gateway.stop().path());
    let side = |id: &str| {
        let row = record(&records, id);
        assert_eq!(row["req_bytes"], 5, "{id}: the length is always there");
        assert_eq!((&row["req_chunks"], &row["resp_chunks"]), (&json!(1), &json!(1)), "{id}");
        for name in ["body", "omission", "hash"] {
            assert_eq!(row[format!("req_{name}")], row[format!("resp_{name}")], "{id}: {name}");
        }
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("req_body"), text("req_omission"), row["req_hash"] != ZERO)
    };
    let expected = |body: &str, omission: &str, hash| (body.to_owned(), omission.to_owned(), hash);
    assert_eq!(side("full"), expected("hell", "size", true));
    assert_eq!(side("head"), expected("hel", "policy", true));
    assert_eq!(side("hash"), expected("", "policy", true));
    assert_eq!(side("none"), expected("", "policy", false));
    assert_eq!(side("route"), expected("hello", "", true));
    assert_eq!(side("out"), expected("", "opt_out", false));
    assert_eq!(side("refused-out"), expected("", "policy", true), "not every model allows it");
    assert_eq!(record(&records, "full")["req_headers"], json!({ "x-a": "1" }));
    assert_eq!(record(&records, "head")["req_headers"], json!({ "x-b": "2" }));
}

#[test]
fn responses_say_their_durability_and_one_model_may_go_unrecorded() {
    let backend = Backend::echo();
    let mut config = "[log]\ndurability = \"async\"\n".to_owned();
    for mode in ["off", "async", "os", "sync"] {
        config += &model(mode, &backend, &format!("durability = \"{mode}\""));
    }
    let gateway = Gateway::start(&config);
    for mode in ["off", "async", "os", "sync"] {
        let reply = gateway.request(&infer(mode, mode, "", "x"));
        assert_eq!(reply.header("x-pointsman-durability"), Some(mode));
    }
    let refused = gateway.request(&infer("nobody", "refused", "", "x"));
    assert_eq!((refused.status, refused.header("x-pointsman-durability")), (404, Some("async")));
    let mut client = gateway.client();
    client.send("GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.reply().header("x-pointsman-durability"), None, "that is no prediction");
    let records = records(gateway.stop().path());
    assert_eq!(records.len(), 4);
    for mode in ["async", "os", "sync"] {
        assert_eq!(record(&records, mode)["durability"], mode);
    }
}

#[test]
fn one_model_is_recorded_while_the_log_is_off() {
    let backend = Backend::echo();
    let config = "[log]\ndurability = \"off\"\n".to_owned()
        + &model("kept", &backend, "durability = \"os\"")
        + &model("not", &backend, "");
    let gateway = Gateway::start(&config);
    gateway.request(&infer("kept", "kept", "", "x"));
    gateway.request(&infer("not", "not", "", "x"));
    let records = records(gateway.stop().path());
    assert_eq!(records.len(), 1);
    record(&records, "kept");
}

#[test]
fn a_sample_keeps_its_share_and_all_that_went_wrong_or_has_a_key() {
    let backend = Backend::echo();
    let gateway =
        Gateway::start(&model("m", &backend, "sample = 0.25\nfeedback_key = \"header:x-key\""));
    let mut client = gateway.client();
    for n in 0..400 {
        client.send(&infer("m", &format!("n{n}"), "", "x"));
        let reply = client.reply();
        assert_eq!((reply.status, reply.header("x-pointsman-durability")), (200, Some("async")));
    }
    for n in 0..5 {
        client.send(&infer("m", &format!("k{n}"), &format!("x-key: key-{n}\r\n"), "x"));
        client.reply();
        let pin = "x-pointsman-version: v9\r\n";
        client.send(&infer("m", &format!("e{n}"), pin, "x"));
        client.reply();
    }
    let left_out = gateway.metric("pointsman_log_sampled_out_total");
    let records = records(gateway.stop().path());
    let of = |letter: char| {
        let starts = move |row: &&Value| row["request_id"].as_str().unwrap().starts_with(letter);
        records.iter().filter(starts).collect::<Vec<_>>()
    };
    let drawn = of('n');
    assert!((50..150).contains(&drawn.len()), "{} of 400", drawn.len());
    assert_eq!(drawn.len() as f64 + left_out, 400.0, "the rest is counted");
    assert!(drawn.iter().all(|row| row["sample_rate"] == 0.25));
    for certain in [of('k'), of('e')] {
        assert_eq!(certain.len(), 5);
        assert!(certain.iter().all(|row| row["sample_rate"] == 1.0));
    }
    assert_eq!(of('k')[0]["feedback_key"], "key-0");
}

#[test]
fn join_keys_come_from_headers_and_bodies_and_are_redacted_with_them() {
    let backend = Backend::echo();
    let gateway = Gateway::start(
        &(model("m", &backend, "feedback_key = \"request:/id\"\nsession = \"response:/o/s\"")
            + &model(
                "r",
                &backend,
                "feedback_key = \"header:x-key\"\nsession = \"request:/id\"\n\
                 redact = { mask = [\"/id\"] }",
            )),
    );
    let body = r#"{"id":"order-7","o":{"s":42}}"#;
    gateway.request(&infer("m", "plain", "x-pointsman-replay: run-1\r\n", body));
    gateway.request(&infer("m", "broken", "", r#"{"id":"order-7""#));
    gateway.request(&infer("m", "long", "", &json!({ "id": "x".repeat(257) }).to_string()));
    gateway.request(&infer("r", "masked", "x-key: k-1\r\n", body));
    let records = records(gateway.stop().path());
    let keys = |id: &str| {
        let row = record(&records, id);
        (row["feedback_key"].as_str().unwrap_or(""), row["session"].as_str().unwrap_or(""))
    };
    assert_eq!(keys("plain"), ("order-7", "42"));
    assert_eq!(keys("broken"), ("", ""));
    assert_eq!(keys("long"), ("", ""));
    assert_eq!(keys("masked"), ("k-1", "***"));
    assert_eq!(record(&records, "plain")["replayed"], true);
    assert_eq!(record(&records, "long")["replayed"], false);
    assert_eq!(record(&records, "plain")["clock_stepped"], false);
}

#[test]
fn predictions_in_this_process_say_how_many_they_are() {
    let gateway = Gateway::start(&iris());
    gateway.request(&infer("iris", "one", "", IRIS_BODY));
    let two =
        r#"{"inputs":[{"name":"input","shape":[2,4],"datatype":"FP32","data":[1,2,3,4,5,6,7,8]}]}"#;
    gateway.request(&infer("iris", "two", "", two));
    gateway.request(&infer("iris", "bad", "", "{}"));
    let records = records(gateway.stop().path());
    assert_eq!(record(&records, "one")["batch_size"], 1);
    assert_eq!(record(&records, "two")["batch_size"], 2);
    assert_eq!(record(&records, "bad")["batch_size"], Value::Null);
}

#[test]
fn an_attempt_that_failed_is_a_row_of_its_own() {
    let (nobody, backend) = (nobody(), Backend::echo());
    let config = format!(
        "[models.m.versions.v1]\nbackends = [\"http://{}\", \"http://{}\"]\n",
        nobody.address, backend.address
    );
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.request(&infer("m", "r", "", "hello")).status, 200);
    let records = records(gateway.stop().path());
    let of = |kind: &str| records.iter().filter(|row| row["kind"] == kind).collect::<Vec<_>>();
    let (retries, own) = (of("retry"), of("inference"));
    assert_eq!((retries.len(), own.len()), (1, 1), "{records:#?}");
    let retry = retries[0];
    let parent = own[0];
    assert_eq!(parent["record_id"], retry["parent_record_id"]);
    assert_eq!(parent["request_id"], retry["request_id"]);
    assert_eq!((&parent["attempt"], &retry["attempt"]), (&json!(2), &json!(1)));
    assert_eq!(retry["backend"], format!("http://{dead}"));
    assert_eq!((&retry["outcome"], &retry["status"]), (&json!("upstream_error"), &json!(0)));
    assert_eq!(retry["error_code"], "upstream_connect");
    assert_eq!((&retry["req_bytes"], &retry["req_omission"]), (&json!(5), &json!("policy")));
    assert_eq!(retry["req_hash"], parent["req_hash"]);
    assert_eq!((&parent["outcome"], &parent["status"]), (&json!("ok"), &json!(200)));
}

#[test]
fn an_answer_whose_record_is_lost_is_not_given() {
    // Deleting the directory of a running gateway makes its next segment fail.
    let backend = Backend::script(|connection| {
        while let Some(request) = connection.request() {
            if request.line().contains("/stream/") {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                connection.send(&format!("{head}5\r\nhello\r\n0\r\n\r\n"));
            } else {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
            }
        }
    });
    for (name, streams) in [("whole", false), ("stream", true)] {
        let log = "[log]\ndurability = \"os\"\nsegment = \"1MiB\"\nblock = \"10ms\"\n";
        let gateway = Gateway::start(&(model(name, &backend, "") + log));
        std::fs::remove_dir_all(gateway.dir.path().join("data/log")).unwrap();
        let body = "x".repeat(60_000);
        let lost = (0..60).map(|_| gateway.request(&infer(name, "x", "", &body))).find(|reply| {
            assert!(reply.status == 503 || reply.cut || reply.text() == "hello");
            reply.status == 503 || reply.cut
        });
        let lost = lost.expect("the log fails at its next segment");
        if streams {
            assert_eq!((lost.status, lost.cut), (200, true), "cut before its end");
            assert_eq!(lost.text(), "hello");
        } else {
            assert_eq!((lost.status, lost.error()), (503, "record_lost"));
            assert_eq!(lost.header("x-pointsman-durability"), Some("off"));
        }
        gateway.metric_reaches("pointsman_errors_total{reason=\"record_lost\"}", 1.0);
        let full = gateway.request(&infer(name, "x", "", &body));
        assert_eq!((full.status, full.error()), (503, "log_full"), "it is known to fail now");
        let before = backend.seen().len();
        gateway.request(&infer(name, "x", "", &body));
        assert_eq!(backend.seen().len(), before, "the backend is not asked for nothing");
    }
}

/// What must not be found. Long enough that no encoding of it appears by chance.
const SECRET: &str = "hunter2/Grüße-7f3a";

/// The secret as it might be stored.
fn encodings(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    let escaped: String = secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let ascii: String = secret
        .chars()
        .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) })
        .collect();
    let mut all = vec![
        ("plain", bytes.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
        ("percent", percent.into_bytes()),
        ("escaped", escaped.into_bytes()),
        ("escaped where not ASCII", ascii.into_bytes()),
        ("slash escaped", secret.replace('/', "\\/").into_bytes()),
        ("UTF-16LE", secret.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16BE", secret.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ("reversed", bytes.iter().rev().copied().collect()),
    ];
    // At each of the three places that a byte can have in a group, without what mixes with others.
    for skip in 0..3 {
        let part = bytes.get(skip..).unwrap();
        let part = &part[..part.len() / 3 * 3];
        all.push(("base64", STANDARD_NO_PAD.encode(part).into_bytes()));
        all.push(("base64url", URL_SAFE_NO_PAD.encode(part).into_bytes()));
    }
    all
}

/// Every file below `dir`.
fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn a_redacted_secret_is_nowhere_below_the_data_directory() {
    let events = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
         {0:x}\r\n{1}\r\n0\r\n\r\n",
        format!("data: {{\"secret\":\"{SECRET}\"}}\n\ndata: [DONE]\n\n").len(),
        format_args!("data: {{\"secret\":\"{SECRET}\"}}\n\ndata: [DONE]\n\n"),
    );
    let events: &'static str = Box::leak(events.into_boxed_str());
    let (echo, streaming) = (Backend::echo(), Backend::replying(events));
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&key, "the key of the hashes").unwrap();
    let redact = &format!(
        "redact = {{ drop = [\"/secret\", \"/nested/*/*/secret\"], mask = [\"/list/1\", \"/inputs/*/datatype\"], \
         hash = [\"/id\"], key = \"${{file:{}}}\" }}",
        key.path().display()
    );
    let local = format!("{}[models.iris.log]\n{redact}\nbody_limit = \"1KiB\"\n", iris());
    let config = local + &model("m", &echo, redact) + &model("sse", &streaming, redact);
    let gateway = Gateway::start(&config);
    let mut sent = 0;
    let mut send = |model: &str, id: &str, headers: &str, body: &[u8]| {
        let mut client = gateway.client();
        let length = body.len();
        let head = format!(
            "POST /v2/models/{model}/infer HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\n{headers}\
             content-length: {length}\r\n\r\n"
        );
        client.send(&head);
        client.send_bytes(body);
        sent += 1;
        client.reply()
    };
    let escaped: String = SECRET.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let json = format!(
        r#"{{"secret":"{SECRET}","s\u0065cret":"{escaped}","nested":[[{{"secret":["{SECRET}"]}}]],"list":[1,"{SECRET}"],"id":"{SECRET}","kept":1.50}}"#
    );
    assert!(send("m", "json", "", json.as_bytes()).text().contains(SECRET), "it is passed on");
    send("m", "header", &format!("authorization: {SECRET}\r\n"), br#"{"a":1}"#);
    send("m", "not-json", "", SECRET.as_bytes());
    send("m", "cut", "", &json.as_bytes()[..json.len() - 1]);
    send("m", "encoded", "content-encoding: gzip\r\n", json.as_bytes());
    let utf16: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    send("m", "utf16", "", &utf16);
    let padded = format!("{{\"secret\":\"{SECRET}\",\"pad\":\"{}\"}}", "x".repeat(300_000));
    send("m", "long", "", padded.as_bytes());
    send("mistyped", "mistyped", "", json.as_bytes());
    assert!(send("sse", "sse", "", b"{}").text().contains(SECRET));
    let input = IRIS_BODY.replace("FP32", SECRET);
    let quoted = send("iris", "quoted", "", input.as_bytes());
    assert_eq!(quoted.status, 400);
    assert!(quoted.text().contains(SECRET), "the client is told: {}", quoted.text());

    let dir = gateway.stop();
    let records = records(dir.path());
    assert_eq!(records.len(), sent);
    let omission = |id: &str| record(&records, id)["req_omission"].clone();
    for id in ["not-json", "cut", "encoded", "utf16", "long", "mistyped"] {
        assert_eq!(omission(id), "unredactable", "{id}");
        assert_eq!(record(&records, id)["req_hash"], ZERO, "{id}");
        assert_eq!(record(&records, id)["req_body"].as_str().unwrap_or(""), "", "{id}");
    }
    let kept = record(&records, "json");
    let body = kept["req_body"].as_str().unwrap();
    assert!(body.starts_with(r#"{"nested":[[{}]],"list":[1,"***"],"id":"hmac:"#), "{body}");
    assert!(body.ends_with(r#"","kept":1.50}"#), "{body}");
    assert_eq!((&kept["req_redacted"], &kept["resp_redacted"]), (&json!(5), &json!(5)));
    assert_eq!(record(&records, "sse")["resp_body"], "data: {}\n\ndata: [DONE]\n\n");
    assert_eq!(record(&records, "quoted")["error_code"], "bad_input");

    let mut paths = Vec::new();
    files(&dir.path().join("data"), &mut paths);
    assert!(!paths.is_empty());
    let printed = records.iter().map(Value::to_string).collect::<String>().into_bytes();
    for (encoding, needle) in encodings(SECRET) {
        for path in &paths {
            let bytes = std::fs::read(path).unwrap();
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{encoding} in {}", path.display());
        }
        assert!(!printed.windows(needle.len()).any(|window| window == needle), "{encoding}");
    }
}
