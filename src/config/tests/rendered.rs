//! How diagnostics look.

use super::*;

fn render(text: &str) -> String {
    let bench = Bench::new();
    bench.write("main.toml", text);
    let found = bench.load(Checks::Full).expect_err("a mistake");
    let path = bench.path("");
    found.render_human(false).replace(path.to_str().expect("UTF-8"), "")
}

#[test]
fn an_unknown_key_shows_its_line_and_a_suggestion() {
    insta::assert_snapshot!(render("listen = \"127.0.0.1:80\"\n[models.fraud]\ntrafic = { v1 = \"100%\" }\nversions.v1.onnx = \"model.onnx\""), @r#"
    error[PM-C003]: unknown key `trafic` in `models.fraud`
     --> main.toml:3:1
      |
    3 | trafic = { v1 = "100%" }
      | ^^^^^^
      = help: did you mean `traffic`?

    1 error
    "#);
}

#[test]
fn shares_that_are_missing_come_with_a_line_to_paste() {
    insta::assert_snapshot!(render("listen = \"127.0.0.1:80\"\n[models.fraud.versions]\nv1.onnx = \"model.onnx\"\n\"2.0\".onnx = \"model.onnx\"\nv3.onnx = \"model.onnx\""), @r#"
    error[PM-C012]: `models.fraud` has 3 versions and no `traffic`
     --> main.toml:2:9
      |
    2 | [models.fraud.versions]
      |         ^^^^^
      = help: add: traffic = { "2.0" = "33.4%", v1 = "33.3%", v3 = "33.3%" }

    1 error
    "#);
}

#[test]
fn two_routes_that_are_one_show_both_places() {
    insta::assert_snapshot!(render(&format!("{SMALL}[routes.a]\npath = \"/x\"\nmodel = \"iris\"\n\n[routes.b]\npath = \"/x\"\nmodel = \"iris\"")), @r#"
    error[PM-C010]: routes `a` and `b` have the same conditions
     --> main.toml:9:9
      |
    9 | [routes.b]
      |         ^
     ::: main.toml:5:9
      |
    5 | [routes.a]
      |         - the other one is here
      = help: one of them could never take a request

    1 error
    "#);
}

#[test]
fn secrets_do_not_show() {
    insta::assert_snapshot!(render(&format!("{SMALL}[limits]\nidle = \"${{env:SECRET}}\"")), @r#"
    error[PM-C006]: `limits.idle` must be a duration such as "250ms" or "5s" (value hidden)
     --> main.toml:6:8
      |
    6 | idle = "${env:SECRET}"
      |        ^^^^^^^^^^^^^^^

    1 error
    "#);
}

#[test]
fn syntax_errors_look_like_all_others() {
    insta::assert_snapshot!(render("listen = \"127.0.0.1:80\"\nnode = edge-1\n"), @r#"
    error[PM-C002]: not TOML: string values must be quoted, expected literal string
     --> main.toml:2:8
      |
    2 | node = edge-1
      |        ^^^^^^

    1 error
    "#);
}

#[test]
fn wide_characters_do_not_shift_the_mark() {
    insta::assert_snapshot!(render(&format!("{SMALL}[drain]\n\"日本\" = 1")), @r#"
    error[PM-C003]: unknown key `日本` in `drain`
     --> main.toml:6:1
      |
    6 | "日本" = 1
      | ^^^^^^
      = help: the keys of the drain are `delay` and `timeout`

    1 error
    "#);
}

#[test]
fn programs_get_an_array_of_objects() {
    let bench = Bench::new();
    bench.write("main.toml", format!("{SMALL}[drain]\ndelay = \"soon\""));
    let json = bench.load(Checks::Full).expect_err("a mistake").render_json();
    let path = bench.path("");
    insta::assert_snapshot!(json.replace(path.to_str().expect("UTF-8"), ""), @r#"
    [
      {
        "code": "PM-C006",
        "severity": "error",
        "file": "main.toml",
        "line": 6,
        "column": 9,
        "message": "`drain.delay` must be a duration, not `soon`",
        "help": "write a whole number and a unit (us, ms, s, m, h, d)",
        "source": "delay = \"soon\"",
        "related": []
      }
    ]
    "#);
}

#[test]
fn colors_only_when_asked_for() {
    let found = load_text("listen = 1").expect_err("a mistake");
    assert!(!found.render_human(false).contains('\u{1b}'));
    assert!(found.render_human(true).contains("\u{1b}[1;31merror[PM-C004]\u{1b}[0m"));
}
