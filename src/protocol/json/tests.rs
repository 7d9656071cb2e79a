use proptest::prelude::*;

use super::*;

fn skip_all(text: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(text);
    reader.skip()?;
    reader.end()
}

fn strings(text: &str) -> Result<String, DecodeError> {
    let mut reader = Reader::new(text.as_bytes());
    let text = reader.string()?.into_owned();
    reader.end()?;
    Ok(text)
}

#[test]
fn valid_documents_are_read_to_their_end() {
    let documents = [
        "0",
        "-0",
        "1.5e-7",
        "1E+3",
        "NaN",
        "-Infinity",
        "Infinity",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        "[[],{},[{}]]",
        " { \"a\" : [ 1 , 2 ] , \"b\" : null } ",
        "{\"a\":{\"a\":{}}}",
        "[1,[2,{\"x\":[3]}],4]",
    ];
    for text in documents {
        assert_eq!(skip_all(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn broken_documents_are_refused_where_they_break() {
    let documents = [
        ("", 0),
        (" ", 1),
        ("{", 1),
        ("[1", 2),
        ("[1,]", 3),
        ("[,1]", 1),
        ("{\"a\"}", 4),
        ("{\"a\":}", 5),
        ("{\"a\":1,}", 7),
        ("{a:1}", 1),
        ("[1 2]", 3),
        ("1 2", 2),
        ("01", 1),
        ("1.", 2),
        (".5", 0),
        ("+1", 0),
        ("1e", 2),
        ("-", 1),
        ("-NaN", 1),
        ("nul", 3),
        ("trux", 3),
        ("Inf", 3),
        ("[}", 1),
        ("{]", 1),
        ("[1}", 2),
        ("\"abc", 4),
        ("\"a\nb\"", 2),
        ("\"\\x\"", 3),
        ("\"\\u12\"", 5),
        ("'a'", 0),
    ];
    for (text, offset) in documents {
        let error = skip_all(text.as_bytes()).expect_err(text);
        assert_eq!(error.offset(), offset, "{text}: {error}");
    }
    let error = skip_all(b"\"a\xff\"").expect_err("not UTF-8");
    assert_eq!((error.offset(), error.kind()), (2, &DecodeErrorKind::InvalidString("not UTF-8")));
}

#[test]
fn nesting_is_bounded_and_does_not_use_the_stack() {
    let nested = |open: &str, close: &str, levels: usize| {
        format!("{}0{}", open.repeat(levels), close.repeat(levels))
    };
    let limit = usize::try_from(DEPTH_MAX).expect("small");
    assert_eq!(skip_all(nested("[", "]", limit).as_bytes()), Ok(()));
    assert_eq!(skip_all(nested("{\"a\":", "}", limit).as_bytes()), Ok(()));
    for text in
        [nested("[", "]", limit + 1), nested("[", "]", 1_000_000), "{\"a\":[".repeat(99_999)]
    {
        let error = skip_all(text.as_bytes()).expect_err("too deep");
        assert_eq!(error.kind(), &DecodeErrorKind::TooDeep { limit: DEPTH_MAX });
    }
}

#[test]
fn escapes_and_surrogates_follow_rfc_8259() {
    assert_eq!(strings(r#""a\"\\\/\b\f\n\r\té""#).as_deref(), Ok("a\"\\/\u{8}\u{c}\n\r\té"));
    assert_eq!(strings(r#""\ud83d\ude00!""#).as_deref(), Ok("😀!"));
    for lone in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ude00""#, r#""\ud83d\u0041""#] {
        let error = strings(lone).expect_err(lone);
        assert_eq!(error.kind(), &DecodeErrorKind::InvalidString("a lone surrogate"), "{lone}");
    }
}

#[test]
fn errors_carry_a_json_pointer() {
    let mut reader = Reader::new(br#"{"a/b":[0,{"c~":x}]}"#);
    let error = reader
        .object(|r, _| {
            r.array(
                |r| if r.peek()? == Token::Object { r.object(|r, _| r.skip()) } else { r.skip() },
            )
        })
        .expect_err("x is no value");
    assert_eq!((error.pointer(), error.offset()), ("/a~1b/1/c~0", 16));

    let mut reader = Reader::new(b"[[1,2],[3,true]]");
    let error = reader.flattened(|r| r.number().map(|_| ())).expect_err("true is no number");
    assert_eq!((error.pointer(), error.offset()), ("/1/1", 10));
}

#[test]
fn floats_always_look_like_floats() {
    let f32 = |value| {
        let mut out = Vec::new();
        write_f32(&mut out, value);
        String::from_utf8(out).expect("text")
    };
    let cases = [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e30, "1e30"),
        (f32::MIN_POSITIVE, "1.1754944e-38"),
        (f32::NAN, "NaN"),
        (f32::INFINITY, "Infinity"),
        (f32::NEG_INFINITY, "-Infinity"),
    ];
    for (value, text) in cases {
        assert_eq!(f32(value), text);
    }
}

proptest! {
    #[test]
    fn what_serde_json_writes_is_accepted(value in json()) {
        let text = serde_json::to_vec(&value).expect("serialises");
        prop_assert_eq!(skip_all(&text), Ok(()));
    }

    #[test]
    fn what_is_accepted_without_the_tokens_is_json(text in "[\\[\\]{}:,\"a0-9.eE+tn \\\\-]{0,12}") {
        let ours = skip_all(text.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // serde_json refuses numbers beyond f64, which are well-formed.
        let out_of_range = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
        prop_assert!(ours == theirs.is_ok() || out_of_range, "{text}: {theirs:?}");
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _outcome = skip_all(&bytes);
    }

    #[test]
    fn strings_survive_the_round_trip(text in any::<String>()) {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        let again = strings(std::str::from_utf8(&out).expect("UTF-8"));
        prop_assert_eq!(again.as_deref(), Ok(text.as_str()));
        prop_assert_eq!(serde_json::from_slice::<String>(&out).ok(), Some(text));
    }

    #[test]
    fn floats_survive_the_round_trip(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        let mut out = Vec::new();
        write_f64(&mut out, value);
        let text = std::str::from_utf8(&out).expect("UTF-8");
        if value.is_finite() {
            prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(bits));
        }
        prop_assert!(text.contains(['.', 'e', 'N', 'I']), "{}", text);
        prop_assert_eq!(skip_all(&out), Ok(()));
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
