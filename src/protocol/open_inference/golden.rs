//! A line of `golden.jsonl`: a request, the answer that was recorded for it, and the truth.
//!
//! Owns the keys of a line. Tensors are written as in requests and responses of this protocol. Unlike those, a
//! line has no keys but its own, so that a misspelt one is noticed. Never compares anything.

use super::body::Tail;
use super::request::{once, read_tensors};
use crate::protocol::json::{DecodeError, DecodeErrorKind, Number, Reader, Token};
use crate::protocol::tensor::Tensor;

/// One recorded case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GoldenCase {
    /// What is asked.
    pub inputs: Vec<Tensor>,
    /// What was answered; empty where the line has truths only.
    pub outputs: Vec<Tensor>,
    /// What is true of each row; empty where that is not known.
    pub labels: Vec<Label>,
}

/// What is true of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    /// A number: a value, or the place of a class.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// A class by its name.
    Text(String),
}

/// A line that is no case.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GoldenError {
    /// It is not the JSON that it should be.
    #[error(transparent)]
    Json(#[from] DecodeError),
    /// There is nothing to ask.
    #[error("`inputs` is empty")]
    NoInputs,
    /// There is nothing to hold an answer against.
    #[error("it has neither `outputs` nor `labels`")]
    Nothing,
    /// There must be a label for each row.
    #[error("it has {rows} rows and {labels} labels; there must be one for each row")]
    Labels {
        /// Rows.
        rows: usize,
        /// Labels.
        labels: usize,
    },
}

impl GoldenCase {
    /// Rows: the first dimension of the first input.
    pub fn rows(&self) -> usize {
        self.inputs.first().and_then(|input| input.shape().first()).copied().unwrap_or(1)
    }
}

/// Reads a line.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_golden_case(line: &[u8]) -> Result<GoldenCase, GoldenError> {
    let mut reader = Reader::new(line);
    let (mut inputs, mut outputs, mut labels, mut note) = (None, None, None, None);
    let mut nothing = Tail::default();
    reader.object(|reader, key| match key {
        "inputs" => once("inputs", reader, &mut inputs, |r| read_tensors(r, &mut nothing)),
        "outputs" => once("outputs", reader, &mut outputs, |r| read_tensors(r, &mut nothing)),
        "labels" => once("labels", reader, &mut labels, read_labels),
        "note" => once("note", reader, &mut note, |reader| reader.string()),
        _ => {
            let keys = "a line has the keys `inputs`, `outputs`, `labels` and `note`";
            Err(DecodeError::new(reader.offset(), DecodeErrorKind::Unsupported(keys)))
        }
    })?;
    reader.end()?;
    let missing = || DecodeError::new(line.len(), DecodeErrorKind::MissingKey("inputs"));
    let case = GoldenCase {
        inputs: inputs.ok_or_else(missing)?,
        outputs: outputs.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
    };
    if case.inputs.is_empty() {
        return Err(GoldenError::NoInputs);
    }
    if case.outputs.is_empty() && case.labels.is_empty() {
        return Err(GoldenError::Nothing);
    }
    let (rows, labels) = (case.rows(), case.labels.len());
    if labels > 0 && labels != rows {
        return Err(GoldenError::Labels { rows, labels });
    }
    Ok(case)
}

fn read_labels(reader: &mut Reader<'_>) -> Result<Vec<Label>, DecodeError> {
    let mut labels = Vec::new();
    reader.array(|reader| {
        labels.push(match reader.peek()? {
            Token::String => Label::Text(reader.string()?.into_owned()),
            Token::Boolean => Label::Boolean(reader.boolean()?),
            Token::Null | Token::Number | Token::Array | Token::Object => {
                let start = reader.offset();
                match reader.number()? {
                    Number::Integer(text) | Number::Fraction(text) => {
                        Label::Number(text.parse().unwrap_or(f64::NAN))
                    }
                    Number::Nan | Number::Infinity | Number::NegativeInfinity => {
                        let finite = "a label is a finite number, a text, true or false";
                        return Err(DecodeError::new(start, DecodeErrorKind::Unsupported(finite)));
                    }
                }
            }
        });
        Ok(())
    })?;
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = r#""inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"data":[1,NaN]}]"#;

    fn read(rest: &str) -> Result<GoldenCase, GoldenError> {
        decode_golden_case(format!("{{{X}{rest}}}").as_bytes())
    }

    #[test]
    fn a_line_has_tensors_and_a_label_for_each_row() {
        let rest = r#","outputs":[{"name":"y","datatype":"INT64","shape":[2],"data":[0,1]}],
            "labels":["a",true],"note":"from the holdout of May""#;
        let case = read(rest).expect("a case");
        assert_eq!((case.rows(), case.inputs.len(), case.outputs.len()), (2, 1, 1));
        assert_eq!(case.labels, [Label::Text("a".to_owned()), Label::Boolean(true)]);
        let numbers = read(r#","labels":[1,2.5e1]"#).expect("a case");
        assert_eq!(numbers.labels, [Label::Number(1.0), Label::Number(25.0)]);
    }

    #[test]
    fn what_the_python_writer_writes_is_read() {
        let text =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden/golden.jsonl"));
        let cases: Vec<GoldenCase> =
            text.lines().map(|line| decode_golden_case(line.as_bytes()).expect("a case")).collect();
        let names = |tensors: &[Tensor]| {
            tensors.iter().map(|tensor| tensor.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&cases[0].inputs), ["x", "country"]);
        assert_eq!(names(&cases[0].outputs), ["label", "p"]);
        assert_eq!(cases[1].labels, [Label::Text("c".to_owned())]);
        assert_eq!((cases.len(), cases[1].rows()), (2, 1));
    }

    #[test]
    fn every_mistake_is_named() {
        for (rest, message) in [
            (r#","label":[1,2]"#, "`labels`"),
            (r#","labels":[1]"#, "it has 2 rows and 1 labels"),
            (r#","labels":[1,NaN]"#, "a label is a finite number"),
            (r#","labels":[1,null]"#, "null"),
            ("", "neither `outputs` nor `labels`"),
            (r#","outputs":[{"name":"y","shape":[1],"data":[1]}]"#, "datatype"),
            (r#","labels":[1,2]} x"#, "after the end"),
        ] {
            let error = read(rest).expect_err(rest).to_string();
            assert!(error.contains(message), "{rest}: {error}");
        }
        let error = decode_golden_case(b"{\"labels\":[]}").expect_err("nothing to ask");
        assert!(error.to_string().contains("inputs"), "{error}");
        assert_eq!(
            decode_golden_case(b"{\"inputs\":[],\"labels\":[]}"),
            Err(GoldenError::NoInputs)
        );
    }
}
