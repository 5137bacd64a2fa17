//! The panel's place. Until the panel is built in, a page that says so.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY};
use http::{HeaderValue, Method, StatusCode};

use super::answer;

/// Nothing from elsewhere, no inline script, in no one's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>ws-cloud-gateway</title></head>\n\
    <body>\n<h1>ws-cloud-gateway</h1>\n<p>The control panel is not built into this gateway. The Admin API answers under <code>/admin/</code>.</p>\n\
    </body>\n</html>\n";

/// Answers a path that begins with `/dashboard`.
pub(super) fn answer(method: &Method, path: &str) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return answer::page(StatusCode::METHOD_NOT_ALLOWED);
    }
    match path {
        // The panel's own links are relative, so its place must end with a slash.
        "/dashboard" => {
            let mut response = answer::page(StatusCode::MOVED_PERMANENTLY);
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("/dashboard/"));
            response
        }
        "/dashboard/" | "/dashboard/index.html" => page(),
        _ => answer::page(StatusCode::NOT_FOUND),
    }
}

fn page() -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = answer::with_type(StatusCode::OK, kind, Body::from(PAGE));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
