//! The EndpointSlices of a cluster, from a small API server of the test's own.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::*;

/// What the API server knows.
#[derive(Default)]
struct Cluster {
    /// The list, and its version.
    items: Vec<Value>,
    version: u64,
    /// Lines for watches that are open.
    lines: Vec<String>,
}

type Shared = Arc<(Mutex<Cluster>, Condvar)>;

fn slice(name: &str, version: u64, backend: &Backend) -> Value {
    json!({
        "metadata": { "name": name, "resourceVersion": version.to_string() },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["127.0.0.1"], "conditions": { "ready": true } }],
        "ports": [{ "name": "http", "port": backend.address.port() }],
    })
}

fn serve(cluster: &Shared) -> Backend {
    let cluster = Arc::clone(cluster);
    Backend::script(move |connection| {
        while let Some(request) = connection.request() {
            if request.header("authorization") != Some("Bearer secret") {
                connection.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
                continue;
            }
            if !request.line().contains("watch=1") {
                let body = {
                    let cluster = cluster.0.lock();
                    json!({
                        "metadata": { "resourceVersion": cluster.version.to_string() },
                        "items": cluster.items,
                    })
                    .to_string()
                };
                let length = body.len();
                connection
                    .send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"));
                continue;
            }
            connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            loop {
                let lines = std::mem::take(&mut cluster.0.lock().lines);
                for line in lines {
                    if line == "end" {
                        connection.send("0\r\n\r\n");
                        return;
                    }
                    // A line in two pieces: what is read together is not what belongs together.
                    let (head, tail) = line.split_at(line.len() / 2);
                    for piece in [head, tail] {
                        connection.send(&format!("{:x}\r\n{piece}\r\n", piece.len()));
                    }
                    // A watch that failed is over: it must not take the lines of the next one.
                    if line.contains("\"ERROR\"") {
                        connection.send("0\r\n\r\n");
                        return;
                    }
                }
                let mut guard = cluster.0.lock();
                if guard.lines.is_empty() {
                    cluster.1.wait_for(&mut guard, std::time::Duration::from_millis(200));
                }
            }
        }
    })
}

fn say(cluster: &Shared, change: impl FnOnce(&mut Cluster)) {
    change(&mut cluster.0.lock());
    cluster.1.notify_all();
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

#[test]
fn slices_are_listed_and_watched_and_listed_again_when_the_watch_has_expired() {
    let (one, two, three) = (named("one"), named("two"), named("three"));
    let cluster = Shared::default();
    say(&cluster, |cluster| {
        cluster.version = 5;
        cluster.items = vec![slice("a", 4, &one)];
    });
    let server = serve(&cluster);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "secret\n").unwrap();
    let config = format!(
        "[discovery.fleet]\nkubernetes = {{ api = \"http://{}\", namespace = \"ml\", selector = \"app=fraud\", \
         port = \"http\", token_file = \"token\" }}\n{FLEET}",
        server.address
    );
    let gateway = Gateway::start_in(dir, &config);
    assert_eq!(answers(&gateway), ["one"]);
    let first = server.seen()[0].line().to_owned();
    assert!(
        first.contains(
            "/apis/discovery.k8s.io/v1/namespaces/ml/endpointslices?labelSelector=app%3Dfraud"
        ),
        "{first}"
    );
    say(&cluster, |cluster| cluster.lines.push(event("ADDED", &slice("b", 6, &two))));
    wait_for_answers(&gateway, &["one", "two"]);
    say(&cluster, |cluster| cluster.lines.push(event("DELETED", &slice("a", 7, &one))));
    wait_for_answers(&gateway, &["two"]);
    let bookmark = json!({ "metadata": { "resourceVersion": "90" } });
    say(&cluster, |cluster| {
        cluster.lines.push(event("BOOKMARK", &bookmark));
        cluster.lines.push("end".to_owned());
    });
    eventually("the watch goes on from the bookmark", || {
        let watches =
            |it: &crate::support::backend::Incoming| it.line().contains("resourceVersion=90");
        server.seen().iter().any(watches).then_some(())
    });
    say(&cluster, |cluster| {
        cluster.version = 100;
        cluster.items = vec![slice("b", 6, &two), slice("c", 99, &three)];
        let expired = json!({ "code": 410, "message": "too old resource version" });
        cluster.lines.push(event("ERROR", &expired));
    });
    wait_for_answers(&gateway, &["three", "two"]);
    assert_eq!(source(&gateway, "fleet")["state"], "fresh", "410 is no failure");
    std::fs::write(gateway.dir.path().join("token"), "another").unwrap();
    say(&cluster, |cluster| cluster.lines.push("end".to_owned()));
    eventually("the refusal is told", || {
        let why = source(&gateway, "fleet")["why"].as_str()?.to_owned();
        why.contains("401").then_some(())
    });
    assert_eq!(answers(&gateway), ["three", "two"]);
}
