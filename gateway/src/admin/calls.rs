//! Tells of each call when it has ended, for the admin's access log and the metrics. What becomes of
//! that is not known here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::response::Response;
use http::header::{HOST, HeaderName, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Uri, Version};

use super::path;
use crate::telemetry::{AccessRecord, Surface};

/// Takes note of a call that ended.
pub type CallEnded = Arc<dyn Fn(Surface, &AccessRecord<'_>) + Send + Sync>;

/// What is logged when the client left before there was an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A call under way. Tells of it when dropped, for a client that leaves drops all that was begun.
pub(super) struct Ongoing {
    tell: CallEnded,
    started: Instant,
    from: Option<IpAddr>,
    method: Method,
    uri: Uri,
    version: Version,
    headers: [Option<HeaderValue>; 4],
    status: u16,
    bytes: u64,
}

impl Ongoing {
    pub(super) fn begin(tell: &CallEnded, request: &Request, from: Option<IpAddr>) -> Self {
        let header = |name: &HeaderName| request.headers().get(name).cloned();
        Self {
            tell: Arc::clone(tell),
            started: Instant::now(),
            from,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: [header(&HOST), header(&REFERER), header(&USER_AGENT), header(&X_FORWARDED_FOR)],
            status: CLIENT_CLOSED_REQUEST,
            bytes: 0,
        }
    }

    /// Ends it with this answer. Of a stream the length is not known, and it goes on after this.
    pub(super) fn answered(mut self, response: &Response) {
        self.status = response.status().as_u16();
        self.bytes = response.body().size_hint().exact().unwrap_or_default();
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let path = path::normalised(self.uri.path());
        let path = path.as_deref().unwrap_or(self.uri.path());
        let client = self.from.map(|ip| ip.to_string());
        let [host, referer, useragent, xff] = &self.headers;
        let record = AccessRecord {
            domain: bytes(host),
            method: Some(self.method.as_str()),
            uri: Some(path.as_bytes()),
            querystring: self.uri.query().map(str::as_bytes),
            protocol: Some(if self.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }),
            status: Some(self.status),
            bytes: self.bytes,
            referer: bytes(referer),
            useragent: bytes(useragent),
            xff: bytes(xff),
            client: client.as_deref(),
            response_time: self.started.elapsed(),
            ..AccessRecord::default()
        };
        (self.tell)(surface(path), &record);
    }
}

fn surface(path: &str) -> Surface {
    let is_in = |tree: &str| path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_in("/admin/v2") {
        Surface::New
    } else if is_in("/dashboard") {
        Surface::Dashboard
    } else {
        Surface::Old
    }
}

fn bytes(value: &Option<HeaderValue>) -> Option<&[u8]> {
    value.as_ref().map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::Body;

    use super::*;

    #[test]
    fn each_path_is_of_one_surface() {
        for (path, expected) in [
            ("/admin/v2", Surface::New),
            ("/admin/v2/routes", Surface::New),
            ("/admin/v22", Surface::Old),
            ("/admin/routes", Surface::Old),
            ("/dashboard", Surface::Dashboard),
            ("/dashboards", Surface::Old),
            ("/", Surface::Old),
        ] {
            assert_eq!(surface(path), expected, "{path}");
        }
    }

    #[test]
    fn a_call_is_told_of_once_however_it_ends() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell: CallEnded = {
            let told = Arc::clone(&told);
            Arc::new(move |surface, call| told.lock().unwrap().push((surface, call.status, call.bytes)))
        };
        let begin = || Ongoing::begin(&tell, &Request::new(Body::empty()), None);
        begin().answered(&Response::new(Body::from("four")));
        drop(begin());
        assert_eq!(*told.lock().unwrap(), [(Surface::Old, Some(200), 4), (Surface::Old, Some(499), 0)]);
    }
}
