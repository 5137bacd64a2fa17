//! Pingora's heads as the SDK's plugins see them.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use ws_cloud_plugin_sdk::{RequestHead, ResponseHead};

/// A request head.
pub(super) struct Request<'a>(pub(super) &'a mut RequestHeader);

impl RequestHead for Request<'_> {
    fn method(&self) -> &Method {
        &self.0.method
    }

    fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn insert_header(&mut self, name: HeaderName, value: HeaderValue) {
        insert(self.0.insert_header(name, value));
    }

    fn append_header(&mut self, name: HeaderName, value: HeaderValue) {
        insert(self.0.append_header(name, value).map(drop));
    }

    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        self.0.remove_header(name)
    }
}

/// A response head.
pub(super) struct Response<'a>(pub(super) &'a mut ResponseHeader);

impl ResponseHead for Response<'_> {
    fn status(&self) -> StatusCode {
        self.0.status
    }

    fn set_status(&mut self, status: StatusCode) {
        insert(self.0.set_status(status));
    }

    fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn insert_header(&mut self, name: HeaderName, value: HeaderValue) {
        insert(self.0.insert_header(name, value));
    }

    fn append_header(&mut self, name: HeaderName, value: HeaderValue) {
        insert(self.0.append_header(name, value).map(drop));
    }

    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        self.0.remove_header(name)
    }
}

/// Pingora's setters convert their arguments, which ours need not; none can fail.
fn insert(result: pingora::Result<()>) {
    if let Err(e) = result {
        log::error!("a header could not be set: {e}");
    }
}
