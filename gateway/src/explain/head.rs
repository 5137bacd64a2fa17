//! The head of the request that is explained.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use ws_cloud_plugin_sdk::RequestHead;

use super::answer::HeaderChanges;
use super::refusal::Refusal;
use super::service::Carriage;
use crate::request::framing::{self, Underscores};
use crate::snapshot::CompiledRoute;
use crate::telemetry::is_secret;

/// Headers that are for one connection and do not go on: Pingora takes them out, and what `Connection` names.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Stands for a secret that is not shown.
const HIDDEN: &str = "(hidden)";

/// Method and headers.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
}

impl RequestHead for Head {
    fn method(&self) -> &Method {
        &self.method
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

impl Head {
    pub(super) fn host(&self) -> Option<&str> {
        self.headers.get(header::HOST)?.to_str().ok()
    }

    pub(super) fn forwarded_for(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes)
    }

    /// Refuses what the gateway refuses, and leaves out what it leaves out. A request without a host is taken for one of
    /// HTTP/1.0, which may have none.
    pub(super) fn check(&mut self, underscores: Underscores) -> Result<(), Refusal> {
        let version = if self.headers.contains_key(header::HOST) { Version::HTTP_11 } else { Version::HTTP_10 };
        let checked = framing::check(version, &self.headers, None, underscores);
        if checked.map_err(|e| Refusal::Malformed(e.to_string()))? {
            for name in framing::underscored(&self.headers) {
                self.headers.remove(&name);
            }
        }
        Ok(())
    }

    pub(super) fn check_size(&self, route: &CompiledRoute, carriage: Carriage, most: u64) -> Result<(), Refusal> {
        let most = if carriage == Carriage::Http { most } else { 0 };
        let most = route.options.max_body_size.unwrap_or(most);
        let length = self.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if most > 0 && length.is_some_and(|length| length > most) { Err(Refusal::BodyTooLarge) } else { Ok(()) }
    }

    /// The head without what is for this connection only.
    pub(super) fn onward(mut self, carriage: Carriage) -> Self {
        let nominated = self.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let nominated: Vec<HeaderName> =
            nominated.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
        nominated.iter().for_each(|name| drop(self.headers.remove(name)));
        HOP_BY_HOP.iter().for_each(|name| drop(self.headers.remove(*name)));
        if carriage == Carriage::WebSocket {
            self.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            self.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        self
    }
}

/// A value as it is shown; a secret that the question did not have is not.
pub(super) fn shown(name: &HeaderName, value: &HeaderValue, asked: &HeaderMap) -> String {
    let is_secret = value.is_sensitive() || is_secret(name.as_str().as_bytes());
    if is_secret && !asked.get_all(name).iter().any(|known| known == value) {
        return HIDDEN.to_owned();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// What makes one head of another. What was in the question may be shown; what is in `before` may be a plugin's secret.
pub(super) fn changes(before: &HeaderMap, after: &HeaderMap, asked: &HeaderMap) -> HeaderChanges {
    let mut set = BTreeMap::new();
    for name in after.keys() {
        if !before.get_all(name).iter().eq(after.get_all(name).iter()) {
            let values = after.get_all(name).iter().map(|value| shown(name, value, asked)).collect();
            set.insert(name.as_str().to_owned(), values);
        }
    }
    let removed = before.keys().filter(|name| !after.contains_key(*name)).map(|name| name.as_str().to_owned());
    HeaderChanges { set, removed: removed.collect() }
}
