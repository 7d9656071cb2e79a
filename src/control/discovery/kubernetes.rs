//! The EndpointSlices of a Kubernetes cluster, by label (`discovery.k8s.io/v1`).
//!
//! Owns the way from a list and the watch that follows it to a listing. A watch goes on where the last event
//! left it; where the server has forgotten that (410), everything is listed again. Endpoints that are not
//! ready are not listed. Speaks plain HTTP, as to a `kubectl proxy`; never writes to the cluster.
//!
//! ```text
//! list ─▶ watch from its resourceVersion ── event ─▶ report
//!   ▲        │  └─ end of the stream: watch again
//!   └─ 410 ──┘     error: report it, wait, list
//! ```

mod slices;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use self::slices::{Event, Slices};
use super::source::{CONFIRM, Reporter};
use crate::control::fetch::{Driven, FetchError, Question, fetch, open};
use crate::control::store;
use crate::domain::discovery::Answer;
use crate::domain::spec::{DiscoverySpec, KubernetesSpec};
use crate::telemetry::logging::chain;

/// How long a page of the list may take, and the head of a watch.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The longest page of the list, and the longest line of a watch.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Slices on one page.
const PAGE: usize = 500;
/// The most pages.
const PAGES_MAX: usize = 100;
/// How long the server may keep a watch open.
const WATCH_SECONDS: u64 = 300;
/// A watch that is silent for longer is given up: the connection may be dead.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + 30);
/// The pause after an error, which doubles up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest token.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// The cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    place: KubernetesSpec,
    spec: DiscoverySpec,
    slices: Slices,
}

/// Why a list or a watch ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Fetch(String),
    #[error("the API server answers {0}")]
    Status(u16),
    #[error("the API server says {0}: {1}")]
    Said(i64, String),
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    #[error("the token cannot be read: {0}")]
    Token(std::io::Error),
    #[error("the list has more than {PAGES_MAX} pages")]
    TooMany,
    #[error("the watch is silent")]
    Silent,
    #[error("discovery has ended")]
    Over,
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self::Fetch(chain(&error).to_string())
    }
}

impl Trouble {
    /// Whether the server has forgotten where the watch was.
    fn is_expired(&self) -> bool {
        matches!(self, Self::Status(410) | Self::Said(410, _))
    }
}

impl Cluster {
    pub(super) fn new(place: KubernetesSpec, spec: DiscoverySpec) -> Self {
        let slices = Slices::new(place.port.clone());
        Self { place, spec, slices }
    }

    /// Lists and watches until nobody listens any more.
    pub(super) async fn run(mut self, reporter: Reporter) {
        let mut pause = PAUSE;
        loop {
            let ended = match self.list().await {
                Ok(version) => {
                    pause = PAUSE;
                    self.follow(version, &reporter).await
                }
                Err(trouble) => trouble,
            };
            match ended {
                Trouble::Over => return,
                trouble if trouble.is_expired() => continue,
                trouble => {
                    if reporter.tell(Answer::Failed(trouble.to_string())).await.is_none() {
                        return;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Lists everything, page by page; the version at which the watch begins.
    async fn list(&mut self) -> Result<String, Trouble> {
        self.slices.clear();
        let mut rest = String::new();
        for _ in 0..PAGES_MAX {
            let mut path = format!("{}&limit={PAGE}", self.path());
            if !rest.is_empty() {
                path.push_str(&format!(
                    "&continue={}",
                    utf8_percent_encode(&rest, NON_ALPHANUMERIC)
                ));
            }
            let question = self.question(&path).await?;
            let reply = fetch(question, ANSWER_TIME, PAGE_BYTES_MAX).await?;
            if reply.status != StatusCode::OK {
                return Err(Trouble::Status(reply.status.as_u16()));
            }
            let page = slices::page(&reply.body).map_err(Trouble::Unreadable)?;
            page.items.into_iter().for_each(|slice| self.slices.put(slice));
            match page.metadata.rest {
                Some(next) if !next.is_empty() => rest = next,
                Some(_) | None => return Ok(page.metadata.resource_version),
            }
        }
        Err(Trouble::TooMany)
    }

    /// Reports what was listed, and what changes from there on.
    async fn follow(&mut self, mut version: String, reporter: &Reporter) -> Trouble {
        loop {
            let opened = match self.watch(&version).await {
                Ok(opened) => opened,
                Err(trouble) => return trouble,
            };
            match self.read(opened, &mut version, reporter).await {
                Ok(()) => {}
                Err(trouble) => return trouble,
            }
        }
    }

    async fn watch(&self, version: &str) -> Result<(Response<Incoming>, Driven), Trouble> {
        let version = utf8_percent_encode(version, NON_ALPHANUMERIC);
        let path = format!(
            "{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}",
            self.path()
        );
        let question = self.question(&path).await?;
        let opened = tokio::time::timeout(ANSWER_TIME, open(question)).await;
        let (response, driven) = opened.map_err(|_elapsed| Trouble::Silent)??;
        match response.status() {
            StatusCode::OK => Ok((response, driven)),
            status => Err(Trouble::Status(status.as_u16())),
        }
    }

    /// Reads one watch to its end. What was missed is reported again, so that it is confirmed; and so is
    /// everything once an interval, because a silent watch says that nothing has changed.
    async fn read(
        &mut self,
        (response, _driven): (Response<Incoming>, Driven),
        version: &mut String,
        reporter: &Reporter,
    ) -> Result<(), Trouble> {
        let mut body = response.into_body();
        let mut lines = Lines::default();
        let mut heard = Instant::now();
        let mut wait = self.report(reporter).await?;
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = tokio::time::sleep(wait) => {
                    if heard.elapsed() > SILENCE {
                        return Err(Trouble::Silent);
                    }
                    wait = self.report(reporter).await?;
                    continue;
                }
            };
            heard = Instant::now();
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|error| Trouble::Fetch(chain(&error).to_string()))?;
            let Ok(bytes) = frame.into_data() else { continue };
            let mut changed = false;
            for line in lines.push(&bytes)? {
                changed |= self.event(&line, version)?;
            }
            if changed {
                wait = self.report(reporter).await?;
            }
        }
    }

    /// Takes one event in; whether the slices are others now.
    fn event(&mut self, line: &[u8], version: &mut String) -> Result<bool, Trouble> {
        match slices::event(line).map_err(Trouble::Unreadable)? {
            Event::Put(slice) => {
                version.clone_from(&slice.metadata.resource_version);
                self.slices.put(slice);
                Ok(true)
            }
            Event::Gone(slice) => {
                version.clone_from(&slice.metadata.resource_version);
                self.slices.remove(&slice);
                Ok(true)
            }
            Event::Bookmark(at) => {
                *version = at;
                Ok(false)
            }
            Event::Error(code, message) => Err(Trouble::Said(code, message)),
        }
    }

    /// Reports the slices; when they are to be reported again.
    async fn report(&self, reporter: &Reporter) -> Result<Duration, Trouble> {
        let listing = self.slices.listing(&self.spec);
        let awaits = reporter.tell(Answer::Whole(listing)).await.ok_or(Trouble::Over)?;
        Ok(if awaits { CONFIRM.min(self.spec.interval) } else { self.spec.interval })
    }

    fn path(&self) -> String {
        let selector = utf8_percent_encode(&self.place.selector, NON_ALPHANUMERIC);
        format!(
            "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector={selector}",
            self.place.namespace
        )
    }

    async fn question<'a>(&'a self, path: &'a str) -> Result<Question<'a>, Trouble> {
        let mut question = Question::get(&self.place.api, path);
        if let Some(file) = self.place.token_file.clone() {
            question.headers.push(token(file).await.map_err(Trouble::Token)?);
        }
        Ok(question)
    }
}

/// The header with the token; the file is read again each time, because tokens are renewed.
async fn token(file: PathBuf) -> std::io::Result<(HeaderName, HeaderValue)> {
    let read = tokio::task::spawn_blocking(move || store::read(&file, TOKEN_BYTES_MAX));
    let text = read.await.map_err(std::io::Error::other)??;
    let text = text.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    let bearer = [b"Bearer ", text.trim_ascii()].concat();
    let mut value = HeaderValue::from_bytes(&bearer).map_err(std::io::Error::other)?;
    value.set_sensitive(true);
    Ok((AUTHORIZATION, value))
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &Bytes) -> Result<Vec<Vec<u8>>, Trouble> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > PAGE_BYTES_MAX {
            return Err(Trouble::Unreadable("a line is too long".to_owned()));
        }
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        Ok(lines.map(<[u8]>::to_vec).collect())
    }
}
