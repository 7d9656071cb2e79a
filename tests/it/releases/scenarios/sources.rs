//! Sources that are empty, broken, gone: nothing that was released goes with them, and events say so.

use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::discovery::dns::{NameServer, Zone};
use crate::support::Backend;

/// Everything is old at once, and could go at once.
const IMPATIENT: &str = "
[models.m.release]
between  = \"0s\"
undo     = \"0s\"
unproven = true
proving  = \"0s\"
[models.m.release.shadow]
pairs = 1000000
limit = \"1h\"
[models.m.evict]
ttl         = \"2s\"
idle        = \"1s\"
keep_proven = 1
cool_down   = \"0s\"
grace       = \"0s\"
";

fn state_of_fleet(store: &Store) -> String {
    let shown = store.get("/api/v1/discovery").json();
    shown["sources"]["fleet"]["state"].as_str().unwrap_or_default().to_owned()
}

/// Discovery has written down where the server is: it does so with each tick of its own.
fn is_remembered(store: &Store, server: &Server) {
    let file = store.gateway.dir.path().join("data/state/discovery.json");
    let port = server.backend.address.port().to_string();
    eventually("it is remembered", || {
        std::fs::read_to_string(&file).ok()?.contains(&port).then_some(())
    });
}

/// The released version answers, and is where it was.
fn is_as_it_was(store: &Store, when: &str) {
    for _ in 0..5 {
        assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()), "{when}");
    }
    let shown = store.version("v1").unwrap();
    assert_eq!(
        (&shown["stage"], &shown["ready"]),
        (&json!("live"), &json!(true)),
        "{when}: {shown:#}"
    );
}

#[test]
fn t6_a_registry_that_is_empty_broken_or_down_takes_no_released_version_away() {
    let server = Server::start("v1", 2.0);
    let reply = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let whole = json!([server.entry()]).to_string();
    let answer = Arc::new(Mutex::new(reply("200 OK", &whole)));
    let shown = Arc::clone(&answer);
    let registry = Backend::script(move |connection| {
        if connection.request().is_some() {
            let now = shown.lock().clone();
            connection.send(&now);
        }
    });
    let config = format!(
        "[discovery.fleet]\ncatalogue = \"http://{}/list\"\ninterval = \"50ms\"\n{IMPATIENT}",
        registry.address
    );
    let mut store = Store::start(&config);
    store.wait_for("v1", "live");
    is_remembered(&store, &server);
    let down = ["[]", "{", "<html>"].map(|body| reply("200 OK", body));
    let errors = [reply("500 Internal Server Error", &whole), "nonsense".to_owned(), String::new()];
    let truncated = reply("200 OK", whole.get(..whole.len() - 5).unwrap());
    for bad in down.into_iter().chain(errors).chain([truncated]) {
        *answer.lock() = bad.clone();
        eventually(&bad, || ["empty", "failed"].contains(&&*state_of_fleet(&store)).then_some(()));
        is_as_it_was(&store, &bad);
        store = store.killed_and_started_again();
        is_as_it_was(&store, &format!("{bad}, after a kill"));
        *answer.lock() = reply("200 OK", &whole);
        eventually("fresh", || (state_of_fleet(&store) == "fresh").then_some(()));
    }
    assert!(told(&store, "discovery.doubted").len() >= 7);
    store.wait_for_words("v1", "overdue");
    assert_eq!(told(&store, "release.stopped"), [""; 0]);
}

#[test]
fn t6_a_name_that_no_name_server_knows_any_more_takes_no_released_version_away() {
    let server = Server::start("v1", 2.0);
    let ports = Zone::Ports(vec![server.backend.address.port()]);
    let names = NameServer::new(ports.clone());
    let config = format!(
        "[discovery.fleet]\nsrv = \"_p._tcp.fleet.test\"\nserver = \"{}\"\ninterval = \"100ms\"\nask = true\n\
         {IMPATIENT}",
        names.address
    );
    let mut store = Store::start(&config);
    store.wait_for("v1", "live");
    is_remembered(&store, &server);
    for (zone, state) in [
        (Zone::NoSuchName, "failed"),
        (Zone::Broken, "failed"),
        (Zone::Garbage, "failed"),
        (Zone::Ports(vec![]), "empty"),
    ] {
        names.set(zone);
        eventually(state, || {
            let now = state_of_fleet(&store);
            (now == state || now == "failed" || now == "empty").then_some(())
        });
        is_as_it_was(&store, state);
        store = store.killed_and_started_again();
        is_as_it_was(&store, "after a kill");
        names.set(ports.clone());
        eventually("fresh", || (state_of_fleet(&store) == "fresh").then_some(()));
    }
    assert!(told(&store, "discovery.doubted").len() >= 4);
    assert_eq!(told(&store, "release.stopped"), [""; 0]);
}

#[test]
fn t6_an_emptied_storage_deletes_no_copy_until_its_listing_can_be_trusted_again() {
    let store = Store::start(IMPATIENT);
    store.publish_sum("m/v1", 2.0);
    store.wait_for("v1", "live");
    store.publish_sum("m/v2", 2.1);
    store.wait_for("v2", "shadow");
    let away = store.gateway.dir.path().join("elsewhere");
    std::fs::rename(store.folder("m"), &away).unwrap();
    eventually("it is told", || (!told(&store, "discovery.doubted").is_empty()).then_some(()));
    store.ordered("models/m/versions/v2/promote");
    // Old, retired, and not among those that are kept: only the doubt speaks for it.
    let why = store.wait_for_words("v1", "the listing of artifacts is in doubt");
    assert!(why.contains("retired"), "{why}");
    let copies = store.gateway.dir.path().join("data/models/m/v1");
    std::thread::park_timeout(Duration::from_secs(2));
    assert!(copies.exists());
    let store = store.killed_and_started_again();
    store.wait_for_words("v1", "the listing of artifacts is in doubt");
    let copies = store.gateway.dir.path().join("data/models/m/v1");
    assert!(copies.exists());
    assert_eq!(store.predict(), (200, Some(21.0), "v2".to_owned()));
    std::fs::rename(store.gateway.dir.path().join("elsewhere"), store.folder("m")).unwrap();
    store.wait_for("v1", "evicted");
    eventually("now it goes", || (!copies.exists()).then_some(()));
}
