use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn rules() -> Rules {
    let ignore = ["/id", "/model_version", "/outputs/*/parameters"];
    let ignore = ignore.iter().map(|text| JsonPointer::parse(text).unwrap()).collect();
    Rules { ignore, tolerance: 1e-6, floor: 1e-3 }
}

fn whole(status: u16, body: &[u8]) -> Answer<'_> {
    Answer { status, encoding: "", body: Body::Whole(body) }
}

fn of(recorded: &str, replayed: &str) -> Verdict {
    compare(whole(200, recorded.as_bytes()), whole(200, replayed.as_bytes()), &rules())
}

/// The pointer and both sides of a difference.
fn difference(recorded: &str, replayed: &str) -> (String, String, String) {
    match of(recorded, replayed) {
        Verdict::Differing(found) => (found.pointer, found.recorded, found.replayed),
        other => panic!("{recorded} and {replayed}: {other:?}"),
    }
}

#[test]
fn statuses_come_first() {
    let compare = |a, b| compare(whole(a, b"x"), whole(b, b"x"), &rules());
    assert_eq!(compare(200, 503), Verdict::StatusClass);
    assert!(matches!(compare(400, 404), Verdict::Differing(_)));
    assert_eq!(compare(404, 404), Verdict::Equal(Sameness::Bytes));
}

#[test]
fn a_body_that_was_not_kept_is_settled_by_its_hash_or_not_at_all() {
    let digest = |bytes, hash| Answer { body: Body::Digest { bytes, hash }, ..whole(200, b"") };
    let compare = |recorded| compare(recorded, whole(200, b"abc"), &rules());
    assert_eq!(compare(digest(3, Some(xxh3(b"abc")))), Verdict::Equal(Sameness::Bytes));
    assert_eq!(compare(digest(3, Some(xxh3(b"abd")))), Verdict::Unknown);
    assert_eq!(compare(digest(3, None)), Verdict::Unknown);
}

#[test]
fn names_of_requests_and_versions_order_and_spelling_do_not_matter() {
    let recorded = r#"{"id":"1","model_version":"v1","a":[1, 2.50],"b":null}"#;
    let replayed = r#"{"b":null,"id":"2","a":[1.0,2.5]}"#;
    assert_eq!(of(recorded, recorded), Verdict::Equal(Sameness::Bytes));
    assert_eq!(of(recorded, replayed), Verdict::Equal(Sameness::Json));
}

#[test]
fn places_are_named_alike_for_all_answers_and_bounded() {
    let places =
        |recorded: &Value, replayed: &Value| match of(&recorded.to_string(), &replayed.to_string())
        {
            Verdict::Differing(found) => found.places.into_iter().collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
    let answer = |label: u32, scores: [f64; 3]| {
        json!({ "outputs": [{ "name": "label", "data": [label] }, { "name": "p", "data": scores }],
                "parameters": { "a": scores } })
    };
    let found = places(&answer(1, [0.1, 0.2, 0.7]), &answer(2, [0.1, 0.4, 0.5]));
    assert_eq!(found, ["/outputs/label/data/*", "/outputs/p/data/*", "/parameters/a/*"]);
    assert_eq!(places(&json!([[1]]), &json!([[2]])), ["/*/*"]);
    assert_eq!(places(&json!(1), &json!(2)), ["body"]);
    let many = |value: u32| Value::from_iter((0..99).map(|n| (format!("n{n}"), json!(value))));
    assert_eq!(places(&many(1), &many(2)).len(), PLACES_MAX);
    let Verdict::Differing(found) = of("x", "y") else { panic!("no JSON") };
    assert_eq!(found.places.into_iter().collect::<Vec<_>>(), ["body"]);
}

#[test]
fn outputs_are_matched_by_name_and_other_arrays_by_place() {
    let answer = |outputs: Value| json!({ "outputs": outputs }).to_string();
    let (label, scores) =
        (json!({ "name": "label", "data": [1] }), json!({ "name": "scores", "data": [0.5, 0.25] }));
    let recorded = answer(json!([label, scores]));
    assert_eq!(of(&recorded, &answer(json!([scores, label]))), Verdict::Equal(Sameness::Json));
    let other = json!({ "name": "scores", "data": [0.5, 0.75], "parameters": { "x": 1 } });
    let (pointer, old, new) = difference(&recorded, &answer(json!([other, label])));
    assert_eq!((&*pointer, &*old, &*new), ("/outputs/1/data/1", "0.25", "0.75"));
    let (pointer, _, new) = difference(&recorded, &answer(json!([label])));
    assert_eq!((&*pointer, &*new), ("/outputs/1", "nothing"));
    let (pointer, old, _) = difference("[1,2]", "[1,2,3]");
    assert_eq!((&*pointer, &*old), ("/2", "nothing"));
}

#[test]
fn whole_numbers_are_equal_or_not_and_others_may_be_close() {
    assert_eq!(difference(r#"{"a/b":[1]}"#, r#"{"a/b":[2]}"#).0, "/a~1b/0");
    assert_eq!(difference("[123456789]", "[123456790]").0, "/0", "labels are never close");
    let Verdict::Close(worst) = of("[1.0,100.0]", "[1.0000001,100.00005]") else { panic!() };
    assert_eq!(worst.pointer, "/1");
    assert!((worst.amount - 5e-7).abs() < 1e-9, "{worst:?}");
    assert!(matches!(of("[1e-12]", "[3e-12]"), Verdict::Close(_)), "near zero the floor counts");
    assert!(matches!(of("[0.1]", "[0.11]"), Verdict::Differing(_)));
    assert_eq!(of("[0.0]", "[-0.0]"), Verdict::Equal(Sameness::Json));
}

#[test]
fn the_largest_deviation_is_known_also_where_answers_differ() {
    let Verdict::Differing(found) = of("[1.0,1.0]", "[1.1,2.0]") else { panic!() };
    assert_eq!(found.pointer, "/0");
    assert_eq!(found.worst, Some(Deviation { amount: 0.5, pointer: "/1".to_owned() }));
}

#[test]
fn numbers_that_json_lacks_are_compared_as_words_and_what_is_not_json_as_bytes() {
    assert_eq!(
        of(r#"{"a": [NaN,-Infinity]}"#, r#"{"a":[NaN,-Infinity]}"#),
        Verdict::Equal(Sameness::Json)
    );
    assert_eq!(difference(r#"["NaN\"",NaN]"#, r#"["NaN\"",Infinity]"#).0, "/1");
    assert_eq!(difference("text", "test"), (String::new(), "4 bytes".into(), "4 bytes".into()));
    let gzip = |body| Answer { encoding: "gzip", ..whole(200, body) };
    assert!(matches!(compare(gzip(b"[1]"), gzip(b"[1 ]"), &rules()), Verdict::Differing(_)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        "[a-z\"/~]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z~/]{1,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether a verdict is equal, close or differing.
fn class(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Equal(_) => 0,
        Verdict::Close(_) => 1,
        Verdict::Differing(_) => 2,
        Verdict::StatusClass | Verdict::Unknown => 3,
    }
}

proptest! {
    #[test]
    fn an_answer_equals_itself_however_it_is_spelled(value in any_json()) {
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(class(&of(&value.to_string(), &pretty)), 0);
    }

    #[test]
    fn which_answer_came_first_does_not_matter(a in any_json(), b in any_json()) {
        let (a, b) = (a.to_string(), b.to_string());
        prop_assert_eq!(class(&of(&a, &b)), class(&of(&b, &a)));
    }

    #[test]
    fn different_values_differ_and_the_pointer_leads_to_a_place_that_differs(
        a in any_json(), b in any_json(),
    ) {
        let rules = Rules { ignore: Vec::new(), tolerance: 0.0, floor: 1e-3 };
        let (old, new) = (a.to_string(), b.to_string());
        let verdict = compare(whole(200, old.as_bytes()), whole(200, new.as_bytes()), &rules);
        match verdict {
            Verdict::Differing(found) => prop_assert!(a.pointer(&found.pointer) != b.pointer(&found.pointer)),
            verdict => prop_assert!(class(&verdict) == 0),
        }
    }

    #[test]
    fn a_number_is_close_exactly_within_the_tolerance(
        number in prop_oneof![-1e6..1e6_f64, -1e-3..1e-3_f64], share in 0.0..2.0_f64, above: bool,
    ) {
        let rules = rules();
        let step = rules.tolerance * share * f64::max(f64::abs(number), rules.floor);
        let other = if above { number + step } else { number - step };
        let deviation = rules.deviation(number, other);
        let json = |number: f64| json!({ "data": [number] }).to_string();
        let wanted = if deviation == 0.0 { 0 } else if deviation <= rules.tolerance { 1 } else { 2 };
        // Text and back may move the last digit.
        prop_assume!((deviation - rules.tolerance).abs() > 1e-12);
        prop_assert_eq!(class(&of(&json(number), &json(other))), wanted);
    }
}
