//! Broken configurations: each mistake is found where it stands, and nothing else is.

use super::*;

/// Stands before the character where the mistake must be reported; the files use it for nothing else.
const MARK: char = '⟪';

/// Follows `listen`, and is followed by a sound model: a mistake each.
const CASES: &[(Code, &str)] = &include!("broken/cases.rs");

/// A whole file each.
const FILES: &[(Code, &str)] = &[
    (Code::Missing, "⟪"),
    (Code::Missing, "⟪admin = \"127.0.0.1:9901\""),
    (Code::UnknownKey, "⟪lsten = \"127.0.0.1:8080\""),
    (Code::WrongType, "listen = ⟪8080"),
    (Code::WrongType, "listen = ⟪[\"127.0.0.1:8080\"]"),
    (Code::Malformed, "listen = ⟪\":8080\""),
    (Code::Malformed, "listen = ⟪\"localhost:8080\""),
    (Code::Malformed, "listen = ⟪\"127.0.0.1\""),
    (Code::Malformed, "listen = ⟪\"::1:8080\""),
    (
        Code::Missing,
        "listen = \"0.0.0.0:80\"\n[protocols]\n⟪repository = true\n[models.m.versions.v]\nonnx = \"model.onnx\"",
    ),
    (Code::AddressConflict, "listen = ⟪\"127.0.0.1:9901\""),
    (Code::AddressConflict, "listen = ⟪\"0.0.0.0:9901\""),
    (Code::AddressConflict, "listen = \"127.0.0.1:80\"\nadmin = ⟪\"127.0.0.1:80\""),
    (Code::AddressConflict, "listen = \"[::]:80\"\nadmin = ⟪\"127.0.0.1:80\""),
    (Code::AddressConflict, "listen = \"[::1]:80\"\nadmin = ⟪\"[::]:80\""),
    (
        Code::AddressConflict,
        "listen = \"0.0.0.0:80\"\n[models.m.versions.v]\nbackends = [⟪\"http://127.0.0.1:80\"]",
    ),
    (
        Code::AddressConflict,
        "listen = \"0.0.0.0:80\"\n[models.m.versions.v]\nbackends = [⟪\"http://localhost:9901\"]",
    ),
    (Code::Syntax, "listen = \"127.0.0.1:80\"\n[models⟪\n"),
    (Code::Syntax, "listen = 127.0⟪.0.1:80\n"),
    (Code::Syntax, "listen = \"127.0.0.1:80⟪\n"),
    (Code::Syntax, "listen = \"127.0.0.1:80\"\nworkers =⟪\n"),
    (Code::Syntax, "listen = \"127.0.0.1:80\"\nworkers ⟪3\n"),
    (Code::Duplicate, "listen = \"127.0.0.1:80\"\n⟪listen = \"127.0.0.1:81\""),
];

/// Loads `text` without its mark, and says what is not as expected.
fn check(code: Code, text: &str) -> Result<(), String> {
    let (before, after) = text.split_once(MARK).expect("a mark");
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let text = format!("{before}{after}");
    let expected = format!("{}@{line}:{column}", code.as_str());
    let found = load_text(&text).err().ok_or_else(|| format!("{expected} not found:\n{text}"))?;
    let (human, json) = (found.render_human(false), found.render_json());
    let clear = |one: &Diagnostic| one.help.is_some() || one.message.contains("must be");
    let good = codes(&found) == [expected.as_str()]
        && human.contains(&format!("main.toml:{line}:{column}"))
        && found.iter().all(|one| clear(one) || one.message.starts_with("not TOML"))
        && !human.contains("hunter2")
        && !json.contains("hunter2");
    if good { Ok(()) } else { Err(format!("{expected} alone, not:\n{human}\nof\n{text}")) }
}

#[test]
fn each_mistake_is_reported_where_it_stands_and_alone() {
    let tail = "\n[models.sound.versions.v1]\nonnx = \"model.onnx\"\n";
    let whole = |text: &str| format!("listen = \"127.0.0.1:8080\"\n{text}{tail}");
    let cases = CASES.iter().map(|(code, text)| check(*code, &whole(text)));
    let files = FILES.iter().map(|(code, text)| check(*code, text));
    let wrong: Vec<String> = cases.chain(files).filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n----\n"));
    assert!(CASES.len() + FILES.len() >= 60);
}

#[test]
fn five_mistakes_are_five_diagnostics() {
    let found = load_text(
        r#"listen = "127.0.0.1:8080"
wrokers = 4
[limits]
body = "16"
[log]
durability = "fsync"
[models.fraud]
traffic = { v1 = "90%", v2 = "20%" }
[models.fraud.versions.v1]
backends = ["https://a:443"]
[models.fraud.versions.v2]
backends = ["http://a:80"]
"#,
    )
    .expect_err("five mistakes");
    assert_eq!(
        codes(&found),
        ["PM-C003@2:1", "PM-C006@4:8", "PM-C006@6:14", "PM-C012@8:11", "PM-C015@10:13"],
        "{found}"
    );
}

#[test]
fn mistakes_of_several_files_come_together() {
    let bench = Bench::new();
    bench.write("main.toml", format!("include = [\"conf.d/*.toml\"]\n{SMALL}[drain]\ndelay = 3"));
    bench.write("conf.d/a.toml", "include = []\nlisten = \"0.0.0.0:1\"\n[models.a]\nx = 1");
    bench.write("conf.d/b.toml", b"node = \"\xff\"\n");
    bench.write("conf.d/c.toml", "broken");
    let found = bench.load(Checks::Full).expect_err("mistakes");
    let files: Vec<_> = found.iter().map(|one| one.location.file.clone()).collect();
    let a = bench.path("conf.d/a.toml");
    let (main, b, c) =
        (bench.path("main.toml"), bench.path("conf.d/b.toml"), bench.path("conf.d/c.toml"));
    let expected = [&main, &a, &a, &a, &b, &c];
    assert_eq!(files.iter().collect::<Vec<_>>(), expected, "{found}");
    let expected =
        ["PM-C004@7:9", "PM-C014@1:1", "PM-C010@2:1", "PM-C003@4:1", "PM-C001@1:9", "PM-C002@1:7"];
    assert_eq!(codes(&found), expected);
    bench.write("conf.d/b.toml", "[models.a.versions.v1]\nonnx = \"../model.onnx\"");
    bench.write("conf.d/c.toml", "[models.a.versions.v1]\nonnx = \"../model.onnx\"");
    let found = bench.load(Checks::Full).expect_err("mistakes");
    let expected = ["PM-C004@7:9", "PM-C014@1:1", "PM-C010@2:1", "PM-C003@4:1", "PM-C010@2:1"];
    assert_eq!(codes(&found), expected, "{found}");
    let twice = found.iter().last().expect("one").related[0].location.file.clone();
    assert_eq!(twice, bench.path("conf.d/b.toml"));
}

#[test]
fn files_that_cannot_be_read_are_diagnostics() {
    let bench = Bench::new();
    let found = bench.load(Checks::Full).expect_err("no file");
    assert_eq!(codes(&found), ["PM-C001@1:1"], "{found}");
    assert!(found.to_string().contains("main.toml"), "{found}");
    bench.write("main.toml", "#".repeat(source::FILE_BYTES_MAX + 1));
    assert_eq!(codes(&bench.load(Checks::Full).expect_err("too large")), ["PM-C001@1:1"]);
    bench.write("main.toml", format!("\u{feff}{SMALL}"));
    assert!(bench.load(Checks::Full).is_ok(), "a byte order mark is no mistake");
    bench.write("main.toml", format!("include = [\"d/*\"]{SMALL}"));
    (0..300).for_each(|n| bench.write(&format!("d/{n}.toml"), ""));
    assert_eq!(codes(&bench.load(Checks::Full).expect_err("too many")), ["PM-C018@1:12"]);
}

#[test]
fn a_slip_that_breaks_the_syntax_makes_nothing_else_look_wrong() {
    let text = std::fs::read_to_string(repository("config/examples/production.toml"));
    let text = text.expect("readable").replace("include = ", "# include = ");
    let line = |line: &str| line.split('#').next().unwrap_or("").to_owned() + "\n";
    let sound: String = text.lines().map(line).collect();
    let bench = Bench::new();
    let mut broken = 0;
    for (at, c) in sound.char_indices().filter(|(_, c)| "\"[]{}=,\n.".contains(*c)) {
        let mut text = sound.clone();
        text.remove(at);
        bench.write("main.toml", &text);
        let Err(found) = bench.load(Checks::Offline) else { continue };
        if found.iter().all(|one| one.code != Code::Syntax) {
            continue;
        }
        broken += 1;
        let slip = sound.split_at(at).0.matches('\n').count() + 1;
        let elsewhere = |one: &&Diagnostic| one.code != Code::Syntax && one.location.line != slip;
        let wrong = found.iter().find(elsewhere);
        assert_eq!(wrong, None, "without the {c:?} in line {slip}:\n{found}");
    }
    assert!(broken > 250, "{broken} slips break the syntax");
}

#[test]
fn mistakes_next_to_a_syntax_error_are_found_as_well() {
    let found = load_text(
        r#"listen = 127.0.0.1
wrokers = 4
[limits]
body = "16"
[log
durability = "fsync"
[drain]
delay = 5
"#,
    );
    let found = found.expect_err("mistakes");
    assert_eq!(codes(&found), ["PM-C002@1:15", "PM-C002@5:5"], "{found}");
    let found = load_text(
        "listen = \"127.0.0.1:80\"\nnode = edge\nwrokers = 4\n[limits]\nbody = \"16\"\n[drain]\ndelay = 5",
    );
    let found = found.expect_err("mistakes");
    assert_eq!(
        codes(&found),
        ["PM-C002@2:8", "PM-C003@3:1", "PM-C006@5:8", "PM-C004@7:9"],
        "{found}"
    );
}

#[test]
fn nesting_is_bounded() {
    for depth in [20, 79, 200, 100_000] {
        let text =
            format!("listen = \"127.0.0.1:80\"\nx = {}{}", "[".repeat(depth), "]".repeat(depth));
        let found = load_text(&text).expect_err("nested too deep");
        assert!(codes(&found).iter().any(|code| code.contains("@2:")), "{found}");
    }
    let text = format!("{} = 1", vec!["a"; 50_000].join("."));
    assert!(load_text(&text).is_err());
}

#[cfg(feature = "sink-s3")]
#[test]
fn mistakes_about_buckets_are_reported_where_they_stand() {
    let cases = [
        (Code::Choice, "⟪s3 = \"logs\"\nhttp = \"http://a/\""),
        (Code::Choice, "s3 = \"logs\"\n⟪authorization = \"${env:SECRET}\""),
        (Code::Malformed, "s3 = ⟪\"s3://logs/a\""),
        (Code::Malformed, "s3 = \"logs\"\nendpoint = ⟪\"https://s3:443\""),
        (Code::Malformed, "s3 = \"logs\"\nregion = ⟪\"a b\""),
        (Code::Missing, "s3 = \"logs\"\n⟪access_key_id = \"${env:SECRET}\""),
    ];
    let whole = |text: &str| format!("{SMALL}[sinks.s]\n{text}\n");
    let wrong: Vec<String> =
        cases.iter().filter_map(|(code, text)| check(*code, &whole(text)).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n----\n"));
}
