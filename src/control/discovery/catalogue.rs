//! A URL that lists prediction servers.
//!
//! Owns asking with the `ETag` of the last answer: one that has not changed is as good as a whole one. Any
//! status but 200 and 304, and any body that is cut off or is no list, is a failed answer.

use std::time::Duration;

use http::StatusCode;
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};

use super::listed::{self, Format, LIST_BYTES_MAX};
use super::source::{Look, Source};
use crate::control::fetch::{Question, fetch};
use crate::domain::discovery::{Answer, Listing};
use crate::domain::spec::{CatalogueSpec, DiscoverySpec};
use crate::telemetry::logging::chain;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The catalogue, with its last whole answer.
#[derive(Debug)]
pub(super) struct Catalogue {
    place: CatalogueSpec,
    spec: DiscoverySpec,
    last: Option<(HeaderValue, Listing)>,
}

impl Catalogue {
    pub(super) fn new(place: CatalogueSpec, spec: DiscoverySpec) -> Self {
        Self { place, spec, last: None }
    }
}

impl Source for Catalogue {
    async fn look(&mut self) -> Look {
        let mut question = Question::get(&self.place.address, &self.place.path);
        if let Some((etag, _)) = &self.last {
            question.headers.push((IF_NONE_MATCH, etag.clone()));
        }
        let reply = match fetch(question, ANSWER_TIME, LIST_BYTES_MAX).await {
            Ok(reply) => reply,
            Err(error) => return Answer::Failed(chain(&error).to_string()).into(),
        };
        match (reply.status, &self.last) {
            (StatusCode::NOT_MODIFIED, Some((_, listing))) => Answer::Whole(listing.clone()).into(),
            (StatusCode::OK, _) => {
                let answer = listed::read(&reply.body, Format::Json, &self.spec);
                self.last = match (&answer, reply.headers.get(ETAG)) {
                    (Answer::Whole(listing), Some(etag)) => Some((etag.clone(), listing.clone())),
                    _ => None,
                };
                answer.into()
            }
            (status, _) => Answer::Failed(format!("the status is {}", status.as_u16())).into(),
        }
    }
}
