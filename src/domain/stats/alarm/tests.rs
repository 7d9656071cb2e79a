use proptest::prelude::*;

use super::*;

const START: u64 = 30_000_000;

fn key(alarm: AlarmKind) -> AlarmKey {
    AlarmKey { model: "m".to_owned(), version: String::new(), alarm }
}

fn rule() -> Rule {
    Rule {
        severity: Severity::Warning,
        window: 1,
        samples: 1,
        hold: 2,
        clear: 3,
        cool_down: 10,
        runbook: None,
        mute: Vec::new(),
    }
}

fn bad(value: f64) -> Reading {
    Reading::Bad(Evidence {
        definition: "d".to_owned(),
        value,
        limit: 1.0,
        samples: 10,
        minutes: (0, 1),
        p: None,
        findings: Vec::new(),
    })
}

fn noted() -> Reading {
    match bad(2.0) {
        Reading::Bad(evidence) => Reading::Noted(evidence),
        other => other,
    }
}

/// Runs one alarm over looks: `b`ad, `n`oted, `g`ood, `?` insufficient, one a minute.
fn run(rule: &Rule, looks: &str) -> (Board, Vec<Event>, Vec<Notice>) {
    let mut board = Board::default();
    let (mut events, mut notices) = (Vec::new(), Vec::new());
    for (at, look) in looks.chars().enumerate() {
        let reading = match look {
            'b' => bad(at as f64),
            'n' => noted(),
            'g' => Reading::Good,
            _ => Reading::Insufficient,
        };
        let watch = Watch { key: key(AlarmKind::Drift), rule, reading };
        let step = board.step(START + at as u64, vec![watch]);
        events.extend(step.events);
        notices.extend(step.notices);
    }
    (board, events, notices)
}

fn told(looks: &str) -> Vec<(u64, &'static str)> {
    let (_, _, notices) = run(&rule(), looks);
    notices.iter().map(|notice| (notice.minute - START, notice.word.as_str())).collect()
}

#[test]
fn an_alarm_holds_before_it_fires_and_ends_after_good_looks_in_a_row() {
    assert_eq!(told("bgbgbg"), []);
    assert_eq!(told("bb"), [(1, "firing")]);
    assert_eq!(told("bbggbggg"), [(1, "firing"), (7, "resolved")]);
    assert_eq!(told("b?b??g??g?g"), [(2, "firing"), (10, "resolved")], "no evidence moves nothing");
    assert_eq!(told("bb????????????????"), [(1, "firing")]);
}

#[test]
fn what_rests_on_a_stopgap_is_told_as_info_until_it_is_bad() {
    let severities = |looks| {
        let (board, events, notices) = run(&rule(), looks);
        let told: Vec<_> = notices.iter().map(|notice| notice.severity).collect();
        (told, events.len(), board.active().map(|(_, it)| it.severity).collect::<Vec<_>>())
    };
    assert_eq!(severities("nn"), (vec![Severity::Info], 1, vec![Severity::Info]));
    assert_eq!(severities("nn??g"), (vec![Severity::Info], 1, vec![Severity::Info]));
    assert_eq!(severities("nnb").2, [Severity::Warning], "it is worse now");
    assert_eq!(severities("bb"), (vec![Severity::Warning], 1, vec![Severity::Warning]));
}

#[test]
fn within_the_cool_down_an_alarm_is_active_and_nobody_is_called_until_it_is_over() {
    // Fires at 1, ends at 4, is active again from 6 on: told at 11.
    assert_eq!(told("bbgggbbbbbbb"), [(1, "firing"), (4, "resolved"), (11, "firing")]);
    // The second spell ends before the cool-down: an event, but no call.
    let (board, events, notices) = run(&rule(), "bbgggbbggggggg");
    assert_eq!((events.len(), notices.len()), (4, 2));
    assert_eq!(board.active().count(), 0);
}

#[test]
fn in_mute_hours_an_alarm_is_active_and_is_told_when_they_end() {
    // The epoch minute START is a multiple of 1440 plus 480: 08:00.
    assert_eq!(START % 1440, 480);
    let mute = vec![MuteHours::parse("08:00-08:06").expect("a span")];
    let (_, events, notices) = run(&Rule { mute, ..rule() }, "bbbbbbbb");
    assert_eq!(events[0].minute - START, 1);
    assert_eq!(notices.len(), 1);
    assert_eq!((notices[0].minute - START, notices[0].since - START), (6, 1));
}

#[test]
fn what_is_no_longer_watched_is_withdrawn_and_called_off() {
    let (mut board, ..) = run(&rule(), "bb");
    let step = board.step(START + 2, Vec::new());
    assert_eq!(step.events[0].change, Change::Withdrawn);
    assert_eq!(step.notices[0].word, Word::Resolved);
    assert_eq!(board.active().count(), 0);
    // It comes back within the cool-down: nobody is called.
    let rule = rule();
    for minute in 3..8 {
        let watch = Watch { key: key(AlarmKind::Drift), rule: &rule, reading: bad(1.0) };
        assert_eq!(board.step(START + minute, vec![watch]).notices, []);
    }
}

#[test]
fn looks_on_both_sides_of_a_gap_are_not_in_a_row() {
    let rule = rule();
    let mut board = Board::default();
    let mut look = |minute: u64| {
        let watch = Watch { key: key(AlarmKind::Drift), rule: &rule, reading: bad(1.0) };
        board.step(START + minute, vec![watch]).notices.len()
    };
    assert_eq!((look(0), look(60), look(61)), (0, 0, 1));
    assert_eq!(look(61), 0, "a minute counts once");
}

#[test]
fn kinds_and_severities_are_written_as_their_words() {
    for kind in AlarmKind::ALL {
        let word = serde_json::to_value(kind).expect("a word");
        assert_eq!(word, kind.as_str());
    }
    for severity in Severity::ALL {
        assert_eq!(serde_json::to_value(severity).expect("a word"), severity.as_str());
    }
}

fn looks() -> impl Strategy<Value = String> {
    "[bg?]{0,120}"
}

fn rules() -> impl Strategy<Value = Rule> {
    (1..4_u32, 1..4_u32, 0..30_u32, any::<bool>()).prop_map(|(hold, clear, cool_down, muted)| {
        let span = || MuteHours::parse("08:10-08:40").expect("a span");
        let mute = muted.then(span).into_iter().collect();
        Rule { hold, clear, cool_down, mute, ..rule() }
    })
}

proptest! {
    #[test]
    fn calls_alternate_keep_the_cool_down_and_respect_mute_hours(rule in rules(), looks in looks()) {
        let (_, events, notices) = run(&rule, &looks);
        let mut last_call = None;
        for (at, notice) in notices.iter().enumerate() {
            let firing = notice.word == Word::Firing;
            prop_assert_eq!(firing, at % 2 == 0);
            prop_assert!(!rule.is_mute(notice.minute));
            if firing {
                let pause = last_call.map_or(u64::MAX, |last| notice.minute - last);
                prop_assert!(pause >= u64::from(rule.cool_down), "{pause}");
                last_call = Some(notice.minute);
            }
        }
        for (at, event) in events.iter().enumerate() {
            prop_assert_eq!(event.change == Change::Started, at % 2 == 0);
        }
    }

    #[test]
    fn a_restart_between_any_two_looks_changes_nothing(rule in rules(), looks in looks(), at in 0..120_usize) {
        let whole = run(&rule, &looks);
        let mut board = Board::default();
        let (mut events, mut notices) = (Vec::new(), Vec::new());
        for (minute, look) in looks.chars().enumerate() {
            if minute == at {
                let kept = serde_json::to_string(&board).expect("text");
                board = serde_json::from_str(&kept).expect("a board");
            }
            let reading = match look {
                'b' => bad(minute as f64),
                'g' => Reading::Good,
                _ => Reading::Insufficient,
            };
            let watch = Watch { key: key(AlarmKind::Drift), rule: &rule, reading };
            let step = board.step(START + minute as u64, vec![watch]);
            events.extend(step.events);
            notices.extend(step.notices);
        }
        prop_assert_eq!((board, events, notices), whole);
    }

    #[test]
    fn an_alarm_that_stays_is_told_once_the_cool_down_and_the_mute_hours_are_over(rule in rules(), looks in looks()) {
        // 200 more bad minutes outlast both.
        let looks = format!("{looks}{}", "b".repeat(200));
        let (board, _, notices) = run(&rule, &looks);
        prop_assert_eq!(notices.last().map(|notice| notice.word), Some(Word::Firing));
        prop_assert_eq!(board.active().filter(|(_, standing)| standing.called).count(), 1);
    }

    #[test]
    fn insufficient_looks_can_be_left_out(rule in rules(), looks in looks()) {
        let rule = Rule { mute: Vec::new(), cool_down: 0, ..rule };
        let changes = |looks: &str| -> Vec<_> {
            let (_, events, _) = run(&rule, looks);
            events.iter().map(|event| event.change).collect()
        };
        prop_assert_eq!(changes(&looks), changes(&looks.replace('?', "")));
    }
}
