//! One kept connection to a backend that is checked.
//!
//! Owns that a kept connection that turned out dead is opened again once. Never knows a dialect.

use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::control::fetch::{Connection, FetchError, Reply, read};
use crate::domain::spec::BackendAddress;

/// The longest answer.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// A backend and the connection to it, if there is one.
#[derive(Debug)]
pub(super) struct Link {
    address: BackendAddress,
    http2: bool,
    kept: Option<Connection>,
}

impl Link {
    pub(super) fn new(address: BackendAddress, http2: bool) -> Self {
        Self { address, http2, kept: None }
    }

    /// Where it leads.
    pub(super) fn address(&self) -> &BackendAddress {
        &self.address
    }

    /// Sends a request, whose target is a path, and reads the whole answer within `time`. An exchange that was
    /// given up closes the connection.
    pub(super) async fn ask(
        &mut self,
        request: Request<Bytes>,
        time: Duration,
    ) -> Result<Reply, FetchError> {
        let kept = self.kept.take();
        let asked = tokio::time::timeout(time, async {
            if let Some(mut kept) = kept
                && let Ok(response) = kept.send(&request).await
            {
                return Ok((read(response, ANSWER_BYTES_MAX).await?, kept));
            }
            let mut connection = Connection::to(&self.address, self.http2).await?;
            let response = connection.send(&request).await?;
            Ok::<_, FetchError>((read(response, ANSWER_BYTES_MAX).await?, connection))
        });
        let (reply, connection) = asked.await.map_err(|_elapsed| FetchError::Time(time))??;
        self.kept = Some(connection);
        Ok(reply)
    }
}
