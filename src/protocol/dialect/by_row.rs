//! One prediction for each row.
//!
//! Owns what clients and backends owe each other where both speak of rows and not of tensors: as many predictions as
//! rows. Where either of them speaks of tensors nothing is asked, as a model may answer one thing for all rows. Never
//! sees bytes that pass.

use super::backend::{AnswerError, Target};
use super::{Body, Dialect, Operation};
use crate::protocol::envelope;
use crate::protocol::json::DecodeError;
use crate::protocol::sagemaker::Media;
use crate::protocol::tensor::{Shape, Tensor};

/// The outputs with one prediction for each of the `asked` rows.
///
/// # Errors
/// When the backend answers row by row, and with another number of rows.
pub(super) fn check(
    target: &Target<'_>,
    operation: Operation,
    asked: usize,
    body: &Body,
    tensors: Vec<Tensor>,
) -> Result<Vec<Tensor>, AnswerError> {
    let Some(odd) = tensors.iter().find(|tensor| rows(tensor) != Some(asked)) else {
        return Ok(tensors);
    };
    let is_csv = matches!(media(target, body), Some(Media::Csv { .. }));
    // A raw service that is asked for one row answers with whatever it has for it.
    if target.dialect == Dialect::Raw && asked == 1 {
        let one_row = |tensor: Tensor| match rows(&tensor) {
            Some(1) => Ok(tensor),
            _ => {
                let shape = std::iter::once(1).chain(tensor.shape().iter().copied()).collect();
                reshaped(tensor, shape)
            }
        };
        return tensors.into_iter().map(one_row).collect();
    }
    // Some containers write the predictions of all rows in one line.
    if is_csv && tensors.iter().all(|tensor| tensor.shape() == [1, asked]) {
        let one_column = |tensor| reshaped(tensor, [asked].as_slice().into());
        return tensors.into_iter().map(one_column).collect();
    }
    if answers_rows(target, operation, body) {
        return Err(AnswerError::Rows { asked, found: rows(odd).unwrap_or(1) });
    }
    Ok(tensors)
}

fn rows(tensor: &Tensor) -> Option<usize> {
    tensor.shape().first().copied()
}

/// What the body of a SageMaker container is.
fn media(target: &Target<'_>, body: &Body) -> Option<Media> {
    let media = Media::parse(&body.content_type).ok();
    media.filter(|_| target.dialect == Dialect::Sagemaker).map(|media| media.of(body.bytes()))
}

/// Whether the values of an answer are those of rows.
fn answers_rows(target: &Target<'_>, operation: Operation, body: &Body) -> bool {
    match target.dialect {
        Dialect::OpenInference | Dialect::OpenInferenceGrpc => false,
        Dialect::Raw => true,
        Dialect::TensorflowServing
            if matches!(operation, Operation::Classify | Operation::Regress) =>
        {
            true
        }
        Dialect::Sagemaker => match media(target, body) {
            Some(Media::Csv { .. } | Media::Lines) => true,
            Some(Media::Json) => envelope::answers_rows(body.bytes()),
            _ => false,
        },
        Dialect::KserveV1 | Dialect::TensorflowServing | Dialect::Torchserve => {
            envelope::answers_rows(body.bytes())
        }
    }
}

fn reshaped(tensor: Tensor, shape: Shape) -> Result<Tensor, AnswerError> {
    let name = tensor.name().to_owned();
    let reshaped = Tensor::new(name, shape, tensor.into_data());
    reshaped.map_err(|error| DecodeError::new(0, error).into())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::super::Release;
    use super::*;
    use crate::protocol::tensor::TensorData;

    fn shape(
        dialect: Dialect,
        asked: usize,
        content_type: &'static str,
        text: &'static str,
        shape: &[usize],
    ) -> Result<Vec<usize>, AnswerError> {
        let headers = HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static(content_type),
        )]);
        let body = Body::new(dialect, &headers, [Bytes::from_static(text.as_bytes())]).unwrap();
        let values = TensorData::Fp32(vec![0.5; shape.iter().product()]);
        let outputs = vec![Tensor::new("y", shape, values).unwrap()];
        let target = Target::new(dialect, "m", Release::Any);
        let checked = check(&target, Operation::Infer, asked, &body, outputs)?;
        Ok(checked[0].shape().to_vec())
    }

    #[test]
    fn rows_without_a_prediction_are_told_where_rows_are_spoken_of() {
        let wrong = |found| Err(AnswerError::Rows { asked: 3, found });
        let json = "application/json";
        let rows = r#"{"predictions":[1,2]}"#;
        for dialect in [Dialect::KserveV1, Dialect::TensorflowServing, Dialect::Torchserve] {
            assert_eq!(shape(dialect, 3, json, rows, &[2]), wrong(2), "{dialect}");
            assert_eq!(shape(dialect, 2, json, rows, &[2]), Ok(vec![2]), "{dialect}");
        }
        assert_eq!(shape(Dialect::Torchserve, 3, json, "[1,2]", &[2]), wrong(2));
        assert_eq!(shape(Dialect::Raw, 3, json, r#"{"p":1}"#, &[]), wrong(1));
        assert_eq!(shape(Dialect::Sagemaker, 3, "text/csv", "1\n2\n", &[2, 1]), wrong(2));
        assert_eq!(shape(Dialect::Sagemaker, 3, "application/jsonlines", "1\n2", &[2]), wrong(2));
    }

    #[test]
    fn whole_tensors_may_be_of_all_rows() {
        let json = "application/json";
        let columns = r#"{"outputs":[1]}"#;
        assert_eq!(shape(Dialect::TensorflowServing, 3, json, columns, &[1]), Ok(vec![1]));
        let object = r#"{"predictions":{"a":[1]}}"#;
        assert_eq!(shape(Dialect::KserveV1, 3, json, object, &[1]), Ok(vec![1]));
        assert_eq!(shape(Dialect::OpenInference, 3, json, "{}", &[1]), Ok(vec![1]));
    }

    #[test]
    fn what_is_of_one_row_or_on_one_line_is_put_in_place() {
        let json = "application/json";
        assert_eq!(shape(Dialect::Raw, 1, json, r#"{"p":[1,2,3]}"#, &[3]), Ok(vec![1, 3]));
        assert_eq!(shape(Dialect::Raw, 1, json, r#"{"p":1}"#, &[]), Ok(vec![1]));
        assert_eq!(shape(Dialect::Sagemaker, 3, "text/csv", "1,2,3\n", &[1, 3]), Ok(vec![3]));
    }
}
