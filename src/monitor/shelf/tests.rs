//! What is taken up after a restart, what is not, and what is forgotten.

use super::*;
use crate::domain::ids::{ModelName, VersionName};
use crate::domain::stats::layout::Role;
use crate::monitor::plan::{TensorAbout, Tensors};
use crate::monitor::values::{Cell, Part, Values};

fn key(version: &str) -> VersionKey {
    VersionKey { model: ModelName::new("m"), version: VersionName::new(version) }
}

/// A learner that has seen some rows of each type, and one that nobody can tell the type of.
fn learner() -> Learner {
    let about =
        |name: &str| TensorAbout { name: name.to_owned(), columns: Vec::new(), width: Some(1) };
    let tensors: Tensors = [["a", "b", "c", "d"].map(about).to_vec(), vec![about("p")]];
    let mut learner = Learner::default();
    for at in 0..300_u16 {
        let cells = [
            Cell::Number(f64::from(at) / 7.0),
            Cell::Text(format!("t{}", at % 5).into()),
            Cell::Boolean(at % 3 == 0),
            if at % 2 == 0 { Cell::Missing } else { Cell::Number(f64::NAN) },
        ];
        let inputs = (0..).zip(cells);
        let inputs = inputs.map(|(at, cell)| Part::of_cells(Role::Input, at, 1, vec![cell]));
        let output = Part::of_cells(Role::Output, 0, 1, vec![Cell::Integer((at % 2).into())]);
        let values = Values { parts: inputs.chain([output]).collect() };
        learner.learn(&values, &tensors, true);
    }
    learner
}

fn shelf() -> (tempfile::TempDir, Shelf) {
    let dir = tempfile::tempdir().expect("a directory");
    let shelf = Shelf::new(dir.path());
    (dir, shelf)
}

#[test]
fn rows_are_taken_up_as_they_were() {
    let (dir, shelf) = shelf();
    let before = learner();
    assert!(before.rows() == 300 && before.bytes() > 300 * 4 * 3);
    assert_eq!(shelf.take_up(&key("v1"), None), Learner::default(), "nothing was kept");
    shelf.keep_rows(&key("v1"), None, &before).expect("they are written");
    assert_eq!(shelf.take_up(&key("v1"), None), before);
    assert_eq!(shelf.take_up(&key("v2"), None), Learner::default(), "another version");
    assert_eq!(shelf.take_up(&key("v1"), Some([7; 32])), Learner::default(), "another artifact");
    assert_eq!(Shelf::read_only(dir.path()).take_up(&key("v1"), None), Learner::default());
    let baseline = |learner: &Learner| {
        let (file, _) = learner.finish(&key("v1"), None, &[]).expect("a sound baseline");
        serde_json::to_string(&file).expect("JSON")
    };
    assert_eq!(baseline(&shelf.take_up(&key("v1"), None)), baseline(&before));
    shelf.drop_rows(&key("v1"));
    shelf.drop_rows(&key("v1"));
    assert_eq!(shelf.take_up(&key("v1"), None), Learner::default());
}

#[test]
fn rows_that_are_damaged_cut_or_of_another_form_are_left_aside() {
    let (_dir, shelf) = shelf();
    shelf.keep_rows(&key("v1"), None, &learner()).expect("they are written");
    let path = shelf.rows(&key("v1"));
    let whole = fs::read(&path).expect("the file");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("a file");
        let error = read_rows(&path).err().expect("it is refused");
        assert_eq!(shelf.take_up(&key("v1"), None), Learner::default());
        error.to_string()
    };
    for at in [0, 9, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        assert_eq!(refused(&changed), "it is damaged");
    }
    assert_eq!(refused(&whole[..whole.len() / 2]), "it is damaged");
    assert_eq!(refused(&[]), "it is damaged");
    let none = Rows { digest: None, learner: &Learner::default() };
    let other = seal(b"PMROWS0\n", &none).expect("it can be written");
    assert_eq!(refused(&other), "it was written by another version of the program");
    assert_eq!(refused(&vec![0; ROWS_BYTES_MAX + 2]), "it is larger than rows can be");
}

#[test]
fn files_of_versions_that_are_gone_are_forgotten_after_a_month_and_others_stay() {
    let (_dir, mut shelf) = shelf();
    let (served, gone, back) = (key("v1"), key("v2"), key("v3"));
    for key in [&served, &gone, &back] {
        shelf.keep_baseline(key, b"{}").expect("it is written");
        shelf.keep_rows(key, None, &Learner::default()).expect("they are written");
    }
    let other = shelf.dir.join("README");
    fs::write(&other, "somebody's").expect("a file");
    let half = shelf.dir.join("m@v2.json.tmp");
    fs::write(&half, "{").expect("a file");
    let day = |days: u64| SystemTime::now() + Duration::from_secs(days * DAY + 60);
    let is_there = |shelf: &Shelf, key| shelf.baseline(key).exists() && shelf.rows(key).exists();

    shelf.clear(&[served.clone(), back.clone()], day(20));
    assert_eq!(shelf.forgotten(), 0);
    shelf.clear(std::slice::from_ref(&served), day(29));
    assert!([&served, &gone, &back].into_iter().all(|key| is_there(&shelf, key)));
    shelf.clear(std::slice::from_ref(&served), day(31));
    assert!(is_there(&shelf, &served) && is_there(&shelf, &back));
    assert!(!shelf.baseline(&gone).exists() && !shelf.rows(&gone).exists() && !half.exists());
    assert_eq!(shelf.forgotten(), 3);
    assert_eq!(shelf.waited(&back, day(31)), Some(11), "since it was served");
    assert_eq!(shelf.waited(&served, day(31)), None);
    shelf.clear(std::slice::from_ref(&served), day(51));
    assert!(!shelf.baseline(&back).exists());
    // However long a version is served, its file is needed.
    (60..400).step_by(30).for_each(|at| shelf.clear(std::slice::from_ref(&served), day(at)));
    assert!(is_there(&shelf, &served) && other.exists());
}

#[test]
fn of_too_many_files_the_oldest_are_forgotten() {
    let (_dir, mut shelf) = shelf();
    fs::create_dir_all(&shelf.dir).expect("a directory");
    let now = SystemTime::now();
    let path = |at: usize| shelf.dir.join(format!("m@v{at}.json"));
    for at in 0..FILES_MAX + 5 {
        fs::write(path(at), "{}").expect("a file");
        touch(&path(at), now - Duration::from_secs(at as u64)).expect("it is marked");
    }
    let (newest, oldest) = (path(0), path(FILES_MAX + 4));
    shelf.clear(&[], now);
    assert_eq!(shelf.forgotten(), 5);
    assert!(newest.exists() && !oldest.exists());
}
