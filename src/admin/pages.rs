//! Web pages: what one that an operator's browser shows may change here.
//!
//! Owns that nothing is changed by a page of another origin, nor by one whose origin is a name: whoever owns a name can
//! make it point to this listener (DNS rebinding), and the browser then takes that page for one of this listener.
//! Programs send no origin, and are not asked. Reading is not refused: a browser keeps answers from pages of other origins.

use std::net::{IpAddr, SocketAddr};

use axum::Json;
use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

/// Turns away what would change something by the wish of a page.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let refused = if reads { None } else { refusal(request.headers()) };
    match refused {
        None => next.run(request).await,
        Some(words) => (StatusCode::FORBIDDEN, Json(json!({ "error": words }))).into_response(),
    }
}

/// Why a request is not carried out, if it is the wish of a page that is not of this listener.
fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    let origin = headers.get(ORIGIN)?;
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match origin {
        Some((_, authority)) if Some(authority) != host => {
            Some("a page of another origin changes nothing here")
        }
        Some((_, authority)) if is_of_an_address(authority) => None,
        Some(_) => Some(
            "a page by a name changes nothing here, as anybody's name can point here; open it by the address of \
             the admin listener, or use `pointsman`",
        ),
        None => Some("a page without an origin changes nothing here"),
    }
}

/// Whether `HOST:PORT` is no name that somebody else may own.
fn is_of_an_address(authority: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    let is_local = authority
        .strip_prefix("localhost")
        .is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    is_local || authority.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(host: &'static str, origin: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn a_page_of_another_origin_is_told_from_one_of_this_listener() {
        let of = |origin| refusal(&headers("127.0.0.1:9901", Some(origin)));
        assert_eq!(refusal(&headers("127.0.0.1:9901", None)), None, "no browser");
        assert_eq!(of("http://127.0.0.1:9901"), None);
        for other in ["https://evil.example", "http://127.0.0.1:8080", "null", "http://"] {
            assert!(of(other).is_some(), "{other}");
        }
    }

    #[test]
    fn a_page_by_a_name_is_refused_whoever_owns_the_name() {
        for (host, origin, is_let) in [
            ("gateway.example:9901", "http://gateway.example:9901", false),
            ("localhost.evil.example:9901", "http://localhost.evil.example:9901", false),
            ("localhost:evil", "http://localhost:evil", false),
            ("localhost:9901", "http://localhost:9901", true),
            ("localhost", "http://localhost", true),
            ("10.0.0.7:9901", "http://10.0.0.7:9901", true),
            ("10.0.0.7", "http://10.0.0.7", true),
            ("[::1]:9901", "http://[::1]:9901", true),
            ("[::1]", "http://[::1]", true),
        ] {
            assert_eq!(refusal(&headers(host, Some(origin))).is_none(), is_let, "{origin}");
        }
        assert_eq!(refusal(&headers("gateway.example:9901", None)), None, "a program may use it");
    }
}
