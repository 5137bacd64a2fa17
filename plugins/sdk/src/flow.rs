//! What a hook decides: go on, or answer the request here.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::ResponseHead;

/// The decision of a hook.
#[derive(Debug)]
#[must_use = "a decision that is dropped lets the request pass"]
pub enum Flow {
    /// Go on with the next plugin, or with the next phase.
    Continue,
    /// Answer the request with this response; no later plugin of the phase runs, and no upstream
    /// is asked.
    Respond(Box<Response>),
}

impl From<Response> for Flow {
    fn from(response: Response) -> Self {
        Self::Respond(Box::new(response))
    }
}

/// A whole response made by a plugin.
///
/// The gateway adds `Content-Length` and `Server`. For a gRPC client the status is translated
/// into `grpc-status`, and the body into `grpc-message`.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers, without `Content-Length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// A response with this status and an empty body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A `text/plain` response.
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self::new(status)
            .with_header(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
            .with_body(body.into())
    }

    /// An `application/json` response.
    pub fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self::new(status)
            .with_header(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .with_body(body.to_string())
    }

    /// Sets a header, replacing one of the same name.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl ResponseHead for Response {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn set_status(&mut self, status: StatusCode) {
        self.status = status;
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn insert_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    fn append_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.append(name, value);
    }

    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        self.headers.remove(name)
    }
}
