use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::domain::ids::{Digest, ModelName, VersionName};
use crate::domain::lifecycle::event::{By, Draft, What};
use crate::domain::lifecycle::release::Release;
use crate::domain::lifecycle::time::{Now, Steady, Wall};

fn now(n: u64) -> Now {
    Now { steady: Steady(n), wall: Wall(1_790_000_000_000 + n) }
}

/// The `n`th event: a version is told of.
fn draft(n: u64) -> Draft {
    let what = What::Sighted {
        model: ModelName::new("fraud"),
        version: VersionName::new(format!("v{n}")),
        release: Release {
            digest: Digest::new(format!("d{n}")),
            bytes: n,
            source: "a store with \"quotes\"\nand lines".to_owned(),
            publisher: None,
            trained_at: None,
            named: false,
        },
    };
    Draft { by: By::Gateway, what }
}

impl Journal {
    /// The same on a file that takes no write: what a full disk does, as far as the caller sees.
    pub(in crate::control) fn read_only(mut self) -> Self {
        self.file = Some(File::open(self.folder.join(JOURNAL)).expect("it opens"));
        self
    }

    /// Writes one event.
    fn add(&mut self, draft: Draft, now: Now) -> Result<Event, JournalError> {
        self.append(&[(draft, now)])?.pop().expect("one outcome for one entry")
    }
}

fn open(folder: &Path) -> (Journal, Recovery) {
    Journal::open(folder).expect("the journal opens")
}

/// A journal of `n` events, its bytes, and where each event ends.
fn written(folder: &Path, n: u64) -> (Vec<u8>, Vec<usize>) {
    let (mut journal, _) = open(folder);
    let mut ends = vec![0];
    for i in 1..=n {
        journal.add(draft(i), now(i)).expect("it is written");
        ends.push(usize::try_from(journal.bytes).expect("small"));
    }
    (fs::read(folder.join(JOURNAL)).expect("it reads"), ends)
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path(), 20);
    let (mut journal, recovery) = open(folder.path());
    assert_eq!(recovery, Recovery { events: 20, torn: 0 });
    assert_eq!(journal.state().seq(), 20);
    journal.add(draft(21), now(21)).expect("it goes on");
    assert_eq!(journal.events().expect("they read").len(), 21);
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_the_event_that_it_cuts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bytes, ends) = written(folder.path(), 4);
    for cut in 0..=bytes.len() {
        fs::write(folder.path().join(JOURNAL), &bytes[..cut]).expect("it is cut");
        let (mut journal, recovery) = open(folder.path());
        let whole = ends.iter().rposition(|end| *end <= cut).expect("the beginning");
        assert_eq!(recovery.events, whole, "cut at {cut}");
        assert_eq!(recovery.torn, cut - ends[whole], "cut at {cut}");
        let next = whole as u64 + 1;
        journal.add(draft(next), now(next)).expect("it goes on");
        drop(journal);
        assert_eq!(open(folder.path()).0.state().seq(), next, "cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_damaged_byte_never_changes_an_event(at in 0.0f64..1.0, bit in 0u8..8) {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut bytes, _) = written(folder.path(), 5);
        let truth = open(folder.path()).0.events().expect("they read");
        let at = (at * bytes.len() as f64) as usize;
        bytes[at] ^= 1 << bit;
        fs::write(folder.path().join(JOURNAL), &bytes).expect("it is damaged");
        match Journal::open(folder.path()) {
            Ok((journal, _)) => {
                let events = journal.events().expect("they read");
                prop_assert!(truth.starts_with(&events), "{} of 5 events", events.len());
                prop_assert!(events.len() >= 4, "only the last may go: {}", events.len());
            }
            Err(JournalError::Damaged { line, .. }) => prop_assert!((1..=5).contains(&line)),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn damage_in_the_midst_is_told_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut bytes, ends) = written(folder.path(), 5);
    bytes[ends[2] + 30] ^= 1;
    fs::write(folder.path().join(JOURNAL), &bytes).expect("it is damaged");
    let error = Journal::open(folder.path()).expect_err("damage");
    let text = error.to_string();
    assert!(text.contains("journal.jsonl:3: its checksum is wrong"), "{text}");
}

#[test]
fn an_event_whose_newline_is_damaged_is_not_taken_for_a_torn_tail() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut bytes, ends) = written(folder.path(), 5);
    for bit in 0..8 {
        bytes[ends[4] - 1] = b'\n' ^ (1 << bit);
        fs::write(folder.path().join(JOURNAL), &bytes).expect("it is damaged");
        let error = Journal::open(folder.path()).expect_err("damage");
        assert!(error.to_string().contains("journal.jsonl:4: "), "{error}");
    }
}

#[test]
fn a_grown_journal_is_replaced_by_the_state_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = Journal::open_with(folder.path(), 2000).expect("it opens");
    for i in 1..=100 {
        journal.add(draft(i), now(i)).expect("it is written");
    }
    let state = State::clone(journal.state());
    let read = journal.events().expect("they read");
    assert!(read.len() < 30 && read.last().is_some_and(|event| event.seq == 100), "{read:?}");
    drop(journal);
    let size = |name| fs::metadata(folder.path().join(name)).map_or(0, |file| file.len());
    assert!(size(JOURNAL) < 2400 && size(PAST) < 2400);
    let (journal, _) = Journal::open_with(folder.path(), 2000).expect("it opens");
    assert_eq!(**journal.state(), state);
}

#[test]
fn a_crash_between_the_written_state_and_the_new_journal_folds_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(folder.path());
    for i in 1..=10 {
        journal.add(draft(i), now(i)).expect("it is written");
    }
    let old = fs::read(folder.path().join(JOURNAL)).expect("it reads");
    journal.compact().expect("it is replaced");
    let state = State::clone(journal.state());
    drop(journal);
    fs::write(folder.path().join(JOURNAL), old).expect("as before the rename");
    let (journal, recovery) = open(folder.path());
    assert_eq!((&**journal.state(), recovery.events), (&state, 0));
}

#[test]
fn an_event_that_does_not_fit_is_refused_before_it_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(folder.path());
    journal.add(draft(1), now(1)).expect("it is written");
    let error = journal.add(draft(1), now(2)).expect_err("v1 exists");
    assert!(matches!(error, JournalError::Fold(FoldError::Exists(..))), "{error}");
    drop(journal);
    assert_eq!(open(folder.path()).1.events, 1);
}

#[test]
fn a_full_disk_refuses_the_event_keeps_the_journal_sound_and_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(folder.path());
    journal.add(draft(1), now(1)).expect("it is written");
    // A file opened for reading takes no write: what a full disk does, as far as the caller sees.
    let path = folder.path().join(JOURNAL);
    let sound = journal.file.replace(File::open(&path).expect("it opens"));
    let before = State::clone(journal.state());
    for _ in 0..2 {
        let error = journal.add(draft(2), now(2)).expect_err("no write");
        assert!(matches!(error, JournalError::Io { .. }), "{error}");
        assert_eq!(**journal.state(), before);
        assert_eq!(open(folder.path()).1, Recovery { events: 1, torn: 0 });
    }
    journal.file = sound;
    journal.add(draft(2), now(2)).expect("there is room again");
    drop(journal);
    assert_eq!(open(folder.path()).1, Recovery { events: 2, torn: 0 });
}

#[test]
fn what_an_earlier_write_left_half_done_is_cut_off_before_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(folder.path());
    journal.add(draft(1), now(1)).expect("it is written");
    journal.file.as_mut().expect("it is open").write_all(b"1234 half").expect("it is written");
    journal.is_torn = true;
    journal.add(draft(2), now(2)).expect("it is written");
    drop(journal);
    assert_eq!(open(folder.path()).1, Recovery { events: 2, torn: 0 });
}

#[test]
fn events_that_are_written_together_are_there_together_but_for_those_that_do_not_fit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = open(folder.path());
    let long = Draft {
        by: By::Operator { who: "x".repeat(EVENT_BYTES_MAX), why: "y".into() },
        what: What::Ticked,
    };
    let batch = [draft(1), draft(2), draft(1), long, draft(3)].map(|draft| (draft, now(1)));
    let outcomes = journal.append(&batch).expect("it is written");
    let numbers: Vec<_> =
        outcomes.iter().map(|it| it.as_ref().ok().map(|event| event.seq)).collect();
    assert_eq!(numbers, [Some(1), Some(2), None, None, Some(3)]);
    assert!(matches!(outcomes[2], Err(JournalError::Fold(_))), "{outcomes:?}");
    assert!(matches!(outcomes[3], Err(JournalError::Event { .. })), "{outcomes:?}");
    let state = State::clone(journal.state());
    drop(journal);
    let bytes = fs::read(folder.path().join(JOURNAL)).expect("it reads");
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
    let (journal, recovery) = open(folder.path());
    assert_eq!((&**journal.state(), recovery), (&state, Recovery { events: 3, torn: 0 }));
    drop(journal);
    for cut in 0..bytes.len() {
        fs::write(folder.path().join(JOURNAL), &bytes[..cut]).expect("it is cut");
        assert_eq!(open(folder.path()).1, Recovery { events: 0, torn: cut });
    }
}

#[tokio::test]
async fn the_thread_of_the_journal_writes_what_nobody_waits_for_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = Writer::start(open(folder.path()).0).expect("a thread");
    drop(writer.begin(vec![(draft(1), now(1))]).expect("it is begun"));
    let written =
        writer.begin(vec![(draft(2), now(2))]).expect("it is begun").await.expect("it ends");
    assert_eq!(written.state.seq(), 2);
    assert_eq!(written.outcomes.expect("it is written").len(), 1);
}

#[test]
fn a_journal_that_cannot_be_replaced_still_takes_events_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) = Journal::open_with(folder.path(), 300).expect("it opens");
    fs::create_dir(folder.path().join(NEW_STATE)).expect("something is in the way");
    for i in 1..=4 {
        journal.add(draft(i), now(i)).expect("it is written");
    }
    assert!(journal.trouble().is_some());
    fs::remove_dir(folder.path().join(NEW_STATE)).expect("it is gone");
    journal.add(draft(5), now(5)).expect("it is written");
    assert!(journal.trouble().is_none() && journal.bytes == 0);
    drop(journal);
    assert_eq!(open(folder.path()).0.state().seq(), 5);
}

#[test]
fn a_newer_format_is_refused_and_not_guessed_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = serde_json::json!({ "v": 2, "state": State::default() });
    fs::write(folder.path().join(STATE), state.to_string()).expect("it is written");
    let error = Journal::open(folder.path()).expect_err("format 2").to_string();
    assert!(error.contains("it has format 2"), "{error}");
}

/// The environment variable that makes [`appends_until_it_is_killed`] do so.
const CHILD: &str = "POINTSMAN_JOURNAL_CHILD";

/// Not a test by itself: the process that the next test kills. It tells each event once it is written.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent tells it its folder; this is no setting")]
fn appends_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let (mut journal, _) = Journal::open_with(Path::new(&folder), 3000).expect("it opens");
    for _ in 0..100_000 {
        let n = journal.state().seq() + 1;
        journal.add(draft(n), now(n)).expect("it is written");
        println!("written {n}");
    }
}

#[test]
fn a_hundred_kills_lose_no_event_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = fastrand::Rng::with_seed(6);
    let mut torn = 0;
    for round in 0..100 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "control::journal::tests::appends_until_it_is_killed", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut acknowledged = 0;
        let until = rng.usize(1..15);
        let told = |line: io::Result<String>| {
            line.ok()?.split("written ").nth(1)?.trim().parse::<u64>().ok()
        };
        for n in lines.by_ref().filter_map(told).take(until) {
            acknowledged = n;
        }
        child.kill().expect("it is killed");
        acknowledged = lines.filter_map(told).last().unwrap_or(acknowledged);
        child.wait().expect("it ended");
        let (journal, recovery) = open(folder.path());
        torn += usize::from(recovery.torn > 0);
        assert!(acknowledged > 0, "round {round}: it wrote nothing");
        let kept = journal.state().seq();
        assert!(kept >= acknowledged, "round {round}: {kept} of {acknowledged}");
    }
    println!("{torn} torn tails");
}
