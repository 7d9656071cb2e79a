//! Operators that look elements up.

use super::*;
use crate::inference::ml::category_mapper::CategoryMapper;
use crate::inference::ml::label_encoder::LabelEncoder;
use crate::inference::ml::one_hot_encoder::OneHotEncoder;

fn encoder(version: i64, attributes: Vec<AttributeProto>) -> TractResult<LabelEncoder> {
    operator::<LabelEncoder>("LabelEncoder", version, attributes)
}

#[test]
fn labels_map_between_all_types_with_a_default() {
    let words = || texts("keys_strings", &["a", "b"]);
    let to_integers = encoder(2, vec![words(), ints("values_int64s", &[5, 6])]).expect("fits");
    assert_eq!(elements::<i64>(&to_integers, words_of(&["b", "z", "a"])), [6, -1, 5]);
    let to_floats = encoder(2, vec![words(), floats("values_floats", &[0.5, 1.5])]).expect("fits");
    let [b, z] = elements::<f32>(&to_floats, words_of(&["b", "z"]))[..] else { panic!("two") };
    assert!(b == 1.5 && z == 0.0 && z.is_sign_negative(), "the default is -0");
    let default = text("default_string", "?");
    let to_words = encoder(
        2,
        vec![ints("keys_int64s", &[1, 2]), texts("values_strings", &["x", "y"]), default],
    );
    assert_eq!(elements::<String>(&to_words.expect("fits"), of(&[2], &[2_i64, 3])), ["y", "?"]);
    let unused = encoder(2, vec![ints("keys_int64s", &[1]), texts("values_strings", &["x"])]);
    assert_eq!(elements::<String>(&unused.expect("fits"), of(&[1], &[9_i64])), ["_Unused"]);
}

#[test]
fn numbers_are_found_by_their_value_and_nan_by_any_nan() {
    let keys = || floats("keys_floats", &[f32::NAN, 0.0, 1.5]);
    let other_nan = f32::from_bits(f32::NAN.to_bits() | 1);
    for version in [2, 4] {
        let operator =
            encoder(version, vec![keys(), ints("values_int64s", &[1, 2, 3])]).expect("fits");
        let found = elements::<i64>(&operator, f32s(&[4], &[other_nan, -0.0, 1.5, 1.4]));
        assert_eq!(found, [1, 2, 3, -1]);
    }
}

#[test]
fn of_equal_keys_the_last_counts_since_version_4() {
    let attributes = || vec![texts("keys_strings", &["a", "a"]), ints("values_int64s", &[1, 2])];
    let found =
        |version| elements::<i64>(&encoder(version, attributes()).expect("fits"), words_of(&["a"]));
    assert_eq!((found(2), found(4)), (vec![1], vec![2]));
}

#[test]
fn version_4_takes_tensors_of_further_types() {
    let keys = tensor_attribute("keys_tensor", DataType::Int16, |proto| {
        proto.int32_data = vec![-3, 7];
    });
    let values = tensor_attribute("values_tensor", DataType::Double, |proto| {
        proto.raw_data = [0.5_f64, 2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    });
    let default = |count: usize| {
        let mut default = tensor_attribute("default_tensor", DataType::Double, |proto| {
            proto.double_data = vec![9.0; count];
        });
        default.t.as_mut().expect("a tensor").dims = vec![count as i64];
        default
    };
    let operator = encoder(4, vec![keys.clone(), values.clone(), default(1)]).expect("fits");
    assert_eq!(elements::<f64>(&operator, of(&[3], &[7_i16, -3, 1])), [2.5, 0.5, 9.0]);
    assert!(failure(&operator, of(&[1], &[7_i64])).contains("keys of type [I16], but gets I64"));
    let message = encoder(4, vec![keys.clone(), values.clone(), default(2)]).expect_err("two");
    assert!(
        message.to_string().contains("attribute 'default_tensor' of LabelEncoder 'y' must have")
    );
    let message = encoder(2, vec![keys, values]).expect_err("not before version 4").to_string();
    assert!(message.contains("exactly one of keys_strings"), "{message}");
}

#[test]
fn version_1_counts_positions() {
    let classes = || vec![texts("classes_strings", &["a", "b"])];
    let operator = encoder(1, classes()).expect("fits");
    assert_eq!(elements::<i64>(&operator, words_of(&["b", "z"])), [1, -1]);
    let operator = encoder(1, classes()).expect("fits");
    assert_eq!(
        elements::<String>(&operator, of(&[3], &[0_i64, 2, -1])),
        ["a", "_Unused", "_Unused"]
    );
}

#[test]
fn attributes_that_do_not_fit_an_encoder_are_named() {
    for (attributes, reason) in [
        (vec![texts("keys_strings", &["a"])], "exactly one of values_strings, "),
        (
            vec![texts("keys_strings", &["a"]), ints("values_int64s", &[1, 2])],
            "there are 1 keys and 2 values",
        ),
        (
            vec![ints("keys_strings", &[1])],
            "attribute 'keys_strings' of LabelEncoder 'y' is of type INTS, not STRINGS",
        ),
        (
            vec![texts("keys_strings", &["a"]), ints("values_int64s", &[1]), ints("kyes", &[1])],
            "attribute 'kyes' of LabelEncoder 'y' is not one that it has",
        ),
        (
            vec![ints("keys_int64s", &[1]), ints("keys_int64s", &[1])],
            "'keys_int64s' of LabelEncoder 'y' is given twice",
        ),
    ] {
        let message = encoder(2, attributes).expect_err("misfit").to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn categories_map_either_way() {
    let attributes = || vec![texts("cats_strings", &["a", "b"]), ints("cats_int64s", &[10, 20])];
    let mapper = operator::<CategoryMapper>("CategoryMapper", 1, attributes()).expect("fits");
    assert_eq!(elements::<i64>(&mapper, words_of(&["b", "q"])), [20, -1]);
    assert_eq!(elements::<String>(&mapper, of(&[2], &[10_i64, 11])), ["a", "_Unused"]);
    let uneven = vec![texts("cats_strings", &["a"]), ints("cats_int64s", &[1, 2])];
    assert!(operator::<CategoryMapper>("CategoryMapper", 1, uneven).is_err());
}

#[test]
fn one_hot_has_a_one_at_the_category_and_nothing_for_others() {
    let hot = |attributes| operator::<OneHotEncoder>("OneHotEncoder", 1, attributes).expect("fits");
    let words = hot(vec![texts("cats_strings", &["a", "b"])]);
    assert_eq!(elements::<f32>(&words, words_of(&["b", "?"])), [0.0, 1.0, 0.0, 0.0]);
    let integers = || vec![ints("cats_int64s", &[0, -1])];
    assert_eq!(elements::<f32>(&hot(integers()), of(&[2], &[-1_i64, 0])), [0.0, 1.0, 1.0, 0.0]);
    let wild = f32s(&[4], &[0.9, -1.9, f32::NAN, 1e30]);
    assert_eq!(elements::<f32>(&hot(integers()), wild), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let mut strict = integers();
    strict.push(AttributeProto { i: 0, ..attribute("zeros", AttributeType::Int) });
    let error = hot(strict).run(tvec!(of(&[1], &[5_i64]).into())).expect_err("unknown");
    assert!(error.root_cause().is::<Unacceptable>(), "{error}");
}
