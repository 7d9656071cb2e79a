//! What a recorded response holds, for whoever compares it with what is true.
//!
//! Owns the order in which a body is tried: the pointers that `monitor.outputs` declares, then the codec of the dialect,
//! which gives numbers the datatype of the response, then JSON in whichever of the usual shapes. Never looks at the
//! request.

use http::StatusCode;
use serde_json::Value as Json;

use super::{Found, body_of, dialect_of, json, plain, split};
use crate::domain::dialect::Dialect;
use crate::domain::record::PredictionRecord;
use crate::domain::stats::window::Unseen;
use crate::monitor::about::About;
use crate::monitor::waiting::Content;
use crate::protocol::dialect::{
    Asked, Operation, Release, Signature, Target, Terms, decode_response, parse_path,
};

/// A response that is whole in the log.
#[derive(Debug)]
pub(in crate::monitor) struct Answered<'a> {
    about: &'a About,
    dialect: Dialect,
    operation: Operation,
    content: Content,
}

impl<'a> Answered<'a> {
    /// The response of a record.
    ///
    /// # Errors
    ///
    /// When the record does not hold it whole.
    pub(in crate::monitor) fn of_record(
        record: &PredictionRecord<'_>,
        about: &'a About,
    ) -> Result<Self, Unseen> {
        let operation = match parse_path(record.path) {
            Ok(Some(call)) if call.operation.is_inference() => call.operation,
            Ok(_) | Err(_) => Operation::Infer,
        };
        let dialect = dialect_of(record.decision.protocol, about);
        Ok(Self { about, dialect, operation, content: Content::of_side(&record.response)? })
    }

    /// The body as JSON, or the JSON that it begins with.
    ///
    /// # Errors
    ///
    /// When it begins with none.
    pub(in crate::monitor) fn json(&self) -> Result<Json, Unseen> {
        json_of(&self.content)
    }

    /// Everything that it holds; of one name, what stands first counts. Tells, too, whether the codec of its dialect
    /// has read it, so that outputs are what the dialect calls so.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(in crate::monitor) fn outputs(&self) -> Result<(Vec<Found>, bool), Unseen> {
        let mut found = Vec::new();
        if !self.about.predictions.is_empty() {
            let body = self.json()?;
            let declared = self.about.predictions.iter();
            found.extend(declared.map(|(name, at)| json::at(&body, name, at)));
        }
        let raw = self.about.extractors.as_ref();
        let lenient = || Ok((json::outputs(&self.json()?, raw), false));
        let decoded = || Ok((self.decode()?, true));
        let read = match self.dialect {
            Dialect::Raw => lenient().or_else(|_: Unseen| decoded()),
            _ => decoded().or_else(|_: Unseen| lenient()),
        };
        match read {
            Ok((read, is_decoded)) => {
                found.extend(read);
                Ok((found, is_decoded))
            }
            Err(why) if found.is_empty() => Err(why),
            Err(_) => Ok((found, false)),
        }
    }

    /// Reads it by the codec of its dialect.
    fn decode(&self) -> Result<Vec<Found>, Unseen> {
        let About { inputs, outputs, extractors, .. } = self.about;
        let signature = (!inputs.is_empty()).then_some(Signature { inputs, outputs });
        let terms = Terms { signature, extractors: extractors.as_ref() };
        let target = Target { terms, ..Target::new(self.dialect, "", Release::Any) };
        let (body, _) = body_of(self.dialect, &self.content)?;
        let asked = Asked::default();
        let answer = decode_response(&target, self.operation, &asked, StatusCode::OK, &body);
        let answer = answer.map_err(|_bad| Unseen::Unreadable)?;
        Ok(answer.outputs.iter().map(json::of_tensor).collect())
    }
}

/// The JSON that a body is or begins with.
///
/// # Errors
///
/// When it begins with none.
pub(in crate::monitor) fn json_of(content: &Content) -> Result<Json, Unseen> {
    let body = plain(content)?;
    split(&body).map(|(json, _)| json).ok_or(Unseen::Unreadable)
}
