//! A registry that is asked over HTTP, and answers badly (T6).

use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

#[test]
fn a_registry_that_answers_nothing_an_error_or_a_part_changes_nothing() {
    let (one, two) = (named("one"), named("two"));
    let whole = list(&[&one, &two]);
    let reply = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let answer = Arc::new(Mutex::new(reply("200 OK\r\netag: \"1\"", &whole)));
    let shown = Arc::clone(&answer);
    let registry = Backend::script(move |connection| {
        if let Some(request) = connection.request() {
            let is_known = request.header("if-none-match") == Some("\"1\"");
            let now = shown.lock().clone();
            if is_known && now.contains("etag: \"1\"") {
                connection.send("HTTP/1.1 304 Not Modified\r\n\r\n");
            } else {
                connection.send(&now);
            }
        }
    });
    let gateway = in_dir(&format!(
        "catalogue = \"http://{}/list?of=backends\"\ninterval = \"50ms\"",
        registry.address
    ));
    assert_eq!(answers(&gateway), ["one", "two"]);
    let trusted = "pointsman_discovery_answers_total{source=\"fleet\",result=\"trusted\"}";
    eventually("an answer that has not changed is trusted", || {
        (gateway.metric(trusted) > 3.0).then_some(())
    });
    assert!(registry.seen().iter().any(|request| request.header("if-none-match").is_some()));
    assert!(registry.seen()[0].line().starts_with("GET /list?of=backends "));
    let (head, _) = whole.split_at(20);
    let cut = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", whole.len());
    let (truncated, _) = whole.split_at(whole.len() - 5);
    for (text, state) in [
        (reply("200 OK", "[]"), "empty"),
        (reply("500 Internal Server Error", &whole), "failed"),
        (reply("200 OK", truncated), "failed"),
        (reply("200 OK", "<html>"), "failed"),
        (cut, "failed"),
        ("nonsense".to_owned(), "failed"),
    ] {
        *answer.lock() = text.clone();
        eventually(&text, || (source(&gateway, "fleet")["state"] == state).then_some(()));
        assert_eq!(answers(&gateway), ["one", "two"], "{text}");
        *answer.lock() = reply("200 OK", &whole);
        eventually("fresh", || (source(&gateway, "fleet")["state"] == "fresh").then_some(()));
    }
    *answer.lock() = reply("200 OK", &list(&[&two]));
    wait_for_answers(&gateway, &["two"]);
}
