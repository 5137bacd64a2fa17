//! The panel's place. Until the panel is built in, a page that says so.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Method, StatusCode};

use super::answer;

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
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
