//! The question: a request, and perhaps a change of the configuration.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;

use super::head::Head;
use super::refusal::Refusal;
use crate::resource::{Invalid, key};
use crate::snapshot::Change;

/// Most headers, and most bytes of all of them and of the URL: as many as the gateway lets in by default.
const MAX_HEADERS: usize = 256;
const MAX_BYTES: usize = 64 << 10;

/// What is asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The method; GET if not told.
    #[serde(default = "get")]
    pub method: String,
    /// A path with its query, or an absolute URL. With `https` the client is taken to come by TLS.
    pub url: String,
    /// Headers, each a text or a list of them.
    #[serde(default)]
    pub headers: BTreeMap<String, Values>,
    /// The address of the connection; `127.0.0.1` if not told. Where that is a trusted proxy's the client is the one
    /// that `X-Forwarded-For` names, as ever.
    #[serde(default)]
    pub client_ip: Option<IpAddr>,
    /// A change that is laid over the configuration, and stored nowhere.
    #[serde(default)]
    pub change: Option<Changed>,
}

/// The values of a header.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum Values {
    /// One.
    One(String),
    /// Several, in order.
    Several(Vec<String>),
}

/// A change of one object.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// Which: `routes/<id>`, `services/<name>`, `nodes/<id>`, `node-overlays/<id>`, `global-plugins/<name>`, or its key
    /// in the store.
    pub path: String,
    /// The object as it is stored; null deletes it.
    pub value: Value,
}

/// The families of objects by their names in paths.
const FAMILIES: [(&str, &str); 4] = [
    ("services/", key::SERVICES),
    ("nodes/", key::NODES),
    ("node-overlays/", key::OVERLAYS),
    ("global-plugins/", key::PLUGINS),
];
/// Those that decide about requests.
const CHANGEABLE: [&str; 5] = [key::ROUTES, key::SERVICES, key::NODES, key::OVERLAYS, key::PLUGINS];

impl Changed {
    /// The key in the store, without the data prefix.
    #[must_use]
    pub fn key(&self) -> String {
        let of_family = |(name, family): &(&str, &str)| Some(format!("{family}{}", self.path.strip_prefix(name)?));
        FAMILIES.iter().find_map(of_family).unwrap_or_else(|| self.path.clone())
    }

    /// The change as control would hand it over.
    pub(super) fn as_change(&self) -> Result<Change, Invalid> {
        let key = self.key();
        let is_named = CHANGEABLE.iter().any(|family| key.strip_prefix(family).is_some_and(|id| !id.is_empty()));
        if !is_named {
            let expected = "routes/<id>, services/<name>, nodes/<id>, node-overlays/<id> or global-plugins/<name>";
            let reason = format!("\"{}\" is nothing that decides about requests; expected {expected}", self.path);
            return Err(Invalid::at("change.path", reason));
        }
        let value = (!self.value.is_null()).then(|| self.value.to_string().into());
        Ok(Change { key, value, revision: 0 })
    }
}

/// A request that was read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) head: Head,
    /// In origin form.
    pub(super) target: String,
    pub(super) peer: IpAddr,
    pub(super) is_tls: bool,
}

fn get() -> String {
    "GET".to_owned()
}

impl Asked {
    /// Reads a question.
    ///
    /// # Errors
    /// When a field is not what it should be.
    pub fn parse(question: Value) -> Result<Self, Invalid> {
        serde_path_to_error::deserialize(question).map_err(|e| {
            let path = e.path().to_string();
            Invalid::at(if path == "." { String::new() } else { path }, e.inner())
        })
    }

    pub(super) fn read(&self) -> Result<Read, Invalid> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| Invalid::at("method", format!("\"{}\" is not a method", self.method)))?;
        let mut size = self.url.len();
        let most = format!("a request has at most {MAX_HEADERS} headers and {MAX_BYTES} bytes");
        let mut headers = HeaderMap::new();
        for (name, values) in &self.headers {
            let at = |reason: &str| Invalid::at(format!("headers.{name}"), reason);
            let header: HeaderName = name.parse().map_err(|_| at("is not a header name"))?;
            let values = match values {
                Values::One(value) => std::slice::from_ref(value),
                Values::Several(values) => values,
            };
            for value in values {
                size += name.len() + value.len();
                // Before it goes in: a map of headers panics when it holds too many.
                if headers.len() == MAX_HEADERS || size > MAX_BYTES {
                    return Err(Invalid::at("headers", most));
                }
                let value =
                    HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| at("is not a header value"))?;
                headers.append(header.clone(), value);
            }
        }
        if size > MAX_BYTES {
            return Err(Invalid::at("url", most));
        }
        let (authority, target, is_tls) = split(&self.url)?;
        if let Some(authority) = authority.filter(|_| !headers.contains_key(header::HOST)) {
            let host = HeaderValue::from_str(authority).map_err(|_| Invalid::at("url", "the host is not valid"))?;
            headers.insert(header::HOST, host);
        }
        let peer = self.client_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Ok(Read { head: Head { method, headers }, target, peer, is_tls })
    }
}

/// The authority of an absolute URL, the target that a client would send for it, and whether it would come by TLS.
fn split(url: &str) -> Result<(Option<&str>, String, bool), Invalid> {
    // A client keeps the fragment to itself.
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let is_scheme = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let (rest, is_tls) = if is_scheme("http://") {
        (&url[7..], false)
    } else if is_scheme("https://") {
        (&url[8..], true)
    } else if url.starts_with(['/', '*']) {
        return Ok((None, url.to_owned(), false));
    } else {
        return Err(Invalid::at("url", "expected a path such as /a?b=1, or http://host/a?b=1"));
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || authority.contains('@') {
        return Err(Invalid::at("url", "expected a host after ://, without a user"));
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((Some(authority), format!("{slash}{target}"), is_tls))
}

/// The target as Pingora reads it.
pub(super) fn target(target: &str) -> Result<RequestHeader, Refusal> {
    let malformed = || Refusal::Malformed("the request target is malformed".into());
    if target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        // It would end the target in the request line.
        return Err(malformed());
    }
    RequestHeader::build_no_case(Method::GET, target.as_bytes(), None).map_err(|_| malformed())
}
