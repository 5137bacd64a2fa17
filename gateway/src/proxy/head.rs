//! Pingora's heads as the SDK's plugins see them.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use ws_cloud_plugin_sdk::{RequestHead, ResponseHead};

/// A request head.
///
/// Pingora's own setter copies a name up to three times, for it keeps the case in which names came.
/// Where it keeps none ([`forget_case`]) headers are put straight into their map.
pub(super) struct Request<'a> {
    header: &'a mut RequestHeader,
    /// What the header is made of, taken out of it until this is dropped.
    parts: Option<Parts>,
}

impl<'a> Request<'a> {
    pub(super) fn new(header: &'a mut RequestHeader) -> Self {
        let parts = (!header.has_case() && is_origin_form(header)).then(|| take(header));
        Self { header, parts }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            *self.header = parts.into();
        }
    }
}

impl RequestHead for Request<'_> {
    fn method(&self) -> &Method {
        self.parts.as_ref().map_or(&self.header.method, |parts| &parts.method)
    }

    fn headers(&self) -> &HeaderMap {
        self.parts.as_ref().map_or(&self.header.headers, |parts| &parts.headers)
    }

    fn insert_header(&mut self, name: HeaderName, value: HeaderValue) {
        match &mut self.parts {
            Some(parts) => drop(parts.headers.insert(name, value)),
            None => insert(self.header.insert_header(name, value)),
        }
    }

    fn append_header(&mut self, name: HeaderName, value: HeaderValue) {
        match &mut self.parts {
            Some(parts) => drop(parts.headers.append(name, value)),
            None => insert(self.header.append_header(name, value).map(drop)),
        }
    }

    fn remove_header(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        match &mut self.parts {
            Some(parts) => parts.headers.remove(name),
            None => self.header.remove_header(name),
        }
    }
}

/// Has Pingora forget in which case the names of headers came, if they will be written as usual without
/// it, and makes room for those that are added on the way. Every added header is cheaper then.
pub(super) fn forget_case(header: &mut RequestHeader) {
    if !is_origin_form(header) || !header.case_header_iter().all(|(name, _)| is_usual(name.as_slice())) {
        return;
    }
    let mut parts = take(header);
    parts.headers.reserve(ADDED);
    *header = parts.into();
}

/// Headers that the gateway and a few plugins add.
const ADDED: usize = 8;

/// Another target would get lost with the case: it is kept beside the parts.
fn is_origin_form(header: &RequestHeader) -> bool {
    header.raw_path().first() == Some(&b'/') && header.raw_path_is_utf8()
}

fn take(header: &mut RequestHeader) -> Parts {
    let nothing = RequestHeader::from(http::Request::new(()).into_parts().0);
    std::mem::replace(header, nothing).into()
}

/// Whether a name is in lower case, or in the capitals that Pingora writes it with in any case.
fn is_usual(name: &[u8]) -> bool {
    !name.iter().any(u8::is_ascii_uppercase) || CAPITALISED.contains(&name)
}

/// Those of a request, that is; the most frequent ones come first.
const CAPITALISED: &[&[u8]] = &[
    b"Host",
    b"Content-Type",
    b"Content-Length",
    b"Connection",
    b"Cache-Control",
    b"Transfer-Encoding",
    b"Content-Encoding",
    b"Date",
];

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

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(header: &RequestHeader) -> String {
        let mut out = Vec::new();
        header.header_to_h1_wire(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn header(target: &str, names: &[&'static str]) -> RequestHeader {
        let mut header = RequestHeader::build("GET", target.as_bytes(), Some(names.len())).unwrap();
        for name in names {
            header.append_header(*name, HeaderValue::from_static("1")).unwrap();
        }
        header
    }

    #[test]
    fn what_pingora_writes_without_the_case_is_what_it_writes_with_it() {
        for name in CAPITALISED {
            let name = std::str::from_utf8(name).unwrap();
            let mut header = header("/", &[name, "x-own"]);
            let before = wire(&header);
            forget_case(&mut header);
            assert!(!header.has_case());
            assert_eq!(wire(&header), before);
        }
    }

    #[test]
    fn names_and_targets_that_would_change_are_left_alone() {
        for (target, name) in [("/", "X-Own"), ("/", "HOST"), ("/", "User-Agent"), ("http://a/", "Host"), ("*", "Host")]
        {
            let mut header = header(target, &[name]);
            forget_case(&mut header);
            assert!(header.has_case(), "{target} {name}");
            assert_eq!((wire(&header), header.raw_path()), (format!("{name}: 1\r\n"), target.as_bytes()));
        }
    }

    #[test]
    fn headers_are_changed_alike_with_case_and_without() {
        let own = HeaderName::from_static("x-own");
        for first in ["host", "X-Case"] {
            let mut header = header("/a?b=c", &[first, "Cookie", "Cookie"]);
            forget_case(&mut header);
            let mut head = Request::new(&mut header);
            head.insert_header(own.clone(), HeaderValue::from_static("2"));
            head.append_header(own.clone(), HeaderValue::from_static("3"));
            assert_eq!(head.headers().get_all("cookie").iter().count(), 2);
            assert_eq!(head.remove_header(&http::header::COOKIE).unwrap(), "1");
            assert_eq!(head.method(), Method::GET);
            drop(head);
            assert_eq!(
                wire(&header).to_ascii_lowercase(),
                format!("{first}: 1\r\nx-own: 2\r\nx-own: 3\r\n").to_ascii_lowercase()
            );
            assert_eq!(header.raw_path(), b"/a?b=c");
        }
    }
}
