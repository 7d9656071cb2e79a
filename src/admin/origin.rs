//! Who may change anything on the admin listener: whoever reaches it, but no web page of another origin.
//!
//! Owns the look at `Origin`, which every browser sends with what is no plain GET. Never asks who somebody is.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

/// Turns away what a web page in an operator's browser may send to any address.
pub(super) async fn from_no_other_page(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !is_of_this_origin(request.headers()) {
        let words = json!({ "error": "a page of another origin changes nothing here" });
        return (StatusCode::FORBIDDEN, Json(words)).into_response();
    }
    next.run(request).await
}

/// Whether a browser, if it is one, shows a page of this listener.
fn is_of_this_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    origin.is_some_and(|(_, authority)| Some(authority) == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(axum::http::HeaderName, &'static str)]) -> HeaderMap {
        let value = |text| axum::http::HeaderValue::from_static(text);
        all.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    #[test]
    fn pages_of_other_origins_are_told_from_our_own() {
        let of =
            |origin| is_of_this_origin(&headers(&[(HOST, "127.0.0.1:9901"), (ORIGIN, origin)]));
        assert!(is_of_this_origin(&headers(&[(HOST, "127.0.0.1:9901")])), "no browser");
        assert!(of("http://127.0.0.1:9901"));
        assert!(!of("http://evil.example"));
        assert!(!of("http://127.0.0.1:8080"), "another port is another origin");
        assert!(!of("null"));
    }
}
