//! Copies take no more than what is left, and end when they are not wanted any more.

use super::*;
use crate::support::iris;

/// Two models whose logged requests are asked again at the same time, more rows than wait ahead of any thread.
#[test]
fn replays_of_several_models_are_carried_out_one_after_the_other() {
    let (champion, candidate) = (Backend::replying(GOOD), Backend::replying(GOOD));
    let of = |model: &str| config(&champion, &candidate, "").replace("models.m", model);
    let names = ["a", "b", "c"];
    let all: String = names.iter().map(|name| of(&format!("models.{name}"))).collect();
    let mut gateway = InProcess::start(&all);
    for name in names {
        send(&gateway, &format!("/v2/models/{name}/infer"), BODY, 60);
    }
    gateway.wait_for(180, |record| is(record, "inference"));
    let spec = ShadowSpec { concurrency: 4, ..ShadowSpec::new(VersionName::new("v2")) };
    let trials = names.map(|name| {
        let model = gateway.intent.models.get_mut(name).unwrap();
        model.traffic.retain(|_, share| *share > Permille::NONE);
        model.shadow = Some(spec.clone());
        (name, Arc::new(Trial::new(TrialKind::Shadow(spec.clone()), 2, Steady(1))))
    });
    let named = trials.iter().map(|(name, trial)| (ModelName::new(*name), Arc::clone(trial)));
    gateway.publish(named.collect());
    let orders: Vec<_> = trials
        .iter()
        .map(|(name, trial)| {
            let replays = gateway.gateway.replays();
            replays.order(ModelName::new(*name), Arc::clone(trial), 50).unwrap()
        })
        .collect();
    for order in orders {
        let replayed = order.blocking_recv().unwrap().unwrap();
        assert_eq!((replayed.asked, replayed.passed_over), (50, 0));
    }
    for (name, trial) in &trials {
        assert_eq!(trial.as_shadow().unwrap().counts(), (50, 50, 0), "{name}");
    }
    assert_eq!(candidate.seen().len(), 150);
}

#[test]
fn a_kill_switch_ends_a_replay_that_is_under_way() {
    let champion = Backend::replying(GOOD);
    let slow = Backend::script(|connection| {
        while connection.request().is_some() {
            std::thread::park_timeout(Duration::from_millis(20));
            connection.send(GOOD);
        }
    });
    let mut gateway = InProcess::start(&config(&champion, &slow, ""));
    send(&gateway, INFER, BODY, 200);
    gateway.wait_for(200, |record| is(record, "inference"));
    let trial = copy_all(&mut gateway, "m", 1);
    let order = gateway.gateway.replays().order(ModelName::new("m"), Arc::clone(&trial), 200);
    eventually("it is under way", || (slow.seen().len() > 3).then_some(()));
    change(&mut gateway, "m", Some(&trial), |spec| {
        let why = "by ann: it hurts".to_owned();
        let killed = KillSpec { scope: KillScope::Version, why };
        spec.killed_versions.insert(VersionName::new("v2"), killed);
    });
    let ended = order.unwrap().blocking_recv().unwrap();
    assert_eq!(ended, Err("no version of the model gets copies now".to_owned()));
    assert!(slow.seen().len() < 200, "{} were asked", slow.seen().len());
    let gate = &trial.as_shadow().unwrap().gate;
    assert_eq!((gate.copies().dropped, gate.copies().chosen), (0, 0), "nobody's pace is slowed");
}

/// A request that takes more than half of the room for bodies is answered as if nobody wanted a copy.
#[test]
fn no_copy_takes_the_room_that_its_own_client_needs() {
    let onnx = iris();
    let config = format!(
        "[models.iris]\ntraffic = {{ v1 = \"100%\" }}\n{onnx}{}[limits]\nheld_bodies = \"4MiB\"\n\
         body = \"4MiB\"\n",
        onnx.replace("v1]", "v2]"),
    );
    let mut gateway = InProcess::start(&config);
    let trial = copy_all(&mut gateway, "iris", 16);
    let long = " ".repeat(3 * 1024 * 1024) + IRIS_BODY;
    let path = "/v2/models/iris/infer";
    send(&gateway, path, &long, 3);
    let gate = &trial.as_shadow().unwrap().gate;
    eventually("its copy is not made", || (gate.dropped(Dropped::Memory) > 0).then_some(()));
    send(&gateway, path, IRIS_BODY, 30);
    eventually("short ones are copied", || (trial.shadow().pairs > 0).then_some(()));
    eventually("all is given back", || (gateway.gateway.held_body_bytes() == 0).then_some(()));
}
