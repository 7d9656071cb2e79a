//! Operators that change features without knowing what they mean.

use super::*;
use crate::inference::ml::array_feature_extractor::ArrayFeatureExtractor;
use crate::inference::ml::binarizer::Binarizer;
use crate::inference::ml::feature_vectorizer::FeatureVectorizer;
use crate::inference::ml::imputer::Imputer;
use crate::inference::ml::linear_regressor::LinearRegressor;
use crate::inference::ml::scaler::Scaler;

#[test]
fn a_scaler_has_an_offset_and_a_factor_for_each_feature_or_for_all() {
    let scaler = |offset: &[f32], scale: &[f32]| {
        operator::<Scaler>("Scaler", 1, vec![floats("offset", offset), floats("scale", scale)])
    };
    let pair = scaler(&[1.0, 2.0], &[2.0, 10.0]).expect("fits");
    assert_eq!(
        elements::<f32>(&pair, f32s(&[2, 2], &[1.0, 3.0, 2.0, 1.0])),
        [0.0, 10.0, 2.0, -10.0]
    );
    assert_eq!(elements::<f32>(&pair, f32s(&[2], &[2.0, 2.0])), [2.0, 0.0]);
    let wide = of(&[1, 2], &[16_777_217.25_f64, 2.0]);
    assert_eq!(
        elements::<f32>(&scaler(&[16_777_216.0, 0.0], &[1.0, 1.0]).expect("fits"), wide),
        [1.25, 2.0]
    );
    assert_eq!(elements::<f32>(&pair, of(&[1, 2], &[3_i64, 3])), [4.0, 10.0]);
    let single = scaler(&[1.0], &[3.0]).expect("fits");
    assert_eq!(elements::<f32>(&single, f32s(&[1, 1, 2], &[2.0, 0.0])), [3.0, -3.0]);
    assert!(failure(&pair, f32s(&[1, 3], &[0.0; 3])).contains("Scaler takes 2 features, not 3"));
    assert!(failure(&pair, f32s(&[1, 1, 2], &[0.0; 2])).contains("rank 1 or 2, not 3"));
    for (offset, scale) in [(&[][..], &[][..]), (&[1.0], &[1.0, 2.0])] {
        let message = scaler(offset, scale).expect_err("misfit").to_string();
        assert!(message.starts_with("Scaler 'y': offset has "), "{message}");
    }
}

#[test]
fn a_binarizer_keeps_the_type_and_takes_no_nan_for_large() {
    let half = vec![AttributeProto { f: 0.5, ..attribute("threshold", AttributeType::Float) }];
    let half = operator::<Binarizer>("Binarizer", 1, half).expect("fits");
    let wild = f32s(&[4], &[0.5, 0.6, f32::NAN, f32::INFINITY]);
    assert_eq!(elements::<f32>(&half, wild), [0.0, 1.0, 0.0, 1.0]);
    assert_eq!(elements::<f64>(&half, of(&[2], &[0.5, 0.500_000_001_f64])), [0.0, 1.0]);
    assert_eq!(elements::<i64>(&half, of(&[2], &[0_i64, 7])), [0, 1]);
    assert_eq!(elements::<i32>(&half, of(&[2], &[-1_i32, 1])), [0, 1]);
}

#[test]
fn an_imputer_replaces_one_value_which_may_be_nan() {
    let by = |replaced: f32, imputed: &[f32]| {
        let replaced = AttributeProto {
            f: replaced,
            ..attribute("replaced_value_float", AttributeType::Float)
        };
        let attributes = vec![replaced, floats("imputed_value_floats", imputed)];
        operator::<Imputer>("Imputer", 1, attributes).expect("fits")
    };
    let gaps = || f32s(&[2, 2], &[1.0, f32::NAN, f32::NAN, -0.0]);
    let [first, second, third, _] = elements::<f32>(&by(f32::NAN, &[7.0, 8.0]), gaps())[..] else {
        panic!("four elements")
    };
    assert_eq!([first, second, third], [1.0, 8.0, 7.0]);
    assert_eq!(elements::<f32>(&by(0.0, &[9.0]), gaps())[3], 9.0, "-0 equals 0");
    assert_eq!(elements::<f64>(&by(f32::NAN, &[7.5]), of(&[2], &[f64::NAN, 2.0])), [7.5, 2.0]);
    assert!(failure(&by(0.0, &[1.0, 2.0, 3.0]), gaps()).contains("3 features, not 2"));
    let integers = vec![
        AttributeProto { i: -1, ..attribute("replaced_value_int64", AttributeType::Int) },
        ints("imputed_value_int64s", &[5, 6]),
    ];
    let integers = operator::<Imputer>("Imputer", 1, integers).expect("fits");
    assert_eq!(elements::<i64>(&integers, of(&[2, 2], &[-1_i64, 2, 3, -1])), [5, 2, 3, 6]);
    assert_eq!(elements::<i32>(&integers, of(&[1, 2], &[-1_i32, 0])), [5, 0]);
    let both = vec![floats("imputed_value_floats", &[1.0]), ints("imputed_value_int64s", &[1])];
    for attributes in [Vec::new(), both] {
        let message =
            operator::<Imputer>("Imputer", 1, attributes).expect_err("misfit").to_string();
        assert!(message.contains("exactly one of imputed_value_floats and"), "{message}");
    }
}

#[test]
fn features_are_picked_by_their_position_in_the_row() {
    let picked = |data: TractTensor, indices: &[i64]| {
        let indices = of(&[indices.len()], indices);
        ArrayFeatureExtractor.run(tvec!(data.into(), indices.into()))
    };
    let rows = of(&[2, 3], &[1_i64, 2, 3, 4, 5, 6]);
    let outputs = picked(rows.clone(), &[2, 0, 0]).expect("runs");
    assert_eq!(outputs[0].shape(), [2, 3]);
    assert_eq!(
        outputs[0].try_as_plain_ram().expect("plain").as_slice::<i64>().expect("i64"),
        [3, 1, 1, 6, 4, 4]
    );
    let words = tensor1(&["a".to_owned(), "b".to_owned()]);
    let outputs = picked(words, &[1]).expect("runs");
    assert_eq!(outputs[0].shape(), [1, 1], "a tensor of rank 1 is a row");
    assert_eq!(
        outputs[0].try_as_plain_ram().expect("plain").as_slice::<String>().expect("texts"),
        ["b"]
    );
    for indices in [&[3][..], &[-1]] {
        assert!(picked(rows.clone(), indices).is_err(), "{indices:?}");
    }
    assert_eq!(picked(rows, &[]).expect("runs")[0].shape(), [2, 0], "nothing was asked for");
}

#[test]
fn rows_of_several_inputs_are_joined_cut_off_or_filled() {
    let join = |widths: &[i64], inputs: &[TractTensor]| {
        let attributes =
            if widths.is_empty() { Vec::new() } else { vec![ints("inputdimensions", widths)] };
        let operator = operator::<FeatureVectorizer>("FeatureVectorizer", 1, attributes)?;
        let outputs = operator.run(inputs.iter().cloned().map(Into::into).collect())?;
        Ok::<_, TractError>((outputs[0].shape().to_vec(), numbers(&outputs[0])))
    };
    let a = of(&[2, 2], &[1_i64, 2, 3, 4]);
    let b = f32s(&[2, 1], &[5.5, 6.5]);
    let joined = (vec![2, 3], vec![1.0, 2.0, 5.5, 3.0, 4.0, 6.5]);
    assert_eq!(join(&[2, 1], &[a.clone(), b.clone()]).expect("runs"), joined);
    assert_eq!(join(&[], &[a.clone(), b.clone()]).expect("runs"), joined);
    let other = (vec![2, 3], vec![1.0, 5.5, 0.0, 3.0, 6.5, 0.0]);
    assert_eq!(join(&[1, 2], &[a.clone(), b.clone()]).expect("runs"), other);
    assert!(join(&[2], &[a.clone(), b]).is_err(), "one width for two inputs");
    assert!(join(&[2, 1], &[a.clone(), f32s(&[1, 1], &[0.0])]).is_err(), "batch sizes differ");
    assert!(join(&[i64::MAX], std::slice::from_ref(&a)).is_err() && join(&[-1], &[a]).is_err());
}

#[test]
fn a_regressor_has_a_row_of_coefficients_for_each_target() {
    let regressor = |targets: i64, coefficients: &[f32], intercepts: &[f32], transform: &str| {
        let targets = AttributeProto { i: targets, ..attribute("targets", AttributeType::Int) };
        let attributes = vec![
            targets,
            floats("coefficients", coefficients),
            floats("intercepts", intercepts),
            text("post_transform", transform),
        ];
        operator::<LinearRegressor>("LinearRegressor", 1, attributes)
    };
    let two = regressor(2, &[1.0, 2.0, 0.5, -1.0], &[10.0, 0.0], "NONE").expect("fits");
    let rows = f32s(&[2, 2], &[1.0, 1.0, 2.0, -1.0]);
    assert_near(&elements::<f32>(&two, rows), &[13.0, -0.5, 10.0, 2.0]);
    let logistic = regressor(1, &[1.0], &[], "LOGISTIC").expect("fits");
    assert_near(&elements::<f32>(&logistic, f32s(&[1], &[3_f32.ln()])), &[0.75]);
    for (targets, coefficients, intercepts) in
        [(0, &[1.0][..], &[][..]), (2, &[1.0], &[]), (1, &[], &[]), (1, &[1.0], &[1.0, 2.0])]
    {
        assert!(regressor(targets, coefficients, intercepts, "NONE").is_err());
    }
}
