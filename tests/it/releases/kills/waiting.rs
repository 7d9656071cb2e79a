//! Before any traffic: discovered, staged, validating, warming, and in the midst of a copy.

use super::*;

#[test]
fn a_kill_before_any_traffic_costs_a_version_nothing_but_time() {
    let mut matrix = Matrix::start("pairs = 0", "1h");
    let mut number = 1;
    for round in 0..60 {
        let stages = ["discovered", "staged", "validating", "warming"];
        let fewest =
            stages.iter().min_by_key(|stage| matrix.kills.get(**stage).copied().unwrap_or(0));
        let aim = *fewest.unwrap();
        if matrix.kills.get(aim).copied().unwrap_or(0) >= 6 {
            break;
        }
        assert!(round < 59, "{:?}", matrix.kills);
        number += 1;
        let version = format!("v{number}");
        let (before, past) = (matrix.ask(), matrix.past());
        matrix.publish(&version, 0);
        // A way back is no part of it: once it is beyond, it is beyond.
        let order = ["", "discovered", "staged", "validating", "warming"];
        let place = order.iter().position(|stage| *stage == aim).unwrap();
        drop(past.until(aim, |then| {
            let at = order.iter().position(|stage| *stage == then.stage(&version));
            at.is_none_or(|at| at >= place)
        }));
        matrix = matrix.kill(&version, Some(&before)).0;
        // It goes on where it was.
        matrix.store.wait_for(&version, "canary");
    }
    matrix.has_killed(&["discovered", "staged", "validating", "warming"], 6);
    assert!(matrix.total() >= 28, "{:?}", matrix.kills);
}

#[test]
fn a_kill_in_the_midst_of_a_copy_leaves_nothing_half() {
    let mut matrix = Matrix::start("pairs = 0", "1h");
    let mut halves = 0;
    for number in 2..10 {
        let version = format!("v{number}");
        let before = matrix.ask();
        let copies = matrix.store.gateway.dir.path().join(format!("data/models/m/{version}"));
        matrix.publish(&version, 100);
        eventually("it is being copied", || {
            (is_under_way(&copies) || !whole_copies(&copies).is_empty()).then_some(())
        });
        matrix.pause(Duration::from_millis(60));
        matrix = matrix.kill(&version, Some(&before)).0;
        halves += u32::from(matrix.was_half);
        matrix.store.wait_for(&version, "canary");
        assert!(!is_under_way(&copies), "what was half is gone");
    }
    assert!(halves >= 4, "{halves} of 8 were killed in the midst of it");
    assert!(matrix.total() >= 8, "{:?}", matrix.kills);
}
