//! The answers of the first gateway: plain texts and JSON under `application/json`, and nginx's own
//! pages for what no handler answered.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// nginx's default type was set to this; a plain text has it too.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A text, without a newline.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response {
    with_type(status, JSON, Body::from(text.into()))
}

/// JSON and a newline, as Lua's `ngx.say` wrote a table.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(json) => text(StatusCode::OK, json + "\n"),
        Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// nginx's page for a status, with its line ends and without a version.
pub(super) fn page(status: StatusCode) -> Response {
    // Where nginx's words are not those of the RFC.
    let reason = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        StatusCode::REQUEST_TIMEOUT => "Request Time-out",
        StatusCode::METHOD_NOT_ALLOWED => "Not Allowed",
        other => other.canonical_reason().unwrap_or("Error"),
    };
    let title = format!("{} {reason}", status.as_u16());
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    with_type(status, HeaderValue::from_static("text/html"), Body::from(page))
}

/// An empty plain text whose length is said.
pub(super) fn empty() -> Response {
    let mut response = with_type(StatusCode::OK, HeaderValue::from_static("text/plain"), Body::empty());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// A response of a type.
pub(super) fn with_type(status: StatusCode, kind: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
