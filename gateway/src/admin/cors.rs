//! Which other sites' scripts may call the API and read its answers: those an operator listed.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, PUT, OPTIONS, DELETE, PATCH");
/// Where credentials are allowed, `*` is a name like any other (Fetch, section 3.3.4).
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Content-Type, X-Token, X-Api-Token, Authorization, If-Match, If-None-Match");
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static("ETag, Location, Retry-After");
const MAX_AGE: HeaderValue = HeaderValue::from_static("3600");

/// The origin of a call, if an operator listed it.
pub(super) fn listed_origin(headers: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let mut sent = headers.get_all(ORIGIN).iter();
    let (origin, None) = (sent.next()?, sent.next()) else { return None };
    let text = origin.to_str().ok()?;
    // `null` is the origin of any sandboxed page.
    (text != "null" && text != "*" && origins.iter().any(|listed| listed.trim_end_matches('/') == text))
        .then(|| origin.clone())
}

/// Adds what tells a browser about an answer.
pub(super) fn mark(headers: &mut HeaderMap, origin: Option<HeaderValue>, preflight: bool) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    } else {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    }
}
