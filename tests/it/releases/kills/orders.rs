//! In the midst of orders: kill switches, marks, promotions, rollbacks. What was answered holds; what was not is
//! carried out whole or not at all.

use super::*;

/// The next order that fits: every kind in its turn, and what was switched on is switched off again.
fn next(round: u32, then: &Then) -> String {
    let switch =
        |is_on: bool, on: &str, off: &str| if is_on { off.to_owned() } else { on.to_owned() };
    let version = |name: &str| then.versions[name].clone();
    match round % 8 {
        0 => switch(then.model_killed, "models/m/kill", "models/m/unkill"),
        1 => {
            switch(version("v2").killed, "models/m/versions/v2/kill", "models/m/versions/v2/unkill")
        }
        2 => switch(then.gateway_killed, "kill", "unkill"),
        3 => switch(version("v1").pinned, "models/m/versions/v1/pin", "models/m/versions/v1/unpin"),
        4 => switch(version("v2").held, "models/m/versions/v2/hold", "models/m/versions/v2/unhold"),
        5 => "models/m/rollback".to_owned(),
        6 => "models/m/versions/v2/promote".to_owned(),
        _ => "models/m/versions/v1/promote".to_owned(),
    }
}

#[test]
fn an_order_that_was_answered_holds_after_a_kill_and_none_is_carried_out_by_half() {
    let mut matrix = Matrix::start("pairs = 1000000, limit = \"1h\"", "1h");
    matrix.publish("v2", 0);
    matrix.store.wait_for("v2", "shadow");
    matrix.store.ordered("models/m/versions/v2/promote");
    matrix.store.wait_for("v1", "standby");
    let (mut answered, mut written) = (0, 0);
    for round in 0..32 {
        // Both can answer, so that each order has something to do.
        for version in ["v1", "v2"] {
            eventually("it is ready", || {
                (matrix.store.version(version)?["ready"] == true).then_some(())
            });
        }
        let (before, order) = (matrix.ask(), next(round, &matrix.past().now()));
        let body = json!({ "who": "ann", "why": "a test" }).to_string();
        let request = format!(
            "POST /api/v1/{order} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut client = Client::connect(matrix.store.gateway.admin);
        let events = matrix.past().count();
        client.send(&request);
        matrix.pause(Duration::from_millis(12));
        let (next, then) = matrix.kill("v2", Some(&before));
        matrix = next;
        // What had come over the wire by then.
        let reply = client.try_reply("POST").filter(|reply| reply.status == 200 && !reply.cut);
        written += u32::from(then != before.then);
        if let Some(reply) = reply {
            answered += 1;
            let number = usize::try_from(reply.json()["number"].as_u64().unwrap()).unwrap();
            assert!(number > events, "{order}: it is none of before");
            assert_ne!(then, before.then, "{order} was answered, and is not written");
        }
    }
    assert!(matrix.total() >= 38, "{:?}", matrix.kills);
    assert!(answered >= 4 && written < 32, "{answered} answered, {written} written of 32");
}
