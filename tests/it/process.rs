//! How the process starts, ends, and says what is wrong.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::post;
use crate::support::gateway::{run, run_in};
use crate::support::{Backend, Client, Gateway, eventually, iris};

#[test]
fn sigterm_lets_what_is_in_flight_finish() {
    let backend = Backend::script(|connection| {
        while connection.request().is_some() {
            std::thread::park_timeout(Duration::from_millis(400));
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow");
        }
    });
    let mut gateway = Gateway::start(&backend.as_model());
    let mut busy = gateway.client();
    let mut idle = gateway.client();
    busy.send(&post("/v2/models/m/infer", "", "x"));
    eventually("the backend is asked", || (!backend.seen().is_empty()).then_some(()));
    gateway.signal(Signal::TERM);
    assert!(idle.is_closed(), "idle connections are closed at once");
    eventually("the listener is closed", || {
        Client::try_connect(gateway.data).is_none().then_some(())
    });
    assert_eq!(busy.reply().text(), "slow");
    assert!(busy.is_closed());
    let status = gateway.wait();
    assert!(status.success(), "{status}");
    assert_eq!(gateway.records().len(), 1);
}

#[test]
fn readiness_goes_first_and_the_delay_is_kept() {
    let config = format!("{}[drain]\ndelay = \"600ms\"\n", iris());
    let mut gateway = Gateway::start(&config);
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    eventually("readiness goes off", || {
        let mut client = Client::connect(gateway.admin);
        client.send("GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n");
        (client.reply().status == 503).then_some(())
    });
    assert_eq!(
        gateway.request("GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n").status,
        200,
        "still served"
    );
    assert!(gateway.wait().success());
    assert!(began.elapsed() >= Duration::from_millis(600));
}

#[test]
fn a_drain_under_load_tells_every_client_and_fails_no_request() {
    let backend = Backend::echo();
    let config = format!("{}[drain]\ndelay = \"400ms\"\n", backend.as_model());
    let mut gateway = Gateway::start(&config);
    let address = gateway.data;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let (mut answered, mut client) = (0, Client::try_connect(address));
                while let Some(open) = &mut client {
                    open.send(&post("/v2/models/m/infer", "", "x"));
                    let reply = open.try_reply("POST").expect("an answer on an open connection");
                    assert_eq!((reply.status, reply.text().as_str()), (200, "x"));
                    answered += 1;
                    if reply.header("connection") == Some("close") {
                        client = None;
                    }
                }
                answered
            })
        })
        .collect();
    eventually("there is load", || (backend.seen().len() > 200).then_some(()));
    gateway.signal(Signal::TERM);
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(gateway.wait().success());
    assert_eq!(gateway.records().len(), answered, "one record an answer");
}

#[test]
fn the_drain_has_an_end_and_a_second_signal_ends_it_sooner() {
    let silent = || {
        Backend::script(|connection| {
            connection.request();
            connection.wait_for_close();
        })
    };
    let backend = silent();
    let mut gateway =
        Gateway::start(&format!("{}[drain]\ntimeout = \"300ms\"\n", backend.as_model()));
    let mut client = gateway.client();
    client.send(&post("/v2/models/m/infer", "", "x"));
    eventually("the backend is asked", || (!backend.seen().is_empty()).then_some(()));
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().success());
    let record = &gateway.records()[0];
    assert_eq!((&record["outcome"], &record["error_code"]), (&"shed".into(), &"shutdown".into()));

    for second in [Signal::TERM, Signal::INT] {
        let backend = silent();
        let mut gateway = Gateway::start(&backend.as_model());
        let mut client = gateway.client();
        client.send(&post("/v2/models/m/infer", "", "x"));
        eventually("the backend is asked", || (!backend.seen().is_empty()).then_some(()));
        let began = Instant::now();
        gateway.signal(Signal::TERM);
        eventually("draining begins", || gateway.log().contains("draining").then_some(()));
        gateway.signal(second);
        gateway.wait();
        assert!(began.elapsed() < Duration::from_secs(10), "not the 30 s of the default");
    }
}

#[test]
fn an_address_that_is_taken_and_a_directory_that_is_not_writable_are_said_with_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output =
        run(&["run"], &format!("listen = \"{address}\"\nadmin = \"127.0.0.1:0\"\n{}", iris()));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains(&address.to_string()) && stderr.contains("another process"),
        "{stderr}"
    );

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndata_dir = \"file/data\"\n{}",
        iris()
    );
    let output = run_in(dir.path(), &["run"], &config);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("file/data/log"), "{stderr}");
}

#[test]
fn one_data_directory_serves_one_gateway() {
    let gateway = Gateway::start(&iris());
    let data = gateway.dir.path().join("data").display().to_string();
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndata_dir = {data:?}\n{}",
        iris()
    );
    let output = run(&["run"], &config);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("in use by another gateway"), "{stderr}");
}

#[test]
fn a_configuration_with_five_mistakes_is_answered_with_five_places_and_exit_code_78() {
    let config = "listen = \"nowhere\"\nadmn = \"127.0.0.1:1\"\n[limits]\nbody = 5\n\
                  [models.m]\nsticky = \"hat:x\"\n[models.m.versions.v1]\nbackends = [\"ftp://a\"]\n";
    for command in ["check", "run"] {
        let output = run(&[command], config);
        assert_eq!(output.status.code(), Some(78), "{command}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        for place in [":1:", ":2:", ":4:", ":6:", ":8:"] {
            assert!(stderr.contains(&format!("pointsman.toml{place}")), "{place} in\n{stderr}");
        }
        assert!(stderr.contains("did you mean `admin`"), "{stderr}");
    }
}

#[test]
fn explain_tells_the_way_of_a_request_and_health_the_state_of_a_gateway() {
    let config = format!("listen = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n{}", iris());
    let output = run(&["explain", "POST", "/v2/models/iris/infer"], &config);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("=> iris/v1 (only"), "{stdout}");
    let output = run(&["explain", "GET", "/nowhere"], &config);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no route"));

    let gateway = Gateway::start(&iris());
    let asked = format!("listen = \"127.0.0.1:1\"\nadmin = \"{}\"\n{}", gateway.admin, iris());
    assert!(run(&["health"], &asked).status.success());
    let admin = gateway.admin;
    drop(gateway);
    let asked = format!("listen = \"127.0.0.1:1\"\nadmin = \"{admin}\"\n{}", iris());
    assert_eq!(run(&["health"], &asked).status.code(), Some(1));
}
