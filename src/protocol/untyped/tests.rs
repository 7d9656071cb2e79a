use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::protocol::tensor::Shape;

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        datatype,
        shape: SmallVec::from_slice(shape),
        places: Vec::new(),
        ordered: true,
    }
}

fn rows(json: &str, kind: RowKind) -> Values<'_> {
    Values::Rows { rows: Reader::new(json.as_bytes()), kind }
}

fn instances(json: &str, specs: Option<&[TensorSpec]>) -> Result<Vec<Tensor>, DecodeError> {
    bind(&rows(json, RowKind::Instances), specs, "x")
}

fn columns(json: &str, specs: Option<&[TensorSpec]>) -> Result<Vec<Tensor>, DecodeError> {
    bind(&Values::Columns(Reader::new(json.as_bytes())), specs, "x")
}

fn csv(
    text: &str,
    header: Option<bool>,
    specs: Option<&[TensorSpec]>,
) -> Result<Vec<Tensor>, DecodeError> {
    bind(&Values::Csv { text: text.as_bytes(), header }, specs, "x")
}

fn tensor(name: &str, shape: &[usize], data: TensorData) -> Tensor {
    Tensor::new(name, shape, data).unwrap()
}

fn bytes(values: &[&str]) -> TensorData {
    TensorData::Bytes(values.iter().map(|value| value.as_bytes().to_vec()).collect())
}

/// The pointer and the message of an error.
fn wrong(result: Result<Vec<Tensor>, DecodeError>) -> (String, String) {
    let error = result.expect_err("wrong");
    (error.pointer().to_owned(), error.to_string())
}

#[test]
fn rows_of_the_one_input_become_its_tensor() {
    let iris = [spec("float_input", Datatype::Fp32, &[-1, 4])];
    let read = instances("[[5.1, 3.5, 1.4, 0.2], [6, 3, null, NaN]]", Some(&iris)).unwrap();
    let [read] = read.as_slice() else { panic!("one") };
    assert_eq!((read.name(), read.shape()), ("float_input", [2, 4].as_slice()));
    let TensorData::Fp32(values) = read.data() else { panic!("FP32") };
    assert_eq!(values[..5], [5.1, 3.5, 1.4, 0.2, 6.0]);
    assert!(values[6].is_nan() && values[7].is_nan());
    // Under its name as well.
    let named = instances(r#"[{"float_input":[1,2,3,4]}]"#, Some(&iris)).unwrap();
    assert_eq!(named[0].shape(), [1, 4]);
}

#[test]
fn named_columns_become_tensors_in_the_order_of_the_model() {
    let specs = [
        spec("age", Datatype::Int64, &[-1, 1]),
        spec("name", Datatype::Bytes, &[-1]),
        spec("vip", Datatype::Bool, &[-1]),
        spec("score", Datatype::Fp64, &[-1]),
    ];
    let json = r#"[{"vip":true,"age":9007199254740993,"name":"a","score":null},
                   {"age":-2.0,"name":{"b64":"/w=="},"score":1e3,"vip":false}]"#;
    let read = instances(json, Some(&specs)).unwrap();
    assert_eq!(read[0], tensor("age", &[2, 1], TensorData::Int64(vec![9_007_199_254_740_993, -2])));
    assert_eq!(read[1].data(), &TensorData::Bytes(vec![b"a".to_vec(), vec![0xff]]));
    assert_eq!(read[2], tensor("vip", &[2], TensorData::Bool(vec![true, false])));
    let TensorData::Fp64(scores) = read[3].data() else { panic!("FP64") };
    assert!(scores[0].is_nan() && scores[1] == 1000.0);
    // Rows without names, one cell for each of the model's inputs.
    let read = instances(r#"[[4,"b",true,0.5],[5,"c",false,1]]"#, Some(&specs)).unwrap();
    assert_eq!(read[1], tensor("name", &[2], bytes(&["b", "c"])));
}

#[test]
fn what_does_not_fit_is_named_by_row_and_column() {
    let age = [spec("age", Datatype::Int64, &[-1]), spec("sex", Datatype::Bytes, &[-1])];
    let iris = [spec("x", Datatype::Fp32, &[-1, 2])];
    let cases: [(&str, &[TensorSpec], &str, &str); 19] = [
        (
            r#"[{"age":1,"sex":"m"},{"age":null,"sex":"f"}]"#,
            &age,
            "/1/age",
            "null where INT64 is expected",
        ),
        (r#"[{"age":1,"sex":"m"},{"sex":"f"}]"#, &age, "/1", "column 'age' is missing"),
        (
            r#"[{"age":1,"sex":"m","x":1}]"#,
            &age,
            "/0/x",
            "unexpected column 'x'; there are 'age', 'sex'",
        ),
        (r#"[{"age":1,"age":2,"sex":"m"}]"#, &age, "/0/age", "column 'age' occurs twice"),
        (r#"[{"age":1.5,"sex":"m"}]"#, &age, "/0/age", "has a fraction, and INT64 has none"),
        (r#"[{"age":1,"sex":7}]"#, &age, "/0/sex", "a number where BYTES is expected"),
        (r#"[{"age":18446744073709551615,"sex":"m"}]"#, &age, "/0/age", "out of range for INT64"),
        (r#"[{"age":1,"sex":{"b64":"***"}}]"#, &age, "/0/sex/b64", "is not base64"),
        (
            r#"[{"age":1,"sex":{"hex":"00"}}]"#,
            &age,
            "/0/sex/hex",
            "an object where a value is expected",
        ),
        (r#"[[1,"m"],[2]]"#, &age, "/1", "a row of 1 where 2 columns are expected"),
        (r#"[[1,"m",3]]"#, &age, "/0", "a row of 3 where 2 columns are expected"),
        (
            r#"[[1,"m"],{"age":1,"sex":"f"}]"#,
            &age,
            "/1",
            "an object where the rows before it are arrays",
        ),
        (r"[1, 2]", &age, "/0", "values without names, but there are 'age', 'sex'; name them"),
        ("[[1,2],[3,4,5]]", &iris, "/1", "an array of 3 where the arrays before it have 2"),
        ("[[1,2],3]", &iris, "/1", "a value where the values before it are arrays"),
        ("[[1,[2]]]", &iris, "/0/1", "an array where the values before it are not"),
        ("[[1,2,3]]", &iris, "", "'x' has shape [1, 3], but [-1, 2] is declared"),
        ("[]", &iris, "", "there are no rows"),
        ("7", &iris, "", "a number where an array is expected"),
    ];
    for (json, specs, pointer, message) in cases {
        let (at, said) = wrong(instances(json, Some(specs)));
        assert_eq!(at, pointer, "{json}: {said}");
        assert!(said.contains(message), "{json}: {said}");
    }
}

#[test]
fn without_a_signature_the_widest_type_is_taken() {
    let cases = [
        ("[[1,2],[3,-4]]", tensor("x", &[2, 2], TensorData::Int64(vec![1, 2, 3, -4]))),
        ("[18446744073709551615,1]", tensor("x", &[2], TensorData::Uint64(vec![u64::MAX, 1]))),
        (
            "[18446744073709551615,-1]",
            tensor("x", &[2], TensorData::Fp64(vec![1.844_674_407_370_955_2e19, -1.0])),
        ),
        ("[1,2.5]", tensor("x", &[2], TensorData::Fp64(vec![1.0, 2.5]))),
        ("[\"a\",{\"b64\":\"Yg==\"}]", tensor("x", &[2], bytes(&["a", "b"]))),
        ("[true,false]", tensor("x", &[2], TensorData::Bool(vec![true, false]))),
        ("[[],[]]", tensor("x", &[2, 0], TensorData::Fp64(vec![]))),
        ("[Infinity]", tensor("x", &[1], TensorData::Fp64(vec![f64::INFINITY]))),
    ];
    for (json, expected) in cases {
        assert_eq!(instances(json, None), Ok(vec![expected]), "{json}");
    }
    let with_null = instances("[1,null]", None).unwrap();
    assert_eq!(with_null[0].datatype(), Datatype::Fp64);
    let named = instances(r#"[{"a":1,"b":"u"},{"b":"v","a":2}]"#, None).unwrap();
    assert_eq!(named[0], tensor("a", &[2], TensorData::Int64(vec![1, 2])));
    assert_eq!(named[1], tensor("b", &[2], bytes(&["u", "v"])));
    let mixed = [
        (r#"[1,"a"]"#, "/1", "a string where a number stood before"),
        (r#"[[1,"a"]]"#, "/0/1", "a string where a number stood before"),
        ("[true,1]", "/1", "a number where a boolean stood before"),
        (r#"["a",null]"#, "/1", "null among booleans or strings"),
        (r#"[null,"a"]"#, "/1", "null among booleans or strings"),
        (r#"[{"a":1},{"b":1}]"#, "/1/b", "unexpected column 'b'; there is 'a'"),
    ];
    for (json, pointer, message) in mixed {
        let (at, said) = wrong(instances(json, None));
        assert_eq!(at, pointer, "{json}: {said}");
        assert!(said.contains(message), "{json}: {said}");
    }
}

#[test]
fn whole_tensors_are_read_by_name_or_without_one() {
    let two = [spec("a", Datatype::Fp32, &[-1, 2]), spec("b", Datatype::Int32, &[])];
    let read = columns(r#"{"b":3,"a":[[1,2],[3,4]]}"#, Some(&two)).unwrap();
    assert_eq!(read[0], tensor("a", &[2, 2], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0])));
    assert_eq!(read[1], Tensor::new("b", Shape::new(), TensorData::Int32(vec![3])).unwrap());
    let one = [spec("a", Datatype::Fp32, &[-1, 2])];
    assert_eq!(columns("[[1,2]]", Some(&one)).unwrap()[0].shape(), [1, 2]);
    assert_eq!(columns("[1,2]", Some(&one)).unwrap()[0].shape(), [1, 2]);
    assert_eq!(columns("[]", Some(&one)).unwrap()[0].shape(), [0, 2]);
    let image = [spec("image", Datatype::Bytes, &[-1])];
    assert_eq!(columns(r#"{"b64":"Yg=="}"#, Some(&image)).unwrap()[0].shape(), [1]);
    let (at, said) = wrong(columns(r#"{"a":[[1,2]]}"#, Some(&two)));
    assert_eq!((at.as_str(), said.contains("column 'b' is missing")), ("", true));
}

#[test]
fn a_batch_is_implied_only_where_a_row_may_stand_alone() {
    let iris = [spec("x", Datatype::Fp32, &[-1, 4])];
    let plain = bind(&rows("[1,2,3,4]", RowKind::Plain), Some(&iris), "x").unwrap();
    assert_eq!(plain[0].shape(), [1, 4]);
    assert!(instances("[1,2,3,4]", Some(&iris)).is_err());
}

#[test]
fn the_cells_of_a_data_frame_are_named_or_packed() {
    let packed = [spec("float_input", Datatype::Fp32, &[-1, 2])];
    let expected = vec![tensor("float_input", &[2, 2], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0]))];
    let records = r#"[{"w":1,"h":2},{"h":4,"w":3}]"#;
    assert_eq!(bind(&rows(records, RowKind::Records), Some(&packed), "x"), Ok(expected.clone()));
    let split = |names: &[&'static str], json: &'static str| Values::Split {
        names: names.iter().map(|&name| name.into()).collect(),
        rows: Reader::new(json.as_bytes()),
    };
    let frame = split(&["w", "h"], "[[1,2],[3,4]]");
    assert_eq!(bind(&frame, Some(&packed), "x"), Ok(expected));
    let named = [spec("h", Datatype::Fp32, &[-1, 1]), spec("w", Datatype::Int8, &[-1])];
    let read = bind(&frame, Some(&named), "x").unwrap();
    assert_eq!(read[0], tensor("h", &[2, 1], TensorData::Fp32(vec![2.0, 4.0])));
    assert_eq!(read[1], tensor("w", &[2], TensorData::Int8(vec![1, 3])));
    let read = bind(&frame, None, "x").unwrap();
    assert_eq!(read[0], tensor("w", &[2], TensorData::Int64(vec![1, 3])));
    let cases = [
        (bind(&split(&["w"], "[[1]]"), Some(&named), "x"), "", "column 'h' is missing"),
        (bind(&split(&["w", "w"], "[[1,2]]"), None, "x"), "", "column 'w' occurs twice"),
        (bind(&split(&["w", "h"], "[[1,2],[3]]"), None, "x"), "/1", "a row of 1 where 2"),
        (
            bind(&rows(r#"[{"w":1,"h":2},{"w":3}]"#, RowKind::Records), Some(&packed), "x"),
            "/1",
            "column 'h' is missing",
        ),
        (
            bind(&rows(r#"[{"w":1,"h":2},{"w":"a","h":1}]"#, RowKind::Records), Some(&packed), "x"),
            "/1/w",
            "a string where FP32 is expected",
        ),
    ];
    for (result, pointer, message) in cases {
        let (at, said) = wrong(result);
        assert_eq!(at, pointer, "{said}");
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn names_of_places_decide_where_the_cells_of_a_data_frame_go() {
    let places = ["w", "h", "x"].map(str::to_owned).to_vec();
    let specs = [TensorSpec { places, ..spec("x", Datatype::Fp32, &[-1, 3]) }];
    let expected = vec![tensor("x", &[2, 3], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))];
    let split = |names: &[&'static str], json: &'static str| {
        let names = names.iter().map(|&name| name.into()).collect();
        bind(&Values::Split { names, rows: Reader::new(json.as_bytes()) }, Some(&specs), "x")
    };
    let records = |json: &str| bind(&rows(json, RowKind::Records), Some(&specs), "x");
    assert_eq!(split(&["x", "w", "h"], "[[3,1,2],[6,4,5]]"), Ok(expected.clone()));
    assert_eq!(records(r#"[{"x":3,"w":1,"h":2},{"w":4,"h":5,"x":6}]"#), Ok(expected.clone()));
    for text in ["h,x,w\n2,3,1\n5,6,4\n", "1,2,3\n4,5,6\n"] {
        assert_eq!(csv(text, None, Some(&specs)), Ok(expected.clone()), "{text}");
    }
    for (result, pointer, message) in [
        (
            split(&["x", "w", "q"], "[[3,1,2]]"),
            "",
            "unexpected column 'q'; there are 'w', 'h', 'x'",
        ),
        (split(&["x", "w"], "[[3,1]]"), "", "column 'h' is missing"),
        (split(&["x", "w", "h"], "[[3,1,2],[1,2]]"), "/1", "a row of 2 where 3 columns"),
        (split(&["x", "w", "h"], "[[3,1,true]]"), "/0/2", "a boolean where FP32 is expected"),
        (records(r#"[{"x":3,"w":1,"q":2}]"#), "/0/q", "unexpected column 'q'"),
        (records(r#"[{"x":3,"w":1}]"#), "/0", "column 'h' is missing"),
        (csv("h,x,q\n2,3,1\n", None, Some(&specs)), "", "unexpected column 'q'"),
        (csv("h,x,w\n2,3,a\n", None, Some(&specs)), "/0/w", "\"a\" is not FP32"),
    ] {
        let (at, said) = wrong(result);
        assert_eq!(at, pointer, "{said}");
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn a_data_frame_has_as_many_names_as_cells() {
    let specs = [spec("x", Datatype::Fp32, &[-1, 4])];
    for (names, json) in
        [(3, "[[1,2,3,4]]"), (5, "[[1,2,3,4]]"), (0, "[[1,2,3,4]]"), (4, "[[1,2,3]]")]
    {
        let names = (0..names).map(|name| name.to_string().into()).collect();
        let values = Values::Split { names, rows: Reader::new(json.as_bytes()) };
        let (at, said) = wrong(bind(&values, Some(&specs), "x"));
        assert_eq!(at, "/0", "{said}");
        assert!(said.contains("columns are expected"), "{said}");
    }
}

#[test]
fn integers_keep_all_their_bits_however_they_are_written() {
    let specs = |datatype| [spec("x", datatype, &[-1])];
    let read = |json: &str, datatype| instances(json, Some(&specs(datatype)));
    let taken = read("[9007199254740993.0,-5e0]", Datatype::Int64).unwrap();
    assert_eq!(taken[0].data(), &TensorData::Int64(vec![9_007_199_254_740_993, -5]));
    let taken = read("[18446744073709551615.0]", Datatype::Uint64).unwrap();
    assert_eq!(taken[0].data(), &TensorData::Uint64(vec![u64::MAX]));
    let taken = csv("9007199254740993.0\n", None, Some(&specs(Datatype::Int64))).unwrap();
    assert_eq!(taken[0].data(), &TensorData::Int64(vec![9_007_199_254_740_993]));
    for (json, message) in [
        ("[1e30]", "1e30 is out of range for INT64"),
        ("[9223372036854775808.0]", "is out of range for INT64"),
        ("[5.5]", "5.5 has a fraction, and INT64 has none"),
    ] {
        let (at, said) = wrong(read(json, Datatype::Int64));
        assert_eq!(at, "/0");
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn lines_are_rows() {
    let lines = |text: &'static str| Values::Lines(Reader::new(text.as_bytes()));
    let read = bind(&lines("[1,2]\n\n[3,4]\n"), None, "x").unwrap();
    assert_eq!(read[0], tensor("x", &[2, 2], TensorData::Int64(vec![1, 2, 3, 4])));
    let (at, said) = wrong(bind(&lines("[1,2]\n[3,\n"), None, "x"));
    assert!(at.starts_with("/1"), "{at}: {said}");
    assert!(wrong(bind(&lines(" \n"), None, "x")).1.contains("there are no rows"));
}

#[test]
fn csv_has_a_header_where_it_says_so_or_looks_like_it() {
    let iris = [spec("x", Datatype::Fp32, &[-1, 2])];
    let expected = vec![tensor("x", &[2, 2], TensorData::Fp32(vec![1.0, 2.5, 3.0, 4.0]))];
    for text in ["1,2.5\n3,4\n", "1,2.5\r\n3,4", "w,h\n1,2.5\n3,4\n", "\"w\",\"h\"\n1, 2.5\n3,4\n"]
    {
        assert_eq!(csv(text, None, Some(&iris)), Ok(expected.clone()), "{text}");
    }
    assert_eq!(csv("7,8\n1,2.5\n3,4\n", Some(true), Some(&iris)), Ok(expected));
    let named = [spec("name", Datatype::Bytes, &[-1]), spec("age", Datatype::Int64, &[-1, 1])];
    let read = csv("age,name\n9007199254740993,\"a,b\"\n", None, Some(&named)).unwrap();
    assert_eq!(read[0], tensor("name", &[1], bytes(&["a,b"])));
    assert_eq!(read[1], tensor("age", &[1, 1], TensorData::Int64(vec![9_007_199_254_740_993])));
    let read = csv("a,b,c\n1,x,true\n2,y,false\n", None, None).unwrap();
    assert_eq!(read[0], tensor("a", &[2], TensorData::Int64(vec![1, 2])));
    assert_eq!(read[2], tensor("c", &[2], TensorData::Bool(vec![true, false])));
    let TensorData::Fp32(values) = csv("1,\n", None, Some(&iris)).unwrap()[0].data().clone() else {
        panic!("FP32")
    };
    assert!(values[1].is_nan(), "an empty field is a missing value");
}

#[test]
fn a_first_row_of_texts_is_no_header() {
    let texts = [spec("x", Datatype::Bytes, &[-1, 2])];
    for second in ["blue,", "blue,7", "blue,nan", "blue,inf"] {
        let read = csv(&format!("red,M\n{second}\n"), None, Some(&texts)).unwrap();
        assert_eq!(read[0].shape(), [2, 2], "{second}");
    }
    let read = csv("a,b\nred,7\n", Some(true), Some(&texts)).unwrap();
    assert_eq!(read[0].shape(), [1, 2], "unless somebody says so");
}

#[test]
fn values_without_names_are_not_told_apart_by_an_order_that_means_nothing() {
    let unordered = |name| TensorSpec { ordered: false, ..spec(name, Datatype::Int64, &[-1]) };
    let several = [unordered("age"), unordered("income")];
    for read in [instances("[[30,50000]]", Some(&several)), csv("30,50000\n", None, Some(&several))]
    {
        let (_, said) = wrong(read);
        assert!(said.contains("values without names, but there are 'age', 'income'"), "{said}");
    }
    for read in [
        instances(r#"[{"income":50000,"age":30}]"#, Some(&several)),
        csv("income,age\n50000,30\n", None, Some(&several)),
    ] {
        let read = read.unwrap();
        assert_eq!(read[0], tensor("age", &[1], TensorData::Int64(vec![30])));
        assert_eq!(read[1], tensor("income", &[1], TensorData::Int64(vec![50000])));
    }
    let read = instances("[30]", Some(&several[..1])).unwrap();
    assert_eq!(read[0], tensor("age", &[1], TensorData::Int64(vec![30])), "one needs no order");
}

#[test]
fn csv_errors_name_the_line_and_the_column() {
    let iris = [spec("x", Datatype::Fp32, &[-1, 2])];
    let named = [spec("age", Datatype::Int64, &[-1]), spec("sex", Datatype::Bytes, &[-1])];
    let cases: [(&str, &[TensorSpec], &str, &str); 7] = [
        ("1,2\n3,x\n", &iris, "/1/1", "\"x\" is not FP32"),
        ("age,sex\n1,m\n,f\n", &named, "/1/age", "\"\" is not INT64"),
        ("1,2\n3\n", &iris, "/1", "a row of 1 where 2 columns are expected"),
        ("age,x\n1,2\n", &named, "", "unexpected column 'x'"),
        ("", &iris, "", "there are no rows"),
        ("1;2;3;4\n", &iris, "", "the only line, split at its commas, was read as a header"),
        ("1,2,3\n", &named, "", "a row of 3 where 2 columns are expected"),
    ];
    for (text, specs, pointer, message) in cases {
        let (at, said) = wrong(csv(text, None, Some(specs)));
        assert_eq!(at, pointer, "{text}: {said}");
        assert!(said.contains(message), "{text}: {said}");
    }
    let invalid = bind(&Values::Csv { text: b"a,\xff\n", header: None }, None, "x");
    assert!(wrong(invalid).1.contains("not UTF-8"));
}

/// Names `k0`, `k1` and so on.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|key| format!("k{key}")).collect()
}

#[test]
fn there_are_only_so_many_columns_where_nobody_declares_them() {
    let object = |count| {
        let members: Vec<String> = keys(count).iter().map(|key| format!("\"{key}\":1")).collect();
        format!("{{{}}}", members.join(","))
    };
    let table = |count| format!("{}\n{}\n", keys(count).join(","), vec!["1"; count].join(","));
    let split = |count| {
        let names = keys(count).into_iter().map(Cow::Owned).collect();
        let cells = format!("[[{}]]", vec!["1"; count].join(","));
        let rows = Reader::new(cells.as_bytes());
        bind(&Values::Split { names, rows }, None, "x")
    };
    let each = |count| {
        [
            instances(&format!("[{}]", object(count)), None),
            columns(&object(count), None),
            csv(&table(count), Some(true), None),
            split(count),
        ]
    };
    for fits in each(TENSORS_MAX) {
        assert_eq!(fits.unwrap().len(), TENSORS_MAX);
    }
    for refused in each(TENSORS_MAX + 1) {
        let (_, error) = wrong(refused);
        assert!(error.contains("there are more than 4096 columns"), "{error}");
    }
    // The cells of one tensor take little room each; their names are held.
    let one = [spec("x", Datatype::Fp32, &[-1, -1])];
    let records = |count| {
        let rows = format!("[{}]", object(count));
        bind(
            &Values::Rows { rows: Reader::new(rows.as_bytes()), kind: RowKind::Records },
            Some(&one),
            "x",
        )
    };
    assert_eq!(records(COLUMNS_MAX).unwrap()[0].shape(), [1, COLUMNS_MAX]);
    let (_, error) = wrong(records(COLUMNS_MAX + 1));
    assert!(error.contains("there are more than 65536 columns"), "{error}");
}

#[test]
fn of_long_names_the_beginning_is_told() {
    let long = "n".repeat(100_000);
    let one = [spec("x", Datatype::Fp32, &[-1])];
    let other = [spec(&long, Datatype::Fp32, &[-1]), spec("y", Datatype::Fp32, &[-1])];
    for refused in [
        instances(&format!(r#"[{{"{long}":1}}]"#), Some(&one)),
        instances(&format!(r#"[{{"{long}":1,"{long}":1}}]"#), None),
        instances(&format!(r#"[{{"{long}":1}},{{"{long}":[1]}}]"#), None),
        instances(&format!(r#"[{{"{long}":1}},{{}}]"#), None),
        instances(r#"[{"z":1}]"#, Some(&other)),
        columns(&format!(r#"{{"{long}":[[1],2]}}"#), None),
        csv(&format!("{long},a\n1,1,1\n"), Some(true), None),
        csv(&format!("{long},{long}\n1,1\n"), Some(true), None),
        csv(&format!("x\n{long}\n"), Some(true), Some(&one)),
    ] {
        let (pointer, error) = wrong(refused);
        assert!(pointer.len() < 100 && error.len() < 1000, "{error}");
    }
}

#[test]
fn bytes_are_the_one_element_of_the_one_input() {
    let specs = |datatype, shape: &[i64]| vec![spec("image", datatype, shape)];
    let made = |specs: &[TensorSpec]| bytes_tensor(vec![1, 2], Some(specs), "x");
    assert_eq!(made(&specs(Datatype::Bytes, &[-1, 1])).unwrap().shape(), [1, 1]);
    assert_eq!(bytes_tensor(vec![1], None, "x").unwrap().name(), "x");
    let error = made(&specs(Datatype::Fp32, &[-1, 4])).unwrap_err().to_string();
    assert!(error.contains("bytes that are not JSON, but the model takes 'image'"), "{error}");
    assert!(made(&specs(Datatype::Bytes, &[-1, 2])).is_err());
    assert!(made(&[]).is_err());
}

#[test]
fn what_cannot_be_written_says_why() {
    let scalar = Tensor::new("s", Shape::new(), TensorData::Int8(vec![1])).unwrap();
    let one = tensor("a", &[1], TensorData::Int8(vec![1]));
    let two = tensor("b", &[2], TensorData::Int8(vec![1, 2]));
    let mut out = Vec::new();
    assert!(matches!(write_rows(&mut out, &[scalar], false), Err(WriteError::Scalar { .. })));
    let error = write_rows(&mut out, &[one, two], false).unwrap_err().to_string();
    assert_eq!(error, "'b' has 2 rows, but 'a' has 1; as rows they must agree");
    let deep = tensor("d", &[1; RANK_MAX + 1], TensorData::Int8(vec![1]));
    assert!(matches!(write_tensor(&mut out, &deep), Err(WriteError::Rank { .. })));
    let wide = tensor("w", &[1_000_000, 1_000_000, 0], TensorData::Int8(vec![]));
    assert!(matches!(write_tensor(&mut out, &wide), Err(WriteError::Empty { .. })));
}

fn f64_values() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{INFINITE, NORMAL, SUBNORMAL, ZERO};
    NORMAL | SUBNORMAL | INFINITE | ZERO
}

/// Tensors with the same number of rows, of any datatype.
fn any_tensors() -> impl Strategy<Value = Vec<Tensor>> {
    let data = |count: usize| {
        let values = |count| proptest::collection::vec(any::<i64>(), count);
        let text = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), count);
        prop_oneof![
            proptest::collection::vec(any::<bool>(), count).prop_map(TensorData::Bool),
            proptest::collection::vec(any::<u8>(), count).prop_map(TensorData::Uint8),
            proptest::collection::vec(any::<i16>(), count).prop_map(TensorData::Int16),
            proptest::collection::vec(any::<u64>(), count).prop_map(TensorData::Uint64),
            values(count).prop_map(TensorData::Int64),
            proptest::collection::vec(
                proptest::num::f32::NORMAL | proptest::num::f32::INFINITE,
                count
            )
            .prop_map(TensorData::Fp32),
            proptest::collection::vec(f64_values(), count).prop_map(TensorData::Fp64),
            text.prop_map(TensorData::Bytes),
        ]
    };
    (1usize..4, proptest::collection::vec(proptest::collection::vec(1usize..3, 0..3), 1..4))
        .prop_flat_map(move |(rows, shapes)| {
            let tensors: Vec<_> = shapes
                .into_iter()
                .enumerate()
                .map(|(at, inner)| {
                    let mut shape = vec![rows];
                    shape.extend(inner);
                    data(shape.iter().product()).prop_map(move |data| {
                        Tensor::new(format!("t{at}"), shape.as_slice(), data).unwrap()
                    })
                })
                .collect();
            tensors
        })
}

fn specs_of(tensors: &[Tensor]) -> Vec<TensorSpec> {
    let open = |(axis, &dim): (usize, &usize)| if axis == 0 { -1 } else { dim as i64 };
    tensors
        .iter()
        .map(|tensor| {
            let shape: Vec<i64> = tensor.shape().iter().enumerate().map(open).collect();
            spec(tensor.name(), tensor.datatype(), &shape)
        })
        .collect()
}

proptest! {
    #[test]
    fn written_rows_and_columns_read_back_with_a_signature(tensors in any_tensors()) {
        let specs = specs_of(&tensors);
        let mut out = Vec::new();
        write_rows(&mut out, &tensors, false).unwrap();
        let json = String::from_utf8(out).unwrap();
        prop_assert_eq!(instances(&json, Some(&specs)), Ok(tensors.clone()), "{}", json);
        let mut out = Vec::new();
        write_columns(&mut out, &tensors, false).unwrap();
        let json = String::from_utf8(out).unwrap();
        prop_assert_eq!(columns(&json, Some(&specs)), Ok(tensors.clone()), "{}", json);
        let mut out = Vec::new();
        write_lines(&mut out, &tensors).unwrap();
        let lines = Values::Lines(Reader::new(&out));
        prop_assert_eq!(bind(&lines, Some(&specs), "x"), Ok(tensors));
    }

    #[test]
    fn written_csv_reads_back_into_one_input(
        values in proptest::collection::vec(proptest::num::f32::NORMAL, 1..20),
        width in 1usize..5,
    ) {
        let rows = values.len().div_ceil(width);
        let mut values = values;
        values.resize(rows * width, 0.5);
        let written = tensor("x", &[rows, width], TensorData::Fp32(values));
        let mut out = Vec::new();
        write_csv(&mut out, std::slice::from_ref(&written)).unwrap();
        let specs = specs_of(std::slice::from_ref(&written));
        let read = bind(&Values::Csv { text: &out, header: None }, Some(&specs), "x");
        prop_assert_eq!(read, Ok(vec![written]));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]{}\",:0-9a-z\\-. n]{0,60}") {
        for specs in [None, Some([spec("a", Datatype::Fp32, &[-1, 2]), spec("b", Datatype::Bytes, &[-1])].as_slice())] {
            let reader = Reader::new(text.as_bytes());
            for values in [
                Values::Rows { rows: reader.clone(), kind: RowKind::Records },
                Values::Lines(reader.clone()),
                Values::Columns(reader.clone()),
                Values::Csv { text: text.as_bytes(), header: None },
            ] {
                let said = bind(&values, specs, "x").map_err(|error| error.to_string());
                prop_assert_ne!(said, Err(String::new()));
            }
        }
    }
}
