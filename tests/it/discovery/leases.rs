//! Servers that register themselves.

use super::*;

fn register(gateway: &Gateway, backend: &Backend) -> Reply {
    let body = json!({ "address": format!("http://{}", backend.address) }).to_string();
    admin(gateway, "POST", "/api/v1/registrations", &body)
}

/// The first member is routed to a moment after its registration was granted.
fn wait_for_a_member(gateway: &Gateway) {
    eventually("the pool has a member", || {
        let reply = gateway.request("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
        (reply.status == 200).then_some(())
    });
}

#[test]
fn a_registered_server_is_a_member_until_it_goes() {
    let gateway = in_dir("lease = \"1h\"");
    let (one, two) = (named("one"), named("two"));
    let granted = register(&gateway, &one);
    assert_eq!(granted.status, 201, "{}", granted.text());
    wait_for_a_member(&gateway);
    wait_for_answers(&gateway, &["one"]);
    let second = register(&gateway, &two).json();
    wait_for_answers(&gateway, &["one", "two"]);
    assert_eq!(register(&gateway, &one).status, 200, "saying it again renews");
    let id = second["id"].as_str().unwrap();
    let path = format!("/api/v1/registrations/{id}");
    assert_eq!(admin(&gateway, "PUT", &path, "").status, 200);
    assert_eq!(admin(&gateway, "DELETE", &path, "").status, 200);
    wait_for_answers(&gateway, &["one"]);
    assert_eq!(admin(&gateway, "DELETE", &path, "").status, 404);
    assert_eq!(admin(&gateway, "PUT", &path, "").status, 404);
}

#[test]
fn a_server_that_does_not_renew_goes_and_the_last_one_stays() {
    let gateway = in_dir("lease = \"1s\"");
    let (one, two) = (named("one"), named("two"));
    register(&gateway, &two);
    wait_for_a_member(&gateway);
    // One renews, two does not.
    let seen = eventually("the second lease is over", || {
        register(&gateway, &one);
        let seen = answers(&gateway);
        (seen == ["one"]).then_some(seen)
    });
    assert_eq!(seen, ["one"]);
    // Now nobody renews: an empty answer is no reason to serve nothing.
    eventually("the source is empty", || {
        (source(&gateway, "fleet")["state"] == "empty").then_some(())
    });
    assert_eq!(answers(&gateway), ["one"]);
}

#[test]
fn registrations_survive_a_kill_and_have_a_whole_lease_again() {
    let config = format!("[discovery.fleet]\nlease = \"1h\"\n{FLEET}");
    let gateway = Gateway::start(&config);
    let one = named("one");
    assert_eq!(register(&gateway, &one).status, 201);
    let id = register(&gateway, &one).json()["id"].as_str().unwrap().to_owned();
    let gateway = Gateway::start_in(gateway.kill(), &config);
    assert_eq!(answers(&gateway), ["one"]);
    assert_eq!(admin(&gateway, "PUT", &format!("/api/v1/registrations/{id}"), "").status, 200);
}

#[test]
fn a_registration_that_is_wrong_or_one_too_many_is_refused_with_a_reason() {
    let gateway = in_dir("lease = \"1h\"\nregistrations = 1");
    let post = |body: &str| admin(&gateway, "POST", "/api/v1/registrations", body);
    for (body, clue) in [
        ("", "EOF while parsing"),
        ("{\"address\": \"10.0.0.1:80\"}", "did you mean"),
        ("{\"address\": \"http://a:1\", \"model\": \"m\"}", "both or neither"),
        ("{\"address\": \"http://a:1\", \"modle\": \"m\"}", "unknown field"),
        ("{\"address\": \"http://a:1\", \"model\": \"m\", \"version\": \"a/b\"}", "is no name"),
        ("{\"address\": \"http://a:1\", \"dialect\": \"morse\"}", "no dialect"),
    ] {
        let refused = post(body);
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(clue), "{body}: {}", refused.text());
    }
    let unknown = post("{\"address\": \"http://a:1\", \"source\": \"other\"}");
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    assert_eq!(post("{\"address\": \"http://a:1\"}").status, 201);
    let full = post("{\"address\": \"http://a:2\"}");
    assert_eq!(full.status, 507, "{}", full.text());
    let refused = "pointsman_registrations_refused_total{reason=\"full\"}";
    gateway.metric_is(refused, 1.0);
}
