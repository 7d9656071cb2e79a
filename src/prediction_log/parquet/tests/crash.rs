//! Wherever the process ends during a conversion, doing it again gives each row once.

use super::*;

#[test]
fn a_conversion_that_ended_anywhere_can_be_done_again() {
    let times = [HOUR_US + 1, HOUR_US + 2, 3 * HOUR_US, HOUR_US + 3, 2 * HOUR_US];
    for steps in 0.. {
        let fixture = Fixture::new();
        fixture.record(&times);
        let closed = fixture.backlog(0)[0];
        let disk = fixture.disk();
        disk.steps.set(Some(steps));
        let ended = fixture.convert(&disk, closed).is_err();
        // What readers see meanwhile is a part, but nothing twice and nothing broken.
        let seen = rows_of_all_files(&fixture.root());
        assert!(seen.iter().all(|row| numbered(&times).contains(row)), "{steps}: {seen:?}");
        let disk = fixture.disk();
        disk.clear().expect("cleared");
        fixture.convert_all(&disk);
        assert_eq!(rows_of_all_files(&fixture.root()), numbered(&times), "after {steps} steps");
        if !ended {
            assert!(steps > 10, "only {steps} steps");
            return;
        }
    }
}

#[test]
fn a_segment_that_has_grown_since_replaces_what_was_made_of_it() {
    let fixture = Fixture::new();
    let times = [HOUR_US, HOUR_US + 1, HOUR_US + 2];
    fixture.record(&times);
    let closed = fixture.backlog(0)[0];
    let disk = fixture.disk();
    fixture.convert(&disk, Closed { last_lsn: 2, ..closed }).expect("converted");
    assert_eq!(rows_of_all_files(&fixture.root()), numbered(&times[..2]));
    fixture.convert(&disk, closed).expect("converted");
    assert_eq!(rows_of_all_files(&fixture.root()), numbered(&times));
    // And the other way round, the wider file stays.
    fixture.convert(&disk, Closed { last_lsn: 2, ..closed }).expect("converted");
    assert_eq!(rows_of_all_files(&fixture.root()), numbered(&times));
}
