//! Delivery by HTTP: batches of CloudEvents, one POST each.
//!
//! Owns what a batch is: the JSON batch format of CloudEvents 1.0 (JSON Event Format, section 4), an array
//! of the events that [`cloudevents`](crate::prediction_log::query::cloudevents) describes.

use bytes::Bytes;
use http::HeaderValue;

use super::post::{HttpPost, PostError};
use super::{Failure, Parcel, Sink, SinkError};
use crate::domain::ids::SinkName;
use crate::domain::spec::Secret;

/// The media type of a batch.
const BATCH_TYPE: HeaderValue =
    HeaderValue::from_static("application/cloudevents-batch+json; charset=UTF-8");

/// A receiver of CloudEvents.
pub(super) struct HttpSink(HttpPost);

impl HttpSink {
    pub(super) fn new(
        name: &SinkName,
        url: &str,
        authorization: Option<&Secret>,
    ) -> Result<Self, SinkError> {
        let post = HttpPost::new(url, BATCH_TYPE, authorization);
        post.map(Self).map_err(|error| match error {
            PostError::Url => SinkError::Url { name: name.clone(), url: url.to_owned() },
            PostError::Authorization => SinkError::Authorization { name: name.clone() },
        })
    }
}

impl Sink for HttpSink {
    type Content = Vec<u8>;

    async fn deliver(&mut self, parcels: &[Parcel<Vec<u8>>]) -> Result<(), Failure> {
        self.0.post(batch(parcels)).await
    }
}

/// The events of all parcels as one JSON array.
fn batch(parcels: &[Parcel<Vec<u8>>]) -> Bytes {
    let length: usize = parcels.iter().map(|parcel| parcel.content.len()).sum();
    let mut body = Vec::with_capacity(length + 2);
    body.push(b'[');
    for parcel in parcels {
        body.extend_from_slice(&parcel.content);
    }
    // Each event is followed by a comma; the last one's gives its place to the bracket.
    if body.last() == Some(&b',') {
        body.pop();
    }
    body.push(b']');
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_sent_are_refused_with_the_name_of_the_sink() {
        let name = SinkName::new("s");
        let refused = |url, secret| HttpSink::new(&name, url, secret).err().map(|e| e.to_string());
        assert_eq!(
            refused("https://a/", None).expect("refused"),
            "sink `s`: `https://a/` is no `http://` URL"
        );
        let secret = Secret::new("a\nb");
        assert!(
            refused("http://a/", Some(&secret)).expect("refused").starts_with("sink `s`: the auth")
        );
        assert_eq!(refused("http://a/", None), None);
    }

    #[test]
    fn a_batch_is_a_json_array() {
        let parcel = |content: &[u8]| Parcel {
            first_lsn: 1,
            last_lsn: 1,
            done: 1,
            records: 1,
            bytes: 1,
            ts_us: 0,
            content: content.to_vec(),
        };
        assert_eq!(batch(&[parcel(b"{},{},"), parcel(b"{},")]), "[{},{},{}]");
        assert_eq!(batch(&[parcel(b"")]), "[]");
    }
}
