//! In the midst of a rollback by evidence: the champion fails, and the process is killed before, while and after an
//! earlier one takes over.

use super::super::scenarios::{SERVERS, first, register};
use super::*;

/// Versions that become live and fail, one after the other.
const FAILING: [&str; 9] = ["v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10"];

/// When the process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the champion has begun to fail.
    After(Duration),
    /// Once the champion is seen to be degraded.
    Degraded,
    /// Once the rollback is written down.
    Written,
}

/// Clients ask, one request after the other, until the moment has come; every answer is the champion's or an
/// earlier one's.
fn ask_until(store: &Store, version: &str, moment: Moment) -> Past {
    let began = std::time::Instant::now();
    let mut past = Past::of(store.gateway.dir.path());
    let mut client = store.gateway.client();
    let request = crate::support::client::post("/v2/models/m/infer", "", BODY);
    for number in 0.. {
        client.send(&request);
        let reply = client.reply();
        assert!([200, 500].contains(&reply.status), "{}", reply.text());
        past = past.read();
        let is_written = past.now().stage("v1") == "live";
        let has_come = match moment {
            Moment::After(time) => began.elapsed() >= time,
            Moment::Written => is_written,
            Moment::Degraded if number % 8 == 0 => {
                let shown = store.version(version).unwrap();
                shown["health"]["signals"]["slo_burn"]["level"] == "degraded"
            }
            Moment::Degraded => false,
        };
        if has_come || is_written {
            break;
        }
        assert!(began.elapsed() < crate::support::PATIENCE, "{moment:?}: {:#?}", past.now());
    }
    past
}

fn returns(past: &Past) -> usize {
    past.text.matches("{\"return\":").count()
}

#[test]
fn a_kill_in_the_midst_of_a_rollback_by_evidence_ends_in_one_rollback_to_what_was_sound() {
    // A minute of the monitor is over within a second.
    let clock = Clock::new();
    let config = SERVERS.replace("between = \"0s\"", "between = \"0s\"\ndaily = 256");
    let config = format!("{config}[monitor]\ncpu = \"100%\"\n");
    let mut store = Store::start_at(&clock, &config);
    clock.set(0.0, 60.0);
    let sound = Server::start("v1", 2.0);
    first(&store, &sound);
    let mut kills = BTreeMap::<String, u32>::new();
    for (round, version) in FAILING.into_iter().enumerate() {
        let failing = Server::start(version, 3.0);
        register(&store, &failing);
        store.wait_for(version, "shadow");
        store.ordered(&format!("models/m/versions/{version}/promote"));
        store.wait_for("v1", "standby");
        eventually("v1 is ready", || (store.version("v1")?["ready"] == true).then_some(()));
        assert_eq!(store.predict(), (200, Some(30.0), version.to_owned()));
        failing.set(Mood::FailsEvery(2));
        let moment = match round % 3 {
            0 => Moment::Written,
            1 => Moment::Degraded,
            _ => {
                let round = u32::try_from(round).unwrap();
                Moment::After(spread(round, Duration::from_millis(1500)))
            }
        };
        drop(ask_until(&store, version, moment));
        let Store { gateway, config } = store;
        let dir = gateway.kill();
        let past = Past::of(dir.path());
        let then = past.now();
        *kills.entry(then.stage(version).to_owned()).or_default() += 1;
        let gateway = Gateway::start_by(dir, &config, &clock.environment());
        store = Store { gateway, config };
        // Who answers is who was written down to, at once.
        let (status, value, answered) = store.predict();
        let now = past.clone().read();
        assert!(now.text.starts_with(&past.text), "what is written stays");
        assert_eq!(now.kind(past.count()), "recovered");
        let may = now.answerers_since(past.count());
        assert!(may.contains(&answered), "{answered} answers; {may:?} may: {then:#?}");
        if then.stage("v1") == "live" {
            assert_eq!((status, value), (200, Some(20.0)), "the rollback holds");
        }
        // What was not written by then is found out again.
        let ended = ask_until(&store, version, Moment::Written);
        assert_eq!(returns(&ended), round + 1, "one rollback for each that failed");
        let stopped = store.wait_for(version, "quarantined");
        assert!(stopped["why"].as_str().unwrap().contains("while live"), "{stopped:#}");
        for _ in 0..10 {
            assert_eq!(store.predict(), (200, Some(20.0), "v1".to_owned()));
        }
    }
    let before = kills.get("live").copied().unwrap_or(0);
    let after: u32 =
        kills.iter().filter(|(stage, _)| *stage != "live").map(|(_, count)| count).sum();
    assert!(before >= 2 && after >= 3, "{kills:?}");
}
