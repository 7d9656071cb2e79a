//! What `/metrics` says about the prediction log, read from a running gateway.

use std::time::Instant;

use crate::support::client::post;
use crate::support::{Backend, Client, Gateway, eventually};

fn infer(model: &str, headers: &str, body: &str) -> String {
    post(&format!("/v2/models/{model}/infer"), headers, body)
}

fn model(name: &str, backend: &Backend, log: &str) -> String {
    let address = backend.address;
    format!(
        "[models.{name}.versions.v1]\nbackends = [\"http://{address}\"]\n[models.{name}.log]\n{log}\n"
    )
}

fn send(client: &mut Client, request: &str) {
    client.send(request);
    assert_eq!(client.reply().status, 200);
}

#[test]
fn the_age_of_the_oldest_record_is_told_until_it_is_written_and_until_it_is_synced() {
    let backend = Backend::echo();
    let config = "[log]\nflush = \"1500ms\"\nsync_interval = \"1h\"\n".to_owned()
        + &model("m", &backend, "")
        + &model("safe", &backend, "durability = \"sync\"");
    let gateway = Gateway::start(&config);
    let waiting = || gateway.metric("pointsman_log_oldest_waiting_seconds");
    let unsynced = || gateway.metric("pointsman_log_oldest_unsynced_seconds");
    assert_eq!((waiting(), unsynced()), (0.0, 0.0), "nothing was recorded");

    let mut client = gateway.client();
    let before = Instant::now();
    send(&mut client, &infer("m", "", "x"));
    assert!(waiting() > 0.0, "it gathers for `flush`");
    let first = eventually("its age grows", || Some(waiting()).filter(|age| *age > 0.05));
    assert!(first <= before.elapsed().as_secs_f64());
    eventually("it is written", || (waiting() == 0.0).then_some(()));
    gateway.metric_is("pointsman_log_written_lsn", 1.0);
    assert_eq!(gateway.metric("pointsman_log_durable_lsn"), 0.0, "not for an hour");
    let age = unsynced();
    assert!(age > 0.0 && age <= before.elapsed().as_secs_f64(), "{age}");
    eventually("that age grows, too", || (unsynced() > age + 0.02).then_some(()));

    // A sync for one record covers all before it.
    send(&mut client, &infer("safe", "", "x"));
    // The answer may come a moment before the writer has told.
    eventually("nothing is old", || ((waiting(), unsynced()) == (0.0, 0.0)).then_some(()));
    gateway.metric_is("pointsman_log_durable_lsn", 2.0);
    gateway.metric_reaches("pointsman_log_sync_seconds_count", 1.0);
    assert!(gateway.metric("pointsman_log_sync_seconds_sum") > 0.0);
}

#[test]
fn bodies_that_are_not_whole_are_counted_by_reason() {
    let backend = Backend::echo();
    let config = "[log]\ndurability = \"os\"\nopt_out = true\n".to_owned()
        + &model("full", &backend, "")
        + &model("short", &backend, "body_limit = \"4B\"")
        + &model("hash", &backend, "body = \"hash\"")
        + &model("secret", &backend, "[models.secret.log.redact]\ndrop = [\"/a\"]");
    let gateway = Gateway::start(&config);
    let mut client = gateway.client();
    for name in ["full", "short", "hash", "secret"] {
        send(&mut client, &infer(name, "", "hello"));
    }
    send(&mut client, &infer("full", "x-pointsman-log: none\r\n", "hello"));
    let omitted = |reason: &str| {
        gateway.metric(&format!("pointsman_log_bodies_omitted_total{{reason=\"{reason}\"}}"))
    };
    // Each exchange has two bodies.
    for reason in ["size", "policy", "opt_out", "unredactable"] {
        assert_eq!(omitted(reason), 2.0, "{reason}");
    }
    assert_eq!(omitted("pressure"), 0.0);
    for reason in ["queue_full", "too_large", "no_space", "io", "closed"] {
        let series = format!("pointsman_log_records_dropped_total{{reason=\"{reason}\"}}");
        assert_eq!(gateway.metric(&series), 0.0);
    }
    gateway.metric_is("pointsman_log_group_records_total", 5.0);
    assert_eq!(gateway.metric("pointsman_log_groups_total"), 5.0, "one after the other");
    assert_eq!(gateway.metric("pointsman_log_queue_bytes"), 0.0);
    assert!(gateway.metric("pointsman_log_disk_free_bytes") > 0.0);
    assert_eq!(gateway.metric("pointsman_log_gap_rows_total"), 0.0);
}

#[test]
fn a_sink_that_takes_nothing_lags_in_records_bytes_and_seconds() {
    let backend = Backend::echo();
    let refusing = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let receiver = Backend::replying(refusing);
    let config = model("m", &backend, "durability = \"os\"")
        + &format!(
            "[sinks.lake]\nhttp = \"http://{}/\"\nlinger = \"5ms\"\nbackoff = \"50ms\"\n",
            receiver.address
        );
    let gateway = Gateway::start(&config);
    let lag = |unit: &str| gateway.metric(&format!("pointsman_sink_lag_{unit}{{sink=\"lake\"}}"));
    assert_eq!((lag("records"), lag("bytes"), lag("seconds")), (0.0, 0.0, 0.0));
    let mut client = gateway.client();
    let before = Instant::now();
    for _ in 0..5 {
        send(&mut client, &infer("m", "", &"x".repeat(1000)));
    }
    assert_eq!(lag("records"), 5.0);
    let age = eventually("the sink has tried", || Some(lag("seconds")).filter(|age| *age > 0.0));
    assert!(age <= before.elapsed().as_secs_f64() + 1.0, "{age}");
    // Both bodies of each, though nothing was ever delivered.
    assert!(lag("bytes") >= 5.0 * 2000.0, "{}", lag("bytes"));
    let age = lag("seconds");
    eventually("the oldest record grows older", || (lag("seconds") > age).then_some(()));
    gateway.metric_is("pointsman_log_consumer_lag_records{consumer=\"lake\"}", 5.0);
}
